"""Tasks, their scenes, and the perturbations that change them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

from workbench.types.data import Array, Observation, Record
from workbench.types.policy import Policy
from workbench.types.random import Stream


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
