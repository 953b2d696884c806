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
    stage : index into the task's stages of the first stage not yet reached; ``len(stages)`` once all are, and so 0 of a
        task without stages.
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


@dataclasses.dataclass(frozen=True)
class Picture:
    """What a camera sees of a scene, and where in it a point of the world lies.

    Attributes
    ----------
    pixels : (H, W, 3) uint8 RGB, the origin at the top left.
    projection : (3, 4); times a world point (x, y, z, 1) in metres it gives (u d, v d, d): column u and row v in
        pixels, and the distance d along the camera's axis in metres.
    """

    pixels: Array
    projection: Array


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
    """What every task has, nine members; what it may also offer stands in :mod:`workbench.types.abilities`."""

    @property
    def name(self) -> str: ...
    @property
    def instruction(self) -> str: ...
    @property
    def control_hz(self) -> float: ...
    @property
    def deadline(self) -> int:
        """Control steps after which the task counts as failed."""
        ...

    @property
    def observation_sizes(self) -> Mapping[str, int]:
        """Name -> length of each observation vector."""
        ...

    @property
    def action_size(self) -> int: ...
    @property
    def predicate_names(self) -> Sequence[str]: ...
    @property
    def roles(self) -> Mapping[str, str]:
        """Which of its predicates play which part of :data:`ROLES`: part -> name; ``success`` at the least.

        Failure modes are read by these parts alone; one whose parts a task lacks is never seen on it.
        """
        ...

    def scene(self) -> Scene:
        """Make a new scene of this task; the compiled model is shared by all scenes of the process."""
        ...


class Scene(Protocol):
    """One scene behind gymnasium's interface, that can be stopped, copied and changed.

    Images, shapes and poses of bodies are abilities; see :mod:`workbench.types.abilities`.
    """

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

    def truth(self) -> Truth: ...
    def injected(self) -> int:
        """First step at which any perturbation was active, or -1."""
        ...

    def snapshot(self) -> Snapshot: ...
    def restore(self, snapshot: Snapshot) -> Observation: ...
    def without_pending(self, snapshot: Snapshot) -> Snapshot:
        """The same moment without the perturbations that have not struck yet."""
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
