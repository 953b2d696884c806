"""One MuJoCo scene behind gymnasium's interface, that can be stopped, copied and changed.

What decides the future of a scene, and where it is kept::

    MuJoCo's integration state   Snapshot.state    joints, velocities, warm start, controls, applied forces, time
    controller's memory, stage   Snapshot.memory   then each perturbation's memory, in order
    sizes, edits, posture        recomputed        from the stream and the perturbation records
    controller's goals           nowhere           set anew from the achieved pose at every control step
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import gymnasium
import mujoco
import numpy as np

from workbench.envs.faults.effect import Effect
from workbench.envs.faults.props import unseen
from workbench.envs.faults.specification import effect_of
from workbench.envs.robots.robosuite import visual_shapes
from workbench.envs.stepper import Controller, copy_model
from workbench.envs.task import HasModel
from workbench.errors import ActionError, ConfigError, DivergedError, SnapshotError
from workbench.types import (
    MOST_SEED,
    Array,
    HasCameras,
    HasGoals,
    HasRobot,
    HasStages,
    Observation,
    Picture,
    Record,
    Shape,
    Snapshot,
    Stream,
    Task,
    Truth,
)

if TYPE_CHECKING:
    from workbench.envs.sensors.cameras import Cameras
    from workbench.envs.task import Receptacle

_STATE = mujoco.mjtState.mjSTATE_INTEGRATION
SNAPSHOT_VERSION = 3
"""Raise it when the same snapshot would have another future: the layout of memory, a controller's formula."""


class Cell(Protocol):
    """Where a task's compiled models come from; hashable, and equal for tasks that share them."""

    def __hash__(self) -> int: ...
    @property
    def digest(self) -> str:
        """Names the model by what it is made of."""
        ...

    def compiled(self) -> mujoco.MjModel:
        """A new model of what moves, touches or has mass."""
        ...

    def compiled_visual(self) -> mujoco.MjModel:
        """A new model with all that an image shows; bodies and joints are those of :meth:`compiled`."""
        ...


class MujocoTask(Task, HasStages, HasGoals, HasCameras, HasRobot, HasModel, Protocol):
    """A task as its scene needs it."""

    def of_episode(self, stream: Stream) -> MujocoTask:
        """The task as one episode has it; all share the compiled model."""
        ...

    @property
    def cameras(self) -> Cameras | None: ...
    @property
    def out_of_range(self) -> str:
        """What is done with an action outside -1..1: ``clip`` or ``error``."""
        ...

    @property
    def object_body(self) -> str:
        """Body that is manipulated, for perturbations; its joint and its geometries follow."""
        ...

    @property
    def object_joint(self) -> str: ...
    @property
    def object_geoms(self) -> Sequence[str]: ...
    @property
    def support_m(self) -> float:
        """Height of what the object stands on."""
        ...

    @property
    def receptacle(self) -> Receptacle | None:
        """Where the object is to be put; None if nowhere in particular."""
        ...

    def rise_m(self, data: mujoco.MjData) -> float:
        """By how much what the object stands on is higher than it should be."""
        ...

    def shift_m(self, data: mujoco.MjData, offset_m: Sequence[float]) -> Array:
        """The displacement (2,) nearest to a drawn one at which the object can be put."""
        ...

    def controller(self, model: mujoco.MjModel, data: mujoco.MjData) -> Controller:
        """A new controller for one scene."""
        ...

    def edit(self, model: mujoco.MjModel, rng: np.random.Generator) -> None:
        """Draw what varies in the model; works on the small and on the visual model."""
        ...

    def place(self, model: mujoco.MjModel, qpos: Array, rng: np.random.Generator) -> None:
        """Draw the joint positions (nq,) at reset."""
        ...

    def observation(self, data: mujoco.MjData) -> dict[str, Array]:
        """What perfect sensors see; arrays of their own."""
        ...

    def predicates(self, data: mujoco.MjData) -> dict[str, float]:
        """What the simulator knows; ``success`` is among them."""
        ...

    def reached(self, predicates: Mapping[str, float]) -> int:
        """How many stages the state has reached by itself."""
        ...


@functools.cache
def pristine(cell: Cell) -> mujoco.MjModel:
    """The compiled model that all scenes of a process start from; never changed."""
    model = cell.compiled()
    # MuJoCo would start over by itself after a divergence; here that is an error
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    if mujoco.get_mju_user_warning() is None:
        mujoco.set_mju_user_warning(_log_warning)
    return model


@functools.cache
def _visual(cell: Cell) -> mujoco.MjModel:
    return cell.compiled_visual()


class MujocoScene(gymnasium.Env[dict[str, Any], Array]):
    """One scene of a task; see :class:`workbench.types.Scene`.

    A new scene stands at episode 0 of seed 0.  Perturbations edit ``model``, ``data`` and ``gains``, which belong to
    this scene alone (about 4 MB); the forces that they apply last for one control step.

    Attributes
    ----------
    task : as the episode has it, which is the given one unless the goal is drawn.
    model, data : this scene's own.
    gains : (2, ...) the controller's stiffness and damping.
    model_id : names the compiled model and the versions that decide a future.
    step_index : control steps done since reset.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own declaration)

    def __init__(self, task: MujocoTask) -> None:
        self.task = self._every = task
        self.model_id = model_id(task.cell)
        self.model = copy.copy(pristine(task.cell))
        self.data = mujoco.MjData(self.model)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (task.action_size,), np.float64)
        self.observation_space = gymnasium.spaces.Dict(
            {
                name: gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float64)
                for name, size in task.observation_sizes.items()
            }
        )
        self.metadata = {**self.metadata, "render_fps": round(task.control_hz)}
        self.cameras: Cameras | None = task.cameras
        self.render_mode = "rgb_array" if self.cameras else None
        self._controller = task.controller(self.model, self.data)
        self.gains = self._controller.gains
        self._effects: list[Effect] = []
        self._state_size = mujoco.mj_stateSize(self.model, _STATE)
        self._gym_episode = -1
        self.privileged = False
        """Whether a privileged driver drives, whom faults of planning do not reach; begin and restore set it False."""
        self.stiffness = 1.0
        """Factor on the controller's stiffness; see :class:`workbench.types.HasStiffness`."""
        self.begin(Stream(0, 0))

    def begin(self, stream: Stream, perturbations: Sequence[Record] = ()) -> dict[str, Array]:
        """Reset to the episode that the stream and the drawn perturbations decide; returns the observation."""
        effects = [effect_of(record, stream, self.task) for record in perturbations]
        _check_names(perturbations)
        self._replace(stream, tuple(perturbations), effects)
        self.step_index, self._stage, self.privileged, self.stiffness = 0, 0, False, 1.0
        mujoco.mj_fwdPosition(self.model, self.data)
        self._judge()
        self._advance()
        return self._see()

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """Gymnasium's reset; ``options`` may hold ``episode`` (default: the next one) and ``perturbations``."""
        super().reset(seed=seed)
        asked = options or {}
        following = 0 if seed is not None else self._gym_episode + 1
        self._gym_episode = int(asked.get("episode", following))
        # Gymnasium draws seeds of 128 bits where none is given.
        run_seed = self.np_random_seed % (MOST_SEED + 1)
        observation = self.begin(Stream(run_seed, self._gym_episode), asked.get("perturbations", ()))
        return observation, self._info(np.zeros(self.task.action_size))

    def step(self, action: Array, as_asked: bool = False) -> tuple[dict[str, Array], float, bool, bool, dict[str, Any]]:
        """Apply one action (A,); the order of things stands in :mod:`workbench.envs.faults.specification`.

        Each number is in -1..1; what lies outside is clipped or refused, as the task's ``out_of_range`` says.

        With ``as_asked`` that action is executed: effects see it and remember it, but what they make of it is dropped.

        ``info`` holds ``applied`` (A,), the action as executed, and ``stage``, ``predicates`` and ``success`` after it.

        Raises
        ------
        ActionError
            If the action has the wrong shape, is not finite, or is out of range and the task does not clip.
        DivergedError
            If the physics diverged; the scene can then only begin or restore.
        """
        asked = applied = self._checked(action)
        if self._effects:
            applied = self._perturb(asked)
        if as_asked:
            applied = asked
        if not self._moved(applied):
            raise DivergedError(
                f"the physics of task {self.task.name} diverged in control step {self.step_index} of {self._stream}; "
                f"perturbations: {[record['name'] for record in self._records] or 'none'}. "
                "Lower the perturbation's magnitude, or leave this episode out.",
                applied,
            )
        self.step_index += 1
        self._judge()
        self._advance()
        observation = self._see()
        success = self._truth.success
        ended = self.step_index >= self.task.deadline
        return observation, float(success), success, ended, self._info(applied)

    def observe(self) -> dict[str, Array]:
        """What the robot sees now; the same array contents however often it is called."""
        return dict(self._observation)

    def instruction(self) -> str:
        """What the robot is told to do now."""
        told = self.task.instruction
        for effect in self._planning():
            told = effect.instruction(self, told)
        return told

    def queue(self, chunk: Array, execute: int) -> Array:
        """The actions (R, A) that are run of a chunk (H, A) that the policy has just planned."""
        for effect in self._planning():
            chunk, execute = effect.chunk(self, chunk), effect.executed(execute, len(chunk))
        return chunk[:execute]

    def settings(self) -> dict[str, Any]:
        """What perturbations change about the policy that is asked now; empty if nothing."""
        return {key: value for effect in self._planning() for key, value in effect.settings().items()}

    def images(self) -> dict[str, Array]:
        """What the task's cameras see now, drawn when this is called; nothing if the task has none.

        Returns
        -------
        ``images/<camera>`` (H, W, 3) uint8 RGB, and if the task asks for them ``depth/<camera>`` (H, W) float32, metres
        along the camera's axis (infinite where there is nothing), and ``segmentation/<camera>`` (H, W) int32: index
        into ``list(scene.body_poses())``, 0 for floor and walls, -1 where there is nothing.  Origin at the top left.

        Raises
        ------
        RenderError, UnknownNameError
            If there is no GL library to draw with, or the task has no such camera.
        """
        return self._look(self.cameras) if self.cameras else {}

    def render(self) -> Array:
        """Gymnasium's ``rgb_array``: what the first camera sees (H, W, 3)."""
        if self.cameras is None:
            raise ConfigError("this scene's task has no cameras; give it some, such as Lift(cameras={})")
        first = self.cameras.names[0]
        only = dataclasses.replace(self.cameras, names=(first,), depth=False, segmentation=False)
        return self._look(self.cameras if self._active() else only)[f"images/{first}"]  # faults may mix cameras

    def picture(self, camera: str, width_px: int, height_px: int) -> Picture:
        """What somebody beside the scene would see through one of its cameras, in the profile ``full``.

        What faults do to light and cameras is seen, what they do to pixels is not.

        Raises
        ------
        RenderError, UnknownNameError
            If there is no GL library to draw with, or the task has no such camera.
        """
        from workbench.envs.sensors.cameras import Cameras, renderer_of

        settings = Cameras((camera,), "full", width_px, height_px)
        renderer = renderer_of(self.task.cell, settings.profile)
        model = renderer.pose(self.task, self._stream, self.model, self.data)
        with contextlib.ExitStack() as looks:
            for effect in self._active():
                looks.enter_context(effect.looked(self, model))
            pixels = renderer.images(settings)[f"images/{camera}"]
            return Picture(pixels, renderer.projection(camera, width_px, height_px))

    def truth(self) -> Truth:
        """Ground truth now."""
        return self._truth

    def injected(self) -> int:
        """First step at which any perturbation was active, or -1."""
        return min((effect.started for effect in self._effects if effect.started >= 0), default=-1)

    def snapshot(self) -> Snapshot:
        """Everything that decides the future of this scene."""
        state = np.empty(self._state_size)
        mujoco.mj_getState(self.model, self.data, state, _STATE)
        memory = np.concatenate([self._controller.memory, [self._stage], *self._memories])
        return Snapshot(self.task.name, self.model_id, self.step_index, state, memory, self._stream, self._records)

    def restore(self, snapshot: Snapshot) -> dict[str, Array]:
        """Return to a snapshot, also of another scene or process; what follows is bit-exact.

        Raises
        ------
        SnapshotError
            If the snapshot is of another task or compiled model, or its arrays have the wrong length.
        """
        self._check_origin(snapshot)
        same = self._stream == snapshot.stream and self._records == snapshot.perturbations
        effects = (
            self._effects
            if same
            else [effect_of(record, snapshot.stream, self.task) for record in snapshot.perturbations]
        )
        own, memories = self._split(snapshot.memory, effects)
        if same:
            self._undo()
        else:
            self._replace(snapshot.stream, snapshot.perturbations, effects)
        self.step_index, self._stage = snapshot.step, int(own[-1])
        self.privileged, self.stiffness = False, 1.0
        for effect, memory in zip(effects, memories, strict=True):
            effect.restore(memory)
        self._edit()
        mujoco.mj_setState(self.model, self.data, snapshot.state, _STATE)
        self._controller.memory[:] = own[:-1]
        mujoco.mj_fwdPosition(self.model, self.data)
        self._judge()
        return self._see()

    def without_pending(self, snapshot: Snapshot) -> Snapshot:
        """The same moment without the perturbations that have not struck yet."""
        self._check_origin(snapshot)
        effects = [effect_of(record, snapshot.stream, self.task) for record in snapshot.perturbations]
        own, memories = self._split(snapshot.memory, effects)
        pairs = zip(snapshot.perturbations, memories, strict=True)
        struck = [(record, memory) for record, memory in pairs if memory[0] >= 0]
        return dataclasses.replace(
            snapshot,
            perturbations=tuple(record for record, _ in struck),
            memory=np.concatenate([own, *(memory for _, memory in struck)]),
        )

    def shapes(self) -> list[Shape]:
        """Visual geometry of the current episode, for viewers; the first call compiles 64 MB of meshes."""
        model = _visual(self.task.cell)
        self.task.edit(model, self._stream.child("scene").at())
        unseen(model)
        for effect in self._effects:
            effect.furnish(model)
        return visual_shapes(model)

    def body_poses(self) -> dict[str, tuple[Array, Array]]:
        """Body name -> world position (3,) in metres and quaternion (w, x, y, z)."""
        positions, quaternions = self.data.xpos.copy(), self.data.xquat.copy()
        return {name: (positions[body], quaternions[body]) for body, name in enumerate(self._body_names)}

    def looked_back(self, step: int, qpos: Array, effect: Effect) -> dict[str, Array]:
        """What all cameras showed at an earlier step, with joint positions (nq,), for an effect that shows it late.

        What lay in front of that effect had its part in it, but for others that show the past: each counts from what
        was really there.  Edits of the small model are drawn as they are now.
        """
        if self.cameras is None:
            raise ConfigError("this scene's task has no cameras, so there is nothing to look back at")
        in_front = self._effects[: self._effects.index(effect)]
        now, self.step_index = self.step_index, step
        try:
            return self._look(self.cameras, qpos, [other for other in in_front if not other.shows_the_past])
        finally:
            self.step_index = now

    def _look(
        self, cameras: Cameras, qpos: Array | None = None, through: Sequence[Effect] | None = None
    ) -> dict[str, Array]:
        from workbench.envs.sensors.cameras import renderer_of

        renderer = renderer_of(self.task.cell, cameras.profile)
        model = renderer.pose(self.task, self._stream, self.model, self.data, qpos)
        active = self._active()
        with contextlib.ExitStack() as looks:
            for effect in active:
                looks.enter_context(effect.looked(self, model))
            images = renderer.images(cameras)
        for effect in active:
            if through is None or effect in through:
                images = effect.images(self, images)
        return images

    @functools.cached_property
    def _body_names(self) -> list[str]:
        return [self.model.body(body).name for body in range(self.model.nbody)]

    def _replace(self, stream: Stream, records: tuple[Record, ...], effects: list[Effect]) -> None:
        """Begin another episode; what the last one's effects changed outside the model is put back first."""
        for effect in reversed(self._effects):
            effect.undo()
        self._stream, self._records, self._effects = stream, records, effects
        self.task = self._every.of_episode(stream)
        self._draw()

    def _draw(self) -> None:
        """Model and state at the start of the episode, as if nothing had ever happened in this scene."""
        copy_model(self.model, pristine(self.task.cell))
        rng = self._stream.child("scene").at()
        self.task.edit(self.model, rng)
        mujoco.mj_setConst(self.model, self.data)
        mujoco.mj_resetData(self.model, self.data)
        self.task.place(self.model, self.data.qpos, rng)
        self._controller.reset()

    def _judge(self) -> None:
        """Observe and judge the state that was just computed."""
        observation = self.task.observation(self.data)
        for array in observation.values():
            array.flags.writeable = False
        predicates = self.task.predicates(self.data)
        self._stage = max(self._stage, self.task.reached(predicates))
        self._truth = Truth(observation, predicates, self._stage, bool(predicates["success"]))

    def _advance(self) -> None:
        """Start and stop perturbations, and look again if that may have changed the state.

        Whenever one starts or stops, the edits of all are taken back and those of the active ones made anew, in the
        order of the records: so they overlap as they like, and a restored scene has the same model to the last bit.
        """
        step = self.step_index
        for effect in self._effects:
            effect.advance(self)
        turned = [effect for effect in self._effects if effect.active(step) != effect.active(step - 1)]
        if turned:
            self._undo()
            self._edit()
            for effect in turned:
                if effect.active(step):
                    effect.strike(self)
            mujoco.mj_fwdPosition(self.model, self.data)
            self._judge()

    def _active(self) -> list[Effect]:
        return [effect for effect in self._effects if effect.active(self.step_index)]

    def _planning(self) -> list[Effect]:
        """Those at work in the driver's head: none of a privileged one's."""
        return [] if self.privileged else self._active()

    def _undo(self) -> None:
        for effect in reversed(self._effects):
            effect.undo()
        self._derive()

    def _edit(self) -> None:
        for effect in self._active():
            effect.edit(self)
        self._derive()

    def _derive(self) -> None:
        """Let MuJoCo derive its constants anew where an effect needs it; in data of their own, which it overwrites."""
        if any(effect.derives for effect in self._effects):
            mujoco.mj_setConst(self.model, mujoco.MjData(self.model))

    def _see(self) -> dict[str, Array]:
        """Pass the true observation through the perturbations, once per step.

        Their memories are taken before, because a restored scene passes here again.
        """
        self._memories = [effect.memory() for effect in self._effects]
        seen: Observation = dict(self._truth.observation)
        for effect in self._effects:
            seen = effect.observation(self, dict(seen))
        self._observation = dict(seen)
        return dict(seen)

    def _perturb(self, action: Array) -> Array:
        for effect in self._effects:
            made = effect.action(self, action)  # seen and remembered even where it is not heeded
            action = action if self.privileged and effect.of_planning else made
        self.data.xfrc_applied[:] = 0.0
        self.data.qfrc_applied[:] = 0.0
        for effect in self._effects:
            if effect.active(self.step_index):
                effect.push(self)
        return np.clip(action, -1.0, 1.0)

    def _moved(self, action: Array) -> bool:
        """Let the controller run one control step, as soft as it is to be; False if the physics diverged."""
        if self.stiffness == 1.0:
            return self._controller.step(action)
        kept = self.gains.copy()
        self.gains[0] *= self.stiffness
        self.gains[1] *= np.sqrt(self.stiffness)
        try:
            return self._controller.step(action)
        finally:
            self.gains[:] = kept

    def _checked(self, action: Array) -> Array:
        values = np.asarray(action, dtype=np.float64)
        if values.shape != (self.task.action_size,):
            raise ActionError(
                f"task {self.task.name} takes an action of shape ({self.task.action_size},), not {values.shape}"
            )
        if not np.isfinite(values).all():
            raise ActionError(f"an action must be finite, not {values.tolist()}; check what the policy was fed")
        clipped = values.clip(-1.0, 1.0)
        if self.task.out_of_range == "error" and not np.array_equal(clipped, values):
            raise ActionError(
                f"an action of task {self.task.name} lies within -1..1, not {values.tolist()}; scale the policy's "
                "output, or let task.out_of_range=clip cut it off"
            )
        return clipped

    def _info(self, applied: Array) -> dict[str, Any]:
        truth = self._truth
        return {
            "applied": applied,
            "stage": truth.stage,
            "predicates": dict(truth.predicates),
            "success": truth.success,
        }

    def _split(self, memory: Array, effects: Sequence[Effect]) -> tuple[Array, list[Array]]:
        """A snapshot's memory as controller and stage, and each perturbation's part."""
        sizes = [len(self._controller.memory) + 1, *(len(effect.memory()) for effect in effects)]
        if memory.shape != (sum(sizes),):
            raise SnapshotError(
                f"the snapshot's memory has shape {memory.shape}, not ({sum(sizes)},): "
                "it was recorded with other perturbations, with another controller or by another version"
            )
        own, *memories = np.split(memory, np.cumsum(sizes)[:-1])
        return own, memories

    def _check_origin(self, snapshot: Snapshot) -> None:
        if snapshot.task != self.task.name:
            raise SnapshotError(f"the snapshot is of task {snapshot.task!r}, this scene is of {self.task.name!r}")
        if snapshot.model != self.model_id:
            raise SnapshotError(_difference(snapshot.model, self.model_id))
        if snapshot.state.shape != (self._state_size,):
            raise SnapshotError(f"the snapshot's state has shape {snapshot.state.shape}, not ({self._state_size},)")


def model_id(cell: Cell) -> str:
    """Digest of the model, version of MuJoCo and version of the snapshot, all of which decide a future."""
    return f"{cell.digest}/mujoco-{mujoco.__version__}/snapshot-{SNAPSHOT_VERSION}"


def _difference(theirs: str, ours: str) -> str:
    """Why a snapshot of another model cannot be taken up, and what to do."""
    parts = ("the scene's model", "MuJoCo's version", "the snapshot's format")
    there, here = theirs.split("/"), ours.split("/")
    if len(there) == len(here):
        differing = "; ".join(f"{p} is {t}, here {h}" for p, t, h in zip(parts, there, here, strict=True) if t != h)
    else:
        differing = f"its model is {theirs!r}, here {ours!r}"
    return (
        f"the snapshot cannot be restored here: {differing}. Use the "
        "versions and the task's parameters that recorded it, or record it again."
    )


def _log_warning(message: str) -> None:
    """MuJoCo's warnings go to the log instead of a file where it runs; a divergence is reported as an error anyway."""
    level = logging.DEBUG if "simulation is unstable" in message else logging.WARNING
    logging.getLogger(__name__).log(level, "MuJoCo: %s", message)


def _check_names(perturbations: Sequence[Record]) -> None:
    names = [record["name"] for record in perturbations]
    if len(set(names)) < len(names):
        raise ConfigError(
            f"perturbations of one episode must differ in name, for each draws from a stream of its own: {names}"
        )
