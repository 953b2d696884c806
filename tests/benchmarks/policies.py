"""What one policy call costs, for every process and denoiser: one chunk, 256 samples, and 64 scenes in lockstep.

Run on one core::

    OMP_NUM_THREADS=1 python -m tests.benchmarks.policies [repetitions]

Sizes are the defaults of ``conf/policy``, for 30 numbers of state and 7 of action; the weights are random, which costs
the same.  Every repetition makes every call once, one after another, so that a load that comes and goes falls on all;
what is counted is this process's time on the core.  A ratio is taken within a repetition.

Lockstep is the cost per scene and call of 64 scenes over that of one.  A chunk alone is drawn for 16 scenes in one
product, of that shape even for one scene, so company is nearly free.  Samples are drawn 64 in a product, of several
scenes if they have fewer each.  With as many the core is busy with numbers and no longer with overhead, so company
saves little: two scenes of 32 samples fill a product.  Wider products, of 8 such scenes, would take a sixth (mlp) or
a third (unet) less in company, nothing less for the transformer, and three to four times as long for a scene alone,
since a scene must be given the same chunks in any company and so pays for the shape.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

import numpy as np
import torch

from workbench.config import build, compose
from workbench.policies.chunks.chunk_policy import ChunkPolicy
from workbench.policies.chunks.normalisation import Normalisation
from workbench.policies.networks.denoisers import DENOISERS
from workbench.types import Array

POLICIES = ("flow", "diffusion")
STATE, ACTIONS = 30, 7
CALLS: Mapping[str, tuple[int, int]] = {
    "chunk": (1, 0),
    "256 samples": (1, 256),
    "64 scenes": (64, 0),
    "32 samples": (1, 32),
    "64 scenes, 32 samples": (64, 32),
}
"""Name -> scenes and samples of one call."""


def made(process: str, denoiser: str) -> ChunkPolicy:
    """A policy as its yaml says, with random weights."""
    rng = np.random.default_rng(0)
    statistics = Normalisation.of(rng.normal(size=(100, STATE)), rng.uniform(-1, 1, size=(100, ACTIONS)))
    policy: ChunkPolicy = build(compose([f"policy={process}", f"policy.denoiser={denoiser}"])["policy"])
    policy.equip("benchmark", {"state": STATE}, ACTIONS, statistics)
    return policy


def milliseconds(policy: ChunkPolicy, scenes: int, samples: int) -> float:
    """Time on the core of one call."""
    rng = np.random.default_rng(1)
    observation = {key: rng.normal(size=(scenes, policy.history, size)) for key, size in policy.layout.items()}
    noise = [np.random.default_rng(scene) for scene in range(scenes)]
    start = time.process_time()
    policy.plan(observation, noise, samples)
    return 1e3 * (time.process_time() - start)


def spread(times: Array) -> str:
    """Median and 10th to 90th percentile."""
    low, median, high = np.percentile(times, [10, 50, 90])
    return f"{median:8.2f} ({low:7.2f} ..{high:8.2f})"


def main(repetitions: int) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    policies = {(process, denoiser): made(process, denoiser) for process in POLICIES for denoiser in DENOISERS}
    times: dict[tuple[str, str], list[list[float]]] = {name: [] for name in policies}
    for repetition in range(1 + repetitions):
        for name, policy in policies.items():
            row = [milliseconds(policy, scenes, samples) for scenes, samples in CALLS.values()]
            if repetition:  # the first is thrown away, since memory is taken and weights are unpacked in it
                times[name].append(row)
    print(f"{'milliseconds a call':24s}" + "".join(f"{name:>30s}" for name in CALLS))
    for name in policies:
        print(f"{' '.join(name):24s}" + "".join(f"{spread(column):>30s}" for column in np.array(times[name]).T))
    print(f"\n{'lockstep, 64 to one':24s}{'chunk alone':>30s}{'with 32 samples':>30s}")
    for name in policies:
        one, _, many, one_sampled, many_sampled = np.array(times[name]).T
        ratios = (many / 64 / one, many_sampled / 64 / one_sampled)
        print(f"{' '.join(name):24s}" + "".join(f"{spread(ratio):>30s}" for ratio in ratios))
    print(f"\n{repetitions} interleaved repetitions; medians, and 10th to 90th percentiles in brackets; one core")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
