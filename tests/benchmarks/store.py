"""How fast and how large the store is: ``python -m tests.benchmarks.store [episodes]``.

Episodes are as a rollout makes them: 100 control steps with a 170-number state, 13 policy calls with 32 samples of
(16, 7), and smooth signals (random walks), which compress about as well as simulated ones.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from workbench.store import Store, StoreHeader, StoreWriter
from workbench.types import Episode, new_record

T, C, B, H, A, D, S, M = 100, 13, 32, 16, 7, 128, 170, 40
OBSERVATIONS = {"eef_pos": 3, "eef_quat": 4, "gripper_qpos": 2, "object_pos": 3, "object_quat": 4, "joint_pos": 7}
PREDICATES = ("grasped", "lifted", "touching", "height_m", "distance_m", "contact_force_n", "reached", "placed")


def episode(number: int) -> Episode:
    """One episode of typical size."""
    rng = np.random.default_rng(number)

    def walk(*shape: int) -> np.ndarray:
        return rng.normal(scale=0.01, size=shape).cumsum(axis=0)

    steps = {f"obs/{name}": walk(T, size).astype(np.float32) for name, size in OBSERVATIONS.items()}
    steps |= {f"predicates/{name}": walk(T) for name in PREDICATES}
    steps |= {"action": walk(T, A).astype(np.float32), "applied": walk(T, A).astype(np.float32)}
    steps |= {"reward": np.zeros(T, np.float32), "stage": np.arange(T) // 25, "state": walk(T, S)}
    samples = rng.normal(scale=0.3, size=(C, B, H, A)).astype(np.float32)
    calls = {
        "step": np.arange(C) * 8,
        "chunk": samples[:, 0],
        "samples": samples,
        "embedding": rng.normal(size=(C, D)).astype(np.float32),
        "seconds": rng.random(C),
    }
    faults = json.dumps([{"name": "slip", "channel": "physics", "start_step": number % 60, "force_n": 4.0}])
    record = new_record(
        uid=f"0:{number}:ab12cd34", index=number, seed=0, split="train", task="lift", model="0123",
        instruction="lift the cube", policy="diffusion", perturbation="slip", perturbations=faults, cell="",
        execute=8, length=T, success=number % 2 == 0, outcome="", modes="[]", t_inj=number % 60,
    )  # fmt: skip
    return Episode(record=record, steps=steps, calls=calls, memory=walk(T, M))


def main(count: int) -> None:
    """Write and read ``count`` episodes and print what it took."""
    header = StoreHeader(task="lift", control_hz=20.0, deadline=T, config={}, versions={}, seed=0)
    episodes = [episode(number) for number in range(count)]
    raw = sum(rows.nbytes for group in (episodes[0].steps, episodes[0].calls) for rows in group.values())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.zarr"
        seconds: dict[str, float] = {}

        def timed(what: str, times: int, start: float) -> None:
            seconds[what] = (time.perf_counter() - start) / times * 1e3

        StoreWriter.open(Path(folder) / "warm.zarr", header).close()  # imports
        start = time.perf_counter()
        writer = StoreWriter.open(path, header)
        timed("make a store and a part", 1, start)
        start = time.perf_counter()
        for one in episodes:
            writer.append(one)
        writer.close()
        timed("append an episode, commits included", count, start)
        start = time.perf_counter()
        StoreWriter.open(path, header).close()
        timed("open for writing again", 1, start)
        start = time.perf_counter()
        store = Store.open(path)
        timed("open for reading", 1, start)
        start = time.perf_counter()
        for number in range(count):
            store.episode(number)
        timed("read an episode, all in order", count, start)
        start = time.perf_counter()
        for number in range(count):
            store.calls(number)
        timed("read its policy calls, all in order", count, start)
        store = Store.open(path)
        start = time.perf_counter()
        store.episode(count // 2)
        timed("read one episode of a store just opened", 1, start)
        store = Store.open(path)
        start = time.perf_counter()
        store.episode(count // 2, steps=("obs/*",), calls=())
        timed("read its observations only", 1, start)
        start = time.perf_counter()
        store.annotate(0, t_on=7, outcome="partial")
        timed("annotate one episode", 1, start)
        start = time.perf_counter()
        store.annotate_many({uid: {"t_on": 7, "t_pnr": 9, "outcome": "partial"} for uid in store.uids})
        timed("annotate all episodes", 1, start)
        start = time.perf_counter()
        store.digest()
        timed("digest", 1, start)
        files = [file for file in path.rglob("*") if file.is_file()]
        size = sum(file.stat().st_size for file in files)
    for what, milliseconds in seconds.items():
        print(f"{what:45s} {milliseconds:9.2f} ms")
    print(f"{'bytes an episode':45s} {size / count:9.0f}    (raw {raw + episodes[0].memory.nbytes})")
    print(f"{'files':45s} {len(files):9d}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 320)
