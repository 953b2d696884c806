"""One MuJoCo scene behind gymnasium's interface, that can be stopped, copied and changed.

What decides the future of a scene, and where it is kept::

    MuJoCo's integration state   Snapshot.state    joints, velocities, warm start, controls, applied forces, time
    gripper command (2), stage   Snapshot.memory   then each perturbation's memory, in order
    cube sizes, edits, posture   recomputed        from the stream and the perturbation records
    controller goals             nowhere           set anew from the achieved pose at every control step
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import gymnasium
import mujoco
import numpy as np

from workbench.envs.perturbation import effect_of
from workbench.envs.robosuite_model import RobotCell, visual_shapes
from workbench.envs.stepper import Stepper, copy_model
from workbench.errors import ActionError, ConfigError, DivergedError, SnapshotError
from workbench.types import Array, Observation, Record, Shape, Snapshot, Stream, Task, Truth

_STATE = mujoco.mjtState.mjSTATE_INTEGRATION
_GRIPPER_AND_STAGE = 3
"""How many numbers of a snapshot's memory stand before the perturbations'."""


class MujocoTask(Task, Protocol):
    """A task as its scene needs it."""

    @property
    def cell(self) -> RobotCell: ...
    @property
    def object_body(self) -> str:
        """Body that is manipulated, for perturbations; its free joint and its geometries follow."""
        ...

    @property
    def object_joint(self) -> str: ...
    @property
    def object_geoms(self) -> Sequence[str]: ...
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
def pristine(cell: RobotCell) -> mujoco.MjModel:
    """The compiled model that all scenes of a process start from; never changed."""
    model = cell.compiled()
    # MuJoCo would start over by itself after a divergence; here that is an error
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    return model


@functools.cache
def _visual(cell: RobotCell) -> mujoco.MjModel:
    return cell.compiled_visual()


class MujocoScene(gymnasium.Env[dict[str, Any], Array]):
    """One scene of a task; see :class:`workbench.types.Scene`.

    A new scene stands at episode 0 of seed 0.  Perturbations edit ``model`` and ``data``, which belong to this scene
    alone (3.5 MB); the forces that they apply last for one control step.

    Attributes
    ----------
    model, data : this scene's own.
    digest : names the compiled model.
    step_index : control steps done since reset.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (gymnasium's own declaration)

    def __init__(self, task: MujocoTask) -> None:
        self.task = task
        self.digest = task.cell.digest
        self.model = copy.copy(pristine(task.cell))
        self.data = mujoco.MjData(self.model)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (task.action_size,), np.float64)
        self.observation_space = gymnasium.spaces.Dict(
            {
                name: gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float64)
                for name, size in task.observation_sizes.items()
            }
        )
        self._stepper = Stepper(self.model, self.data, task.cell)
        self._state_size = mujoco.mj_stateSize(self.model, _STATE)
        self._gym_episode = -1
        self.begin(Stream(0, 0))

    def begin(self, stream: Stream, perturbations: Sequence[Record] = ()) -> dict[str, Array]:
        """Reset to the episode that the stream and the drawn perturbations decide; returns the observation."""
        _check_names(perturbations)
        self._effects = [effect_of(record, stream) for record in perturbations]
        self._stream, self._records = stream, tuple(perturbations)
        self._draw()
        self.step_index, self._stage = 0, 0
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
        observation = self.begin(Stream(self.np_random_seed, self._gym_episode), asked.get("perturbations", ()))
        return observation, self._info(np.zeros(self.task.action_size))

    def step(self, action: Array, as_asked: bool = False) -> tuple[dict[str, Array], float, bool, bool, dict[str, Any]]:
        """Apply one action (A,), clipped to -1..1; the order of things stands in :mod:`workbench.envs.perturbation`.

        With ``as_asked`` that action is executed: effects see it and remember it, but what they make of it is dropped.

        ``info`` holds ``applied`` (A,), the action as executed, and ``stage``, ``predicates`` and ``success`` after it.

        Raises
        ------
        ActionError
            If the action has the wrong shape or is not finite.
        DivergedError
            If the physics diverged; the scene can then only begin or restore.
        """
        asked = applied = self._checked(action)
        if self._effects:
            applied = self._perturb(asked)
        if as_asked:
            applied = asked
        if not self._stepper.step(applied):
            raise DivergedError(
                f"the physics of task {self.task.name} diverged in control step {self.step_index} of {self._stream}; "
                f"perturbations: {[record['name'] for record in self._records] or 'none'}. "
                "Lower the perturbation's magnitude, or leave this episode out."
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
        memory = np.concatenate([self._stepper.gripper, [self._stage], *self._memories])
        return Snapshot(self.task.name, self.digest, self.step_index, state, memory, self._stream, self._records)

    def restore(self, snapshot: Snapshot) -> dict[str, Array]:
        """Return to a snapshot, also of another scene or process; what follows is bit-exact.

        Raises
        ------
        SnapshotError
            If the snapshot is of another task or compiled model, or its arrays have the wrong length.
        """
        self._check_origin(snapshot)
        same = self._stream == snapshot.stream and self._records == snapshot.perturbations
        effects = self._effects if same else [effect_of(record, snapshot.stream) for record in snapshot.perturbations]
        memories = _split(snapshot.memory, [len(effect.memory()) for effect in effects])
        if not same or any(effect.active(self.step_index) for effect in effects):
            self._effects, self._stream, self._records = effects, snapshot.stream, snapshot.perturbations
            self._draw()  # also takes away the edits of perturbations
        self.step_index, self._stage = snapshot.step, int(snapshot.memory[2])
        mujoco.mj_setState(self.model, self.data, snapshot.state, _STATE)
        self._stepper.gripper[:] = snapshot.memory[:2]
        for effect, memory in zip(effects, memories, strict=True):
            effect.restore(self, memory)
        mujoco.mj_fwdPosition(self.model, self.data)
        self._judge()
        return self._see()

    def without_pending(self, snapshot: Snapshot) -> Snapshot:
        """The same moment without the perturbations that have not struck yet."""
        self._check_origin(snapshot)
        effects = [effect_of(record, snapshot.stream) for record in snapshot.perturbations]
        memories = _split(snapshot.memory, [len(effect.memory()) for effect in effects])
        pairs = zip(snapshot.perturbations, memories, strict=True)
        struck = [(record, memory) for record, memory in pairs if memory[0] >= 0]
        return dataclasses.replace(
            snapshot,
            perturbations=tuple(record for record, _ in struck),
            memory=np.concatenate([snapshot.memory[:_GRIPPER_AND_STAGE], *(memory for _, memory in struck)]),
        )

    def shapes(self) -> list[Shape]:
        """Visual geometry of the current episode, for viewers; the first call compiles 64 MB of meshes."""
        model = _visual(self.task.cell)
        self.task.edit(model, self._stream.child("scene").at())
        return visual_shapes(model)

    def body_poses(self) -> dict[str, tuple[Array, Array]]:
        """Body name -> world position (3,) in metres and quaternion (w, x, y, z)."""
        positions, quaternions = self.data.xpos.copy(), self.data.xquat.copy()
        return {name: (positions[body], quaternions[body]) for body, name in enumerate(self._body_names)}

    @functools.cached_property
    def _body_names(self) -> list[str]:
        return [self.model.body(body).name for body in range(self.model.nbody)]

    def _draw(self) -> None:
        """Model and state at the start of the episode, as if nothing had ever happened in this scene."""
        copy_model(self.model, pristine(self.task.cell))
        rng = self._stream.child("scene").at()
        self.task.edit(self.model, rng)
        mujoco.mj_setConst(self.model, self.data)
        mujoco.mj_resetData(self.model, self.data)
        self.task.place(self.model, self.data.qpos, rng)
        self._stepper.reset()

    def _judge(self) -> None:
        """Observe and judge the state that was just computed."""
        observation = self.task.observation(self.data)
        for array in observation.values():
            array.flags.writeable = False
        predicates = self.task.predicates(self.data)
        self._stage = max(self._stage, self.task.reached(predicates))
        self._truth = Truth(observation, predicates, self._stage, bool(predicates["success"]))

    def _advance(self) -> None:
        """Start and stop perturbations, and look again if that may have changed the state."""
        step = self.step_index
        for effect in self._effects:
            effect.advance(self)
        if any(effect.active(step) != effect.active(step - 1) for effect in self._effects):
            mujoco.mj_fwdPosition(self.model, self.data)
            self._judge()

    def _see(self) -> dict[str, Array]:
        """Pass the true observation through the perturbations, once per step.

        Their memories are taken before, because a restored scene passes here again.
        """
        self._memories = [effect.memory() for effect in self._effects]
        seen: Observation = dict(self._truth.observation)
        for effect in self._effects:
            seen = effect.observation(self, dict(seen))
        self._observation = seen
        return dict(seen)

    def _perturb(self, action: Array) -> Array:
        for effect in self._effects:
            action = effect.action(self, action)
        self.data.xfrc_applied[:] = 0.0
        self.data.qfrc_applied[:] = 0.0
        for effect in self._effects:
            if effect.active(self.step_index):
                effect.push(self)
        return np.clip(action, -1.0, 1.0)

    def _checked(self, action: Array) -> Array:
        values = np.asarray(action, dtype=np.float64)
        if values.shape != (self.task.action_size,):
            raise ActionError(
                f"task {self.task.name} takes an action of shape ({self.task.action_size},), not {values.shape}"
            )
        if not np.isfinite(values).all():
            raise ActionError(f"an action must be finite, not {values.tolist()}; check what the policy was fed")
        return values.clip(-1.0, 1.0)

    def _info(self, applied: Array) -> dict[str, Any]:
        truth = self._truth
        return {
            "applied": applied,
            "stage": truth.stage,
            "predicates": dict(truth.predicates),
            "success": truth.success,
        }

    def _check_origin(self, snapshot: Snapshot) -> None:
        if snapshot.task != self.task.name:
            raise SnapshotError(f"the snapshot is of task {snapshot.task!r}, this scene is of {self.task.name!r}")
        if snapshot.model != self.digest:
            raise SnapshotError(
                f"the snapshot is of model {snapshot.model}, this scene's is {self.digest}: robosuite's or MuJoCo's "
                "version differs from the one that recorded it. Install that version, or record again."
            )
        if snapshot.state.shape != (self._state_size,):
            raise SnapshotError(f"the snapshot's state has shape {snapshot.state.shape}, not ({self._state_size},)")


def _check_names(perturbations: Sequence[Record]) -> None:
    names = [record["name"] for record in perturbations]
    if len(set(names)) < len(names):
        raise ConfigError(
            f"perturbations of one episode must differ in name, for each draws from a stream of its own: {names}"
        )


def _split(memory: Array, sizes: Sequence[int]) -> list[Array]:
    """The perturbations' parts of a snapshot's memory."""
    if memory.shape != (_GRIPPER_AND_STAGE + sum(sizes),):
        raise SnapshotError(
            f"the snapshot's memory has shape {memory.shape}, not ({_GRIPPER_AND_STAGE + sum(sizes)},): "
            "it was recorded with other perturbations or by another version"
        )
    return np.split(memory[_GRIPPER_AND_STAGE:], np.cumsum(sizes)[:-1]) if sizes else []
