"""Drivers that move the hand by what the robot sees of it, and remember how far they have come."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from workbench.policies.recovery.motion.hand import Hand
from workbench.types import Array, Observation, PolicyOutput, Record


class HandDriver:
    """One action at a time for every scene, by the pose of its hand and a memory of its own.

    It follows no policy, so faults of planning do not reach it.
    """

    name: str
    history = horizon = execute = 1
    privileged = False
    listens = False
    cameras: Sequence[str] = ()
    signals: Sequence[str] = ()

    def __init__(self, hand: Hand) -> None:
        self.hand = hand

    def plan(
        self,
        observation: Observation,
        noise: Sequence[np.random.Generator],
        samples: int = 0,
        memories: Sequence[Record] = (),
    ) -> PolicyOutput:
        """One action (N, 1, A) for each scene; it draws nothing, so there are no samples."""
        poses = self.hand.poses({key: observation[key][:, -1] for key in self.hand.keys})
        actions = [self.action(pose, memory) for pose, memory in zip(poses, memories, strict=True)]
        return PolicyOutput(np.stack(actions)[:, None])

    def action(self, pose: Array, memory: Record) -> Array:
        """Action (A,) of one scene from a pose (D,) of its hand; changes the memory."""
        raise NotImplementedError

    def altered(self, settings: Record) -> Self:
        """Itself: what perturbations change about a policy changes nothing about it."""
        return self

    def save(self, folder: Path) -> None:
        """Write what it does; there are no weights."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / "policy.json").write_text(json.dumps({"motion": self.name}), encoding="utf-8")
