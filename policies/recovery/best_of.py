"""Think again: several chunks are sampled, and the one is run that a score likes best.

Test-time selection by a verifier, as of RoboMonkey (arXiv 2506.17811, 2025); among the candidates by their agreement
with the chunk before, with the score ``chunk_overlap``, it is the backward coherence of Bidirectional Decoding (Liu et
al., ICLR 2025).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence

import numpy as np

from workbench.errors import ConfigError
from workbench.policies.recovery.sampling.driver import SamplingDriver, SamplingStrategy, told
from workbench.types import STEP, Alarm, Array, Intervention, Observation, Policy, PolicyCall, PolicyOutput, Record
from workbench.types.detector import Scorer

READ = frozenset({"embedding"})
"""What a score may look at beside the chunk: a policy says the rest of the chunk that it runs alone."""


class BestOfDriver(SamplingDriver):
    """Of a policy's chunk and its samples, the one with the lowest score; the chunk itself where all are alike.

    Its memory: ``score``, what the score remembers of the chunks that were run before.
    """

    def __init__(self, policy: Policy, score: Scorer, samples: int) -> None:
        super().__init__(policy)
        self._score, self._samples = score, samples

    def plan(
        self,
        observation: Observation,
        noise: Sequence[np.random.Generator],
        samples: int = 0,
        instructions: Sequence[str] | None = None,
        memories: Sequence[Record] = (),
    ) -> PolicyOutput:
        """The best chunk (N, H, A) of every scene."""
        output = self.policy.plan(observation, noise, self._samples - 1, **told(instructions))
        chosen = np.array(output.chunk)
        for row, memory in enumerate(memories):
            drawn = output.chunk[row : row + 1]
            if output.samples is not None:
                drawn = np.concatenate([drawn, output.samples[row]])
            instruction = "" if instructions is None else instructions[row]
            features = None if output.embedding is None else output.embedding[row]
            chosen[row] = drawn[self._best(drawn, features, instruction, memory)]
        return PolicyOutput(chosen, None, output.embedding)

    def _best(self, drawn: Array, features: Array | None, instruction: str, memory: Record) -> int:
        """Place of the best of the chunks (K, H, A) of one scene; remembers that it is run."""
        count = len(drawn)
        call = PolicyCall(
            np.full(count, memory[STEP]),
            np.asarray(drawn, dtype=np.float32),
            None,
            None if features is None else np.repeat(np.asarray(features, dtype=np.float32)[None], count, axis=0),
            self.execute,
            [instruction] * count,
        )
        after = [copy.deepcopy(memory["score"]) for _ in range(count)]
        said = self._score.update(after, call)
        best = int(np.argmin(np.where(np.isfinite(said), said, np.inf)))
        memory["score"] = after[best]
        return best


class BestOf(SamplingStrategy):
    """From the alarm on the policy draws several chunks at each of its calls, and the best of them is run.

    Parameters
    ----------
    score : a fitted score that judges chunks, lower is better; in a configuration its name, or null for that of the
        monitor that alarms.  It may look at nothing else but the embedding.
    samples : K, chunks that are drawn at each call; one is the placebo.
    steps : control steps after which the policy drives again as before; None for the rest of the episode.

    Raises
    ------
    ConfigError
        if the score looks at what there is not for every chunk; at the first alarm, if it does not look at the chunk.
    """

    name: str = "best_of"
    needs: Sequence[str]

    def __init__(self, score: Scorer, samples: int = 16, steps: int | None = None) -> None:
        if samples < 1 or (steps is not None and steps < 1):
            raise ConfigError(f"best_of: samples={samples} and steps={steps} must be at least 1")
        if missing := sorted(set(score.needs) - READ):
            raise ConfigError(
                f"strategy best_of goes by a score of single chunks, and {type(score).__name__} looks at "
                f"{', '.join(missing)}; choose one such as strategy.best_of.score=chunk_overlap or rnd_actions"
            )
        self.needs, self._score, self._samples, self._steps = tuple(score.needs), score, samples, steps

    def begin(self) -> Record:
        """The score's own memory, after and before the last call."""
        return {"after": self._score.begin(), "before": self._score.begin()}

    def follow(self, memory: Record, call: PolicyCall) -> None:
        """Show the score what was planned."""
        memory["before"] = copy.deepcopy(memory["after"])
        self._score.update([memory["after"]], call)

    def act(self, memory: Record, alarm: Alarm) -> Intervention:
        """The best of several drives; what was planned at the alarm is not run, so the score has not seen it.

        Behind the intervention the score begins anew, as monitors do.
        """
        asked = super().act(memory, alarm)
        told, memory["after"] = {"score": memory["before"]}, self._score.begin()
        return dataclasses.replace(asked, memory=told)

    def made(self, alarm: Alarm) -> BestOfDriver:
        """The policy, of whose chunks the best is run."""
        self._refuse_blind(alarm.call)
        return BestOfDriver(alarm.policy, self._score, self._samples)

    def _refuse_blind(self, call: PolicyCall) -> None:
        """ConfigError for a score that says the same of very different chunks, behind the same one before."""
        along = 0.1 * np.arange(1, call.chunk.shape[1] + 1)[:, None]
        chunks = (call.chunk, -call.chunk, call.chunk + along, call.chunk - along, call.chunk + 3 * along)
        if len({self._behind(call, chunk) for chunk in chunks}) == 1:
            raise ConfigError(
                f"strategy best_of goes by a score of chunks, and {type(self._score).__name__} says the same of all; "
                "choose one such as strategy.best_of.score=chunk_overlap or rnd_actions"
            )

    def _behind(self, call: PolicyCall, chunk: Array) -> float:
        """What the score says of a chunk one control step behind a call."""
        memory = self._score.begin()
        self._score.update([memory], call)
        return float(self._score.update([memory], dataclasses.replace(call, step=call.step + 1, chunk=chunk))[0])
