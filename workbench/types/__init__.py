"""The nouns of the workbench as types, and the contracts between its folders.

Axes, one alphabet everywhere: N scenes or episodes, T control steps, C policy calls, B samples, H horizon, A action,
D embedding, K branches, S integration state, M memory.  Arrays are numpy; units are SI and stand in the name.

Time of one episode (deadline T, ``execute`` = 4 of a horizon of 8)::

    control step   0   1   2   3   4   5   6   7   8  ...  T-1
    policy call    c0              c1              c2
    chunk of c0    a0  a1  a2  a3 (a4  a5  a6  a7)            the bracketed ones are never run
    chunk of c1                    a0  a1  a2  a3 (a4 ...)    they overlap: consistency scores compare these
    row t of the store: observation and state *before* action t; reward, stage and predicates *after* it
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from workbench.errors import ConfigError

Array = npt.NDArray[Any]
Observation = Mapping[str, Array]
"""What the robot sees at one control step: name -> vector."""
Record = dict[str, Any]
"""Plain data (str, int, float, bool, None, list, dict) that survives a trip through JSON."""

Split = Literal["train", "fit", "select", "calibrate", "test"]
SPLITS: tuple[Split, ...] = ("train", "fit", "select", "calibrate", "test")
EPISODES_PER_SPLIT = 100_000
"""Episode indices come in blocks, one a split, so an episode and its nominal twin are always of the same split."""


def episode_index(split: Split, number: int) -> int:
    """Index of the ``number``-th episode of a split; the index decides every random draw of the episode."""
    if not 0 <= number < EPISODES_PER_SPLIT:
        raise ValueError(f"episode number {number} is not in 0..{EPISODES_PER_SPLIT - 1}")
    return SPLITS.index(split) * EPISODES_PER_SPLIT + number


def split_of(index: int) -> Split:
    """Split to which an episode index belongs; the inverse of :func:`episode_index`."""
    return SPLITS[index // EPISODES_PER_SPLIT]


@dataclasses.dataclass(frozen=True)
class Stream:
    """A named stream of random numbers of one episode, addressed by counter instead of kept as a state.

    ``stream.child("action_noise").at(17)`` is a fresh generator that depends on the run's seed, the episode's index,
    the names and the counter alone.  Nothing has to be saved to restore it, adding a stream never changes another's
    draws, and neither workers, batch size nor order play a part.
    """

    seed: int
    episode: int
    path: tuple[str, ...] = ()

    def child(self, *names: str) -> Stream:
        """Stream with more names behind its path."""
        return dataclasses.replace(self, path=(*self.path, *names))

    def at(self, counter: int = 0) -> np.random.Generator:
        """Generator for one counter (a control step, a policy call)."""
        key = (*(zlib.crc32(name.encode()) for name in self.path), counter)
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, self.episode], spawn_key=key)))


@dataclasses.dataclass(frozen=True)
class Keyframe:
    """One waypoint of a task's plan: a pose of the gripper in the world frame and what the fingers do there.

    Attributes
    ----------
    stage : name of the task's stage that this keyframe belongs to.
    position_m : (3,) grip site, world frame.
    rotation : (3, 3) grip site, world frame.
    closed : whether the fingers are commanded to close.
    tolerance_m : how near counts as reached.
    """

    stage: str
    position_m: Array
    rotation: Array
    closed: bool
    tolerance_m: float


@dataclasses.dataclass(frozen=True)
class Truth:
    """Ground truth of a scene at one control step; never handed to a detector.

    Attributes
    ----------
    observation : the observation without any perturbation of the observation channel.
    predicates : what the simulator knows, name -> number (0 or 1 for yes-or-no ones; metres and so on otherwise).
    stage : index into the task's stages of the first stage not yet reached; ``len(stages)`` once all are.
    success : whether the task's success predicate holds.
    """

    observation: Observation
    predicates: Mapping[str, float]
    stage: int
    success: bool


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """Everything in a scene that decides its future; restoring it and replaying the actions is bit-exact.

    The scene's draws and model edits follow from ``stream`` and ``perturbations``; random streams are counters and so
    need no state.  What the policy still remembers (observation history, queued actions) is the rollout's part.

    Attributes
    ----------
    task, model : name of the task and digest of its compiled model; another one is refused.
    step : control steps done since reset.
    state : (S,) float64, MuJoCo's integration state.
    memory : (M,) float64, controller, gripper and perturbations, in an order that the scene knows.
    stream : random stream of the episode.
    perturbations : records of the drawn perturbations, in order.
    """

    task: str
    model: str
    step: int
    state: Array
    memory: Array
    stream: Stream
    perturbations: tuple[Record, ...]


@dataclasses.dataclass(frozen=True)
class Shape:
    """One visual geometry, for viewers that have no renderer.

    Attributes
    ----------
    body : name of the body that carries it.
    kind : ``box`` (size = half lengths), ``sphere`` (radius), ``capsule`` or ``cylinder`` (radius, half length),
        ``mesh`` (vertices and faces) or ``plane`` (half lengths).
    position_m, quaternion : pose in the body's frame; quaternion is (w, x, y, z).
    size_m : (3,).
    rgba : (4,) in 0..1.
    vertices_m, faces : (V, 3) and (F, 3) for meshes, empty otherwise.
    """

    name: str
    body: str
    kind: str
    position_m: Array
    quaternion: Array
    size_m: Array
    rgba: Array
    vertices_m: Array
    faces: Array


ROLES: Mapping[str, str] = {
    "success": "whether the task is done",
    "hand_x": "position of the grip site (or of what moves the object) in the world, in metres",
    "hand_y": "the same",
    "hand_z": "the same",
    "object_x": "position of the manipulated object in the world, in metres",
    "object_y": "the same",
    "grip_x": "where the object is taken hold of, in metres, if that is not its position",
    "grip_y": "the same",
    "object_up": "vertical part of the object's own z axis, -1 .. 1",
    "height": "height of the object above what it stands on at the start, in metres, from wherever it is counted",
    "hand_object_distance": "distance from the grip site to where the object is taken hold of, in metres",
    "finger_gap": "distance between the fingers, in metres",
    "held": "whether both finger pads touch the object",
    "other_held": "whether both touch another object instead",
    "at_target": "whether the object is where it is to go",
    "target_distance": "horizontal distance of the object from there, in metres",
    "collision": "whether the robot touches what it should not",
    "obstructed": "whether the robot, or what it touches, touches something that may stop it",
}
"""Parts that a task's predicates can play in what its failure modes are read from."""


class Task(Protocol):
    """A scene with a success predicate, ordered stages, a deadline and a plan of keyframes."""

    @property
    def name(self) -> str: ...
    @property
    def instruction(self) -> str: ...
    @property
    def stages(self) -> tuple[str, ...]: ...
    @property
    def deadline(self) -> int:
        """Control steps after which the task counts as failed."""
        ...

    @property
    def control_hz(self) -> float: ...
    @property
    def observation_sizes(self) -> Mapping[str, int]:
        """Name -> length of each observation vector."""
        ...

    @property
    def action_size(self) -> int: ...
    @property
    def gripper(self) -> bool:
        """Whether the last number of an action commands fingers, above zero to close."""
        ...

    @property
    def commands_pose(self) -> bool:
        """Whether an action's first six numbers command the gripper's translation and rotation in space."""
        ...

    @property
    def action_groups(self) -> Mapping[str, tuple[int, int]]:
        """What kinds of numbers an action is made of, name -> first column and one past the last; together all.

        Their errors are told apart, since a mean over all of them hides the one that fails.
        """
        ...

    @property
    def cameras(self) -> object | None:
        """Settings of its cameras; None if it takes no images."""
        ...

    @property
    def image_sizes(self) -> Mapping[str, tuple[int, int]]:
        """Camera -> (height, width) of its images in pixels; empty if it takes none."""
        ...

    @property
    def predicate_names(self) -> Sequence[str]: ...
    @property
    def roles(self) -> Mapping[str, str]:
        """Which of its predicates play which part of :data:`ROLES`: part -> name; ``success`` at the least.

        Failure modes are read by these parts alone; one whose parts a task lacks is never seen on it.
        """
        ...

    @property
    def object_is_free(self) -> bool:
        """Whether the manipulated object hangs on nothing but a free joint."""
        ...

    @property
    def demonstration_noise(self) -> tuple[float, float]:
        """Bounds of the noise on demonstrations, standard deviation as a fraction of the action's range."""
        ...

    @property
    def trails(self) -> Sequence[str]:
        """Bodies whose paths are worth drawing: the gripper's, the manipulated object's."""
        ...

    @property
    def goals(self) -> Mapping[str, str]:
        """What can be asked for in its scene, name -> instruction; the first is the task's own."""
        ...

    def of_episode(self, stream: Stream) -> Task:
        """The task as one episode has it: where the goal is drawn, with that goal; its scene's own ``task``."""
        ...

    def as_if(self, goal: str, observation: Observation) -> Observation:
        """The observation relabelled so that :meth:`plan` pursues one of the goals."""
        ...

    def ground(self, instruction: str) -> str | None:
        """The goal that an instruction means; None if it means none of them, or it cannot be decided which."""
        ...

    def plan(self, observation: Observation) -> Sequence[Keyframe]:
        """Keyframes from a (true) observation."""
        ...

    def scene(self) -> Scene:
        """Make a new scene of this task; the compiled model is shared by all scenes of the process."""
        ...


class Scene(Protocol):
    """One MuJoCo scene behind gymnasium's interface, that can be stopped, copied and changed."""

    privileged: bool
    """Whether a privileged driver drives, whom faults of planning do not reach; begin and restore set it to False."""

    @property
    def task(self) -> Task: ...
    @property
    def step_index(self) -> int: ...
    def begin(self, stream: Stream, perturbations: Sequence[Record] = ()) -> Observation:
        """Reset to the episode that the stream and the drawn perturbations decide; returns the observation."""
        ...

    def step(self, action: Array, as_asked: bool = False) -> tuple[Observation, float, bool, bool, Record]:
        """Apply one action (A,); gymnasium's five values; ``info["applied"]`` is the action as executed.

        With ``as_asked`` the perturbations see the action but cannot change it; whatever else they do goes on.
        """
        ...

    def observe(self) -> Observation:
        """What the robot sees now; the same array contents however often it is called."""
        ...

    def instruction(self) -> str:
        """What the robot is told to do now."""
        ...

    def queue(self, chunk: Array, execute: int) -> Array:
        """The actions (R, A) that are run of a chunk (H, A) that the policy has just planned."""
        ...

    def settings(self) -> Record:
        """What perturbations change about the policy that is asked now, for the policy's ``altered``."""
        ...

    def images(self) -> Mapping[str, Array]:
        """What the task's cameras see now, drawn when this is called; empty if the task has none.

        ``images/<camera>`` (H, W, 3) uint8 RGB; where asked for, ``depth/<camera>`` (H, W) float32 metres along the
        camera's axis, and ``segmentation/<camera>`` (H, W) int32, index into ``list(body_poses())`` or -1.  The origin
        is at the top left.
        """
        ...

    def truth(self) -> Truth: ...
    def injected(self) -> int:
        """First step at which any perturbation was active, or -1."""
        ...

    def snapshot(self) -> Snapshot: ...
    def restore(self, snapshot: Snapshot) -> Observation: ...
    def without_pending(self, snapshot: Snapshot) -> Snapshot:
        """The same moment without the perturbations that have not struck yet."""
        ...

    def shapes(self) -> Sequence[Shape]:
        """Visual geometry, for viewers."""
        ...

    def body_poses(self) -> Mapping[str, tuple[Array, Array]]:
        """Body name -> world position (3,) in metres and quaternion (w, x, y, z)."""
        ...


class Perturbation(Protocol):
    """One kind of fault: a strict specification from which exact faults are drawn."""

    channel: str

    def draw(self, stream: Stream, task: Task) -> Record:
        """One fault as it will be applied: plain data with ``name``, ``channel``, ``target`` and its parameters.

        ``scene.begin(stream, [record])`` replays it bit for bit.
        """
        ...

    def suits(self, policy: Policy) -> None:
        """Raise a ConfigError if the policy cannot have this fault."""
        ...


@dataclasses.dataclass(frozen=True)
class Demonstration:
    """One episode to learn from.

    Attributes
    ----------
    observation : key -> (T, size); ``images/<camera>`` -> (T, height, width, 3) uint8.
    actions : (T, A) as asked.
    instruction : what was told.
    """

    observation: Observation
    actions: Array
    instruction: str = ""


@dataclasses.dataclass(frozen=True)
class PolicyOutput:
    """One inference for N scenes.

    Attributes
    ----------
    chunk : (N, H, A) the action chunk, of which the first ``execute`` actions are run.
    samples : (N, B, H, A) chunks drawn for the same observation with noise of their own, or None.
    embedding : (N, D) features of the observation, or None.
    signals : name -> (N, ...), what else the policy says of this call, where it was asked to.
    """

    chunk: Array
    samples: Array | None = None
    embedding: Array | None = None
    signals: Mapping[str, Array] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Steering:
    """Where the sampling of a policy's chunks is led, for policies that take it: ``plan(..., steering=Steering(...))``.

    Sources: partial noise after Meng et al., SDEdit, ICLR 2022, and Retrieve-then-Steer, arXiv 2605.10094; gradient
    through the predicted clean chunk after Chung et al., Diffusion Posterior Sampling, ICLR 2023; without the network
    as with the prior of Song et al., Pseudoinverse-Guided Diffusion Models, ICLR 2023.

    Attributes
    ----------
    start : (N, H, A) chunk in action units that sampling begins with instead of noise alone, or None.
    start_level : how much noise is put on it, 0 (none, so it is the result) to 1 (noise alone, plain sampling).
    reward : differentiable, predicted clean chunks as a torch tensor (n, K, H, A) float32 in action units -> (n, K).  n
        is not N (scenes go in blocks, with padding) and no row may depend on another: scenes with rewards of their own
        are planned one by one.
    scale : factor on the reward; with 1 the density of chunks is multiplied by exp(reward), as well as steps allow.
    through_network : whether the gradient goes through the network.  Without it a step costs no more than an unsteered
        one, and the clean chunk is taken to follow the noisy one as it does for standard normal data: narrower ones
        are moved further than exp(reward) would.
    """

    start: Array | None = None
    start_level: float = 1.0
    reward: Callable[[Any], Any] | None = None
    scale: float = 1.0
    through_network: bool = True

    def __post_init__(self) -> None:
        """Refuse what leads nowhere."""
        if not 0.0 <= self.start_level <= 1.0:
            raise ConfigError(f"start_level={self.start_level} must be in 0..1, 0 for the start itself")
        if self.start is None and self.start_level < 1.0:
            raise ConfigError(f"start_level={self.start_level} needs a start")
        if not math.isfinite(self.scale):
            raise ConfigError(f"scale={self.scale} must be a finite number")


class Policy(Protocol):
    """Maps observations to action chunks; holds no state between calls."""

    history: int
    """How many observations in a row one call sees (the oldest is repeated at the start of an episode)."""
    horizon: int
    execute: int
    privileged: bool
    """Whether it is handed ``Truth.observation`` instead of what the robot sees, and is free of faults of planning: a
    reference, that says what could still be won."""
    listens: bool
    """Whether it is also handed what it is told, as ``plan(..., instructions=[N strings])``."""
    cameras: Sequence[str]
    """Cameras of the task whose present image it is handed beside the vectors, as ``images/<camera>``."""
    signals: Sequence[str]
    """What it can be asked to say of a call beyond samples and embedding, as ``plan(..., signals=[names])``."""

    def plan(self, observation: Observation, noise: Sequence[np.random.Generator], samples: int = 0) -> PolicyOutput:
        """One inference.

        Parameters
        ----------
        observation : name -> (N, history, size); ``images/<camera>`` -> (N, height, width, 3) uint8, the present one.
        noise : N generators; the chunk's noise is drawn before the samples', so B does not change the chunk.
        samples : B, how many further chunks to draw for each scene.
        """
        ...

    def save(self, folder: Path) -> None: ...


RECENT = 16
"""How many control steps of observations in a row a policy call shows to a detector."""


@dataclasses.dataclass(frozen=True)
class PolicyCall:
    """What a detector sees: one policy call of N scenes, and nothing of the ground truth.

    Attributes
    ----------
    step : (N,) control step of the call.
    chunk, samples, embedding, signals : as in :class:`PolicyOutput`.
    execute : how many actions of a chunk are run before the next call.
    instructions : N, what the robot was told at the start of the episode.
    observation : key -> (N, RECENT, size), what it saw at the last control steps, the present one last; the oldest is
        repeated at the start of an episode.
    """

    step: Array
    chunk: Array
    samples: Array | None
    embedding: Array | None
    execute: int
    instructions: Sequence[str] = ()
    signals: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    observation: Mapping[str, Array] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class EpisodeCalls:
    """All policy calls of one episode, as a detector may see them.

    Attributes
    ----------
    uid : names the episode across stores and splits.
    split : the split the episode belongs to.
    step : (C,) control steps; ``chunk`` (C, H, A); ``samples`` (C, B, H, A) or None; ``embedding`` (C, D) or None.
    instruction : what the robot was told at the start.
    signals : name -> (C, ...).
    observation : key -> (C, RECENT, size), as in :class:`PolicyCall`.
    """

    uid: str
    split: Split
    step: Array
    chunk: Array
    samples: Array | None
    embedding: Array | None
    execute: int
    instruction: str = ""
    signals: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    observation: Mapping[str, Array] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class EpisodeTruth:
    """What the simulator knows of an episode: for what learns from outcomes, and for judging; never for a score's
    ``update``.

    Attributes
    ----------
    uid : the episode's.
    success : whether it succeeded.
    family : channels of its perturbations, joined by "+"; "" for a nominal episode.
    perturbation : their names, joined by "+".
    length, deadline : control steps done, and the task's deadline.
    t_on, t_pnr : failure onset and point of no return in control steps; -1 where not measured or there is none.
    stage : (C,) at every policy call, index of the first stage not yet reached.
    values : (V, 3) control step of a policy call, successes, branches: the measured value V(t); (0, 3) if none was.
    """

    uid: str
    success: bool
    family: str
    perturbation: str
    length: int
    deadline: int
    t_on: int
    t_pnr: int
    stage: Array
    values: Array


class Scorer(Protocol):
    """What a fitted score does: a number per policy call; causal, so online and offline are the same code."""

    needs: frozenset[str]
    """What it reads of a call beyond chunk, step and instructions: ``samples``, ``embedding``, ``signals/<name>``,
    ``observation/<key>``."""

    def begin(self) -> Record:
        """Memory of an episode that has not begun."""
        ...

    def update(self, memories: Sequence[Record], call: PolicyCall) -> Array:
        """Scores (N,) of one call; ``memories`` holds each scene's own memory and is updated in place."""
        ...

    def state(self) -> dict[str, Array]:
        """What was learnt, as named arrays."""
        ...

    def load(self, state: Mapping[str, Array]) -> None: ...


class Score(Scorer, Protocol):
    """A score that learns from successes alone; higher is worse."""

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int) -> None:
        """Learn from (successful) episodes; deterministic for a seed."""
        ...


class SupervisedScore(Scorer, Protocol):
    """A score that learns from what became of episodes; higher is worse."""

    supervised: bool
    """True."""

    def fit(self, episodes: Sequence[EpisodeCalls], seed: int, truths: Sequence[EpisodeTruth]) -> None:
        """Learn from episodes, successful and failed, and what is known of each; deterministic for a seed."""
        ...


@dataclasses.dataclass(frozen=True)
class Threshold:
    """What a calibrator returns for a level.

    Attributes
    ----------
    values : threshold: (C,) per call index, held at its last value beyond; (1,) for a constant one; (G + 1,) per group
        of calls where ``grouped``, the last one for groups that calibration has not seen.
    scale : of the same length or (1,), positive: the unit in which margins are compared between scores.
    level : nominal false-alarm rate.
    episodes : how many calibration episodes stand behind it.
    guarantee : what is promised, in one sentence.
    grouped : whether the threshold is that of the call's group and not of its index.
    on_failures : whether ``level`` is the share of failures that may be missed, and not of false alarms.
    """

    values: Array
    scale: Array
    level: float
    episodes: int
    guarantee: str
    grouped: bool = False
    on_failures: bool = False

    def margin(self, curve: Array, first_call: int = 0, groups: Array | None = None) -> Array:
        """(score - threshold) / scale along a curve (C,) that starts at ``first_call``; an alarm where positive.

        ``groups`` (C,) are the groups of its calls, from 0, or -1 for one that is not known.
        """
        if self.grouped:
            if groups is None:
                raise ConfigError("this threshold is one for each group of calls, and the groups are not given")
            known = (groups >= 0) & (groups < len(self.values) - 1)
            index = np.where(known, groups, len(self.values) - 1).astype(int)
        else:
            index = first_call + np.arange(len(curve))
        at = np.minimum(index, len(self.values) - 1)
        margin: Array = (curve - self.values[at]) / self.scale[np.minimum(index, len(self.scale) - 1)]
        return margin


FURTHEST = 1e30
"""Margin of a score from a threshold that nothing, or everything, exceeds."""


@dataclasses.dataclass(frozen=True)
class AdaptiveThreshold(Threshold):
    """A constant threshold that moves with what every successful episode after the calibration says.

    Gibbs and Candes ("Adaptive Conformal Inference Under Distribution Shift", NeurIPS 2021, equation 2): the level at
    which the conformal rank is taken rises by ``step * level`` after a quiet success and falls by
    ``step * (1 - level)`` after one with a false alarm.  At 0 or less nothing alarms and at 1 or more everything does,
    which is what bounds the share of false alarms over any sequence of episodes.

    Attributes
    ----------
    recent : (n,) highest scores of the last n successful episodes, the oldest first; at first the calibration's.
    current : level at which the rank is taken now, within (-step, 1 + step).
    step : gamma of the paper.
    """

    recent: Array = dataclasses.field(default_factory=lambda: np.zeros(0))
    current: float = 0.0
    step: float = 0.0

    def margin(self, curve: Array, first_call: int = 0, groups: Array | None = None) -> Array:
        """As of any threshold, but finite where the threshold is not, for what is ranked, drawn and written as JSON."""
        return np.clip(super().margin(curve, first_call, groups), -FURTHEST, FURTHEST)

    def after(self, highest: float, alarmed: bool) -> AdaptiveThreshold:
        """The threshold after a successful episode with that highest score, and whether it was alarmed at."""
        recent = np.append(self.recent[1:], highest)
        current = self.current + self.step * (self.level - alarmed)
        return dataclasses.replace(self, values=self.at(recent, current), recent=recent, current=current)

    @staticmethod
    def at(recent: Array, current: float) -> Array:
        """Threshold (1,): the ``ceil((n+1)(1-current))``-th smallest of ``recent``; beyond its ends, infinity."""
        # Sums of steps round: what is a whole rank but for that must not become the next one.
        rank = math.ceil((len(recent) + 1) * (1 - current) - 1e-9)
        ranked = np.concatenate([[-np.inf], np.sort(recent), [np.inf]])
        return ranked[[min(max(rank, 0), len(recent) + 1)]]


class Calibrator(Protocol):
    """A rule that turns the windowed scores of successful calibration episodes into a threshold.

    One that reads more says so by an attribute ``uses``, and is handed it as arguments of these names: ``failures``,
    curves (C_i,) of failed calibration episodes; ``groups``, (C_i,) of the calls of the successful ones; ``held_out``,
    curves of the score's own fit episodes, each scored without itself (a score's ``leave_one_out()``, uid -> (C_i,)).
    """

    def calibrate(self, curves: Sequence[Array], level: float) -> Threshold:
        """Threshold from one curve (C_i,) an episode; raises CalibrationError where the data cannot carry it."""
        ...


class Strategy(Protocol):
    """What is done on an alarm."""

    name: str
    replans: bool
    """Whether the queued actions are thrown away and the policy asked at once."""
    fresh_noise: bool
    """Whether it draws new noise (shared by all strategies of a comparison) instead of the factual one."""
    extends: bool
    """Whether it is given the time allowance of an intervention beyond the episode's deadline."""

    def driver(self, policy: Policy) -> Policy:
        """The policy that drives from the alarm on."""
        ...


@dataclasses.dataclass
class Episode:
    """One finished episode, as it is stored and read back.

    Attributes
    ----------
    record : one row of ``episodes/``; the columns are :data:`EPISODE_COLUMNS`.
    steps : name -> (T, ...): ``obs/<key>``, ``action``, ``applied``, ``reward``, ``stage``, ``predicates/<key>``,
        ``state`` (T, S), ``modes`` (T,) uint16 (see :mod:`workbench.rollouts.modes`), and if the task has cameras
        ``images/<camera>`` (T, H, W, 3) uint8, ``depth/<camera>`` and ``segmentation/<camera>`` (T, H, W), as
        :meth:`Scene.images` gives them.
    calls : name -> (C, ...): ``step``, ``chunk``, ``samples``, ``embedding``, ``seconds``; may be empty.
    memory : (T, M) float64, the rest of every step's snapshot; M differs from episode to episode.
    """

    record: Record
    steps: dict[str, Array]
    calls: dict[str, Array]
    memory: Array


ABORTED = "aborted"
"""Outcome of an episode whose policy was lost on the way: it says nothing of the policy, and is rolled anew."""
EPISODE_COLUMNS: Mapping[str, type] = {
    "uid": str,  # "<seed>:<index>:<digest of the drawn perturbations>"
    "index": int,
    "seed": int,
    "split": str,
    "task": str,
    "model": str,  # digest of the compiled model
    "instruction": str,  # as heard at the start
    "policy": str,
    "perturbation": str,  # names as composed, joined by "+"; "" for a nominal episode
    "perturbations": str,  # JSON list of records, as drawn
    "cell": str,  # of a synthesized data set: perturbation, axis and the failure rate aimed at; "" elsewhere
    "execute": int,  # actions of a chunk that are run before the next policy call
    "length": int,  # control steps
    "success": bool,
    "outcome": str,
    "failure_mode": str,  # the one mode by which a failed episode is called; "" for a success
    "modes": str,  # JSON list of {"mode", "step"}: every beginning of a failure mode, in order
    "t_inj": int,  # -1: never
    "t_eff": int,  # -1: not measured or none; so are the next eight
    "t_on": int,
    "t_on_low": int,
    "t_on_high": int,
    "t_pnr": int,
    "t_pnr_low": int,
    "t_pnr_high": int,
    "t_dec": int,  # first of the replaced control steps that turn failure into success
    "t_dec_end": int,  # one past the last of them
    "t_dec_by": str,  # "twin" or "expert": whose actions they were; "" where there is no decisive step
    "responsibility": float,  # gain in value by that replacement; 0 where there is no decisive step
    "responsibility_low": float,
    "responsibility_high": float,
    "values": str,  # JSON list of [control step of a policy call, successes, branches]: V(t) where it was measured
    "twin": str,  # uid of the nominal twin, "" if there is none
}


@runtime_checkable
class Subscriber(Protocol):
    """Something that follows a rollout: the store, a monitor, a viewer, a progress bar."""

    def on_call(self, episodes: Sequence[Stream], call: PolicyCall) -> None: ...
    def on_end(self, episode: Episode) -> None: ...
