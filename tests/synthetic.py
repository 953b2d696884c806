"""A store whose failures are known in closed form: the embedding of a failed episode drifts away from its onset on."""

import json
from pathlib import Path

import numpy as np

from workbench.store import StoreHeader, StoreWriter
from workbench.types import Episode, episode_index, new_record

DEADLINE, EXECUTE, HORIZON, ACTIONS, SAMPLES, EMBEDDING = 48, 4, 8, 7, 6, 5
ONSET, LOST = 8, 32
FAULTS = {"push": "physics", "latency": "action", "slip": "keyframe"}
HEADER = StoreHeader(
    task="toy", control_hz=20.0, deadline=DEADLINE, config={"policy": {"zoo": "toy_flow"}}, versions={}, seed=0
)
COUNTS = {"fit": 16, "select": 8, "calibrate": 24, "test": 16}


def episode(split: str, number: int, fault: str = "", rate: float = 0.3, drift: float = 1.0) -> Episode:
    """One episode; perturbed ones of odd number fail, and so does every eighth nominal one."""
    index = episode_index(split, number)
    random = np.random.default_rng([index, len(fault)])
    failed = bool(fault) and number % 2 == 1
    length = DEADLINE if failed else int(random.integers(24, 36))
    called = np.arange(0, length, EXECUTE)
    plan = random.normal(size=(length + HORIZON, ACTIONS)).cumsum(axis=0) / 10
    chunk = np.stack([plan[step : step + HORIZON] for step in called])
    away = drift * np.maximum(called - ONSET, 0) / EXECUTE * failed
    embedding = random.normal(size=(len(called), EMBEDDING)) + away[:, None]
    calls = {
        "step": called,
        "chunk": chunk.astype(np.float32),
        "samples": (chunk[:, None] + 0.1 * random.normal(size=(len(called), SAMPLES, HORIZON, ACTIONS))).astype(
            np.float32
        ),
        "embedding": embedding.astype(np.float32),
        "seconds": np.zeros(len(called)),
    }
    drawn = [{"name": fault, "channel": FAULTS[fault]}] if fault else []
    record = new_record(
        uid=f"0:{index}:{f'{fault}{rate}' if fault else 'nominal'}", index=index, seed=0, split=split, task="toy",
        model="m", instruction="count", policy="Flow", perturbation=fault, perturbations=json.dumps(drawn),
        cell=f"{fault}@{rate:g}" if fault else "", execute=EXECUTE, length=length, success=not failed,
        outcome="failure" if failed else "success", modes="[]", t_inj=0 if fault else -1,
        t_on=ONSET if failed else -1, t_pnr=LOST if failed else -1,
        values=json.dumps([[0, 4, 4], [int(called[-1]), 0 if failed else 4, 4]]),
        twin=f"0:{index}:nominal" if fault else "",
    )  # fmt: skip
    steps = {
        "obs/hand": random.normal(size=(length, 3)),
        "action": np.zeros((length, ACTIONS)),
        "reward": np.zeros(length),
        "stage": np.minimum(np.arange(length) // 16, 2),
        "state": np.zeros((length, 2)),
    }
    return Episode(record, steps, calls, np.zeros((length, 0)))


def write_store(path: Path, drift: float = 1.0, counts: dict[str, int] = COUNTS) -> Path:
    """A store with every fault at two magnitudes in every split, and nominal episodes."""
    with StoreWriter.open(path, HEADER) as writer:
        for split, count in counts.items():
            for number in range(count):
                writer.append(episode(split, number))
                for fault in FAULTS:
                    writer.append(episode(split, number, fault, 0.3 if number % 4 < 2 else 0.7, drift))
    return path
