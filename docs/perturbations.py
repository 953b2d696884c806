"""Write docs/perturbations.md: what published failure sets inject, and our file for it or why there is none.

Run: python docs/perturbations.py
"""

from __future__ import annotations

import importlib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
UNION: dict[str, list[tuple[str, str]]] = {
    "Keyframes and plans": [
        ("grasp omitted", "grasp_omitted"),
        ("partial or weak close", "partial_close"),
        ("slip after n steps: fingers open", "slip"),
        ("slip: less friction", "friction"),
        ("drop in mid-carry", "drop"),
        ("early close", "early_close"),
        ("late close", "late_close"),
        ("early release", "early_release"),
        ("late release", "late_release"),
        ("position offset x, y, z in the world's or the tool's frame", "translation"),
        ("stop short on the way", "stop_short"),
        ("overshoot on the way", "overshoot"),
        ("in-plane misalignment", "translation"),
        ("rotation offset about an axis", "rotation"),
        ("missing rotation", "missing_rotation"),
        ("insufficient or excess lift height", "lift_height"),
        ("speed scaling", "speed"),
        ("no-op segment", "no_op"),
        ("step omitted", "step_omitted"),
        ("step duplicated", "step_duplicated"),
        ("wrong order", "wrong_order"),
        ("wrong object", "wrong_object"),
        ("wrong target or receptacle", "wrong_target"),
        ("policy action substituted for a keyframe", "other_policy"),
        ("recovery pair verified by replay", "- made by the jobs `label` and `recover`; not a fault"),
        ("two faults in one episode", "- any number of files can be combined: `perturbation=[slip,push]`"),
    ],
    "Actions": [
        ("Gaussian noise", "action_noise"),
        ("Ornstein-Uhlenbeck noise", "action_drift"),
        ("constant bias", "action_bias"),
        ("gain", "action_gain"),
        ("saturation", "action_saturation"),
        ("latency of k control steps", "latency"),
        ("dropped packets", "dropped_packets"),
        ("freeze", "action_freeze"),
        ("stale chunk", "stale_chunk"),
        ("chunk-boundary jump", "chunk_jump"),
        ("gripper stuck", "gripper_stuck"),
        ("gripper inverted", "gripper_inverted"),
        ("gripper jitter", "gripper_jitter"),
        ("gripper delayed", "gripper_delay"),
        ("joint lock", "joint_lock"),
        (
            "joint backlash",
            "- torque-controlled arm without gear model; `joint_lock` and `torque_limit` are its extremes",
        ),
        ("torque limit, actuator wear", "torque_limit"),
        ("tool-frame or base calibration offset", "frame_offset"),
        (
            "inverse-kinematics noise",
            "- the controller works on torques and solves no inverse kinematics; see `action_noise`",
        ),
        ("controller stiffness", "controller_stiffness"),
        ("controller damping", "controller_damping"),
        ("early termination", "- a deadline is the task's (`task.deadline`), not a fault of the robot"),
    ],
    "The policy": [
        ("fewer sampler steps", "sampler_steps"),
        ("sampler temperature", "sampler_noise"),
        ("wrong normalisation statistics", "wrong_normalisation"),
        ("no replanning", "no_replanning"),
        ("another policy's chunk put in", "other_policy"),
        ("quantisation", "- our policies are a few megabytes; nobody quantises them"),
        ("wrong camera order", "camera_swap"),
        ("wrong embodiment tag", "- one embodiment so far"),
    ],
    "Physics and scene": [
        ("mass", "mass"),
        ("friction", "friction"),
        ("centre of mass", "center_of_mass"),
        ("damping and stiffness", "damping"),
        ("restitution", "- MuJoCo's contacts have no coefficient of restitution"),
        ("object size and shape", "object_size"),
        ("object pose at reset", "object_pose"),
        ("object place in mid-episode", "object_shift"),
        ("object yaw in mid-episode", "object_turn"),
        ("external push on the object", "push"),
        ("external push on the robot", "hand_push"),
        ("distractors", "distractors"),
        ("obstacle, path blocked", "obstacle"),
        ("receptacle occupied", "occupied_receptacle"),
        (
            "object added or removed in mid-episode",
            "- added: `distractors` with a later `start_step`; removed: no task can still be done",
        ),
        ("support height", "support_height"),
        ("tilt of the support, gravity", "support_tilt"),
        ("articulation friction", "damping"),
        ("robot's initial state", "robot_start"),
    ],
    "Observations": [
        ("camera pose, wrist included", "camera_pose"),
        ("camera field of view", "camera_fov"),
        ("light", "light"),
        ("texture and colour of object, table, robot", "surface_colour"),
        ("motion blur", "motion_blur"),
        ("Gaussian (defocus) blur", "defocus_blur"),
        (
            "zoom and glass blur, fog",
            "- further image corruptions of the same kind; `defocus_blur` and `exposure` stand for them",
        ),
        ("sensor noise", "image_noise"),
        ("exposure, contrast, gamma", "exposure"),
        ("JPEG artefacts", "- images here never pass a lossy codec"),
        ("occlusion", "occlusion"),
        ("camera dropout", "camera_dropout"),
        ("camera freeze, frame skip", "camera_freeze"),
        ("camera swap", "camera_swap"),
        ("camera latency", "camera_latency"),
        ("timestamp jitter", "- observations are simultaneous by construction; see the delays"),
        ("depth holes", "depth_holes"),
        ("everything freezes", "observation_freeze"),
        ("proprioception bias", "proprioception_bias"),
        ("proprioception noise", "proprioception_noise"),
        ("proprioception delay", "proprioception_delay"),
        ("object-pose error, systematic", "object_pose_bias"),
        ("object-pose error, random", "object_pose_noise"),
        ("segmentation error", "- no policy takes segmentations"),
        ("force-torque bias", "force_torque_bias"),
        ("audio loss", "- the simulator has no sound"),
    ],
    "Language": [
        ("paraphrase", "paraphrase"),
        ("reference by property", "property_reference"),
        ("spatial reference", "spatial_reference"),
        ("noun swap", "noun_swap"),
        ("verb swap", "verb_swap"),
        ("typos", "typos"),
        ("ambiguous", "ambiguous"),
        ("empty", "empty_instruction"),
        ("wrong instruction", "wrong_instruction"),
        ("goal change in mid-episode", "goal_change"),
        ("long context, other languages", "- needs a language model that knows them; the compact one does not"),
        ("plan faults (missing, extra, reordered step)", "step_omitted"),
    ],
    "Triggers": [
        ("physical object in the scene", "trigger"),
        ("trigger on the initial state", "object_pose"),
        ("digital image triggers", "occlusion"),
        ("action-chunk drift", "action_drift"),
        ("data poisoning", "- training a backdoor is left out on purpose; only its evaluation is here"),
        ("search for failure conditions", "- the job `search`, not a fault"),
    ],
}
"""Section -> (what the literature injects, our file; or "- " and why there is none)."""


def specification(name: str) -> type:
    """The class that a yaml names."""
    node = yaml.safe_load((ROOT / f"conf/perturbation/{name}.yaml").read_text(encoding="utf-8"))[name]
    module, _, kind = node["_target_"].rpartition(".")
    found: type = getattr(importlib.import_module(module), kind)
    return found


def row(what: str, ours: str) -> str:
    """One line of the table."""
    if ours.startswith("- "):
        return f"| {what} | left out | | {ours[2:]} |"
    kind = specification(ours)
    limits = kind.magnitude
    imitates = " ".join((kind.__doc__ or "").strip().split("\n\n")[0].split())
    bounds = f"`{limits.name}` {limits.low:g} .. {limits.high:g}{', smaller is worse' * (limits.worse == 'smaller')}"
    return f"| {what} | [{ours}](../envs/perturbations/{ours}.py) | {bounds} | {imitates} |"


def page() -> str:
    """The page."""
    files = sorted(path.stem for path in (ROOT / "conf/perturbation").glob("*.yaml"))
    entries = [ours for rows in UNION.values() for _, ours in rows]
    done = sum(not ours.startswith("- ") for ours in entries)
    lines = [
        "# Perturbations",
        "",
        f"The union of what published failure sets inject: {len(entries)} entries, {done} of them here, in "
        f"{len(files)} files. Written by `python docs/perturbations.py`.",
    ]
    for section, rows in UNION.items():
        lines += ["", f"## {section}", "", "| fault | file | magnitude | what it imitates |", "|---|---|---|---|"]
        lines += [row(what, ours) for what, ours in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (ROOT / "docs" / "perturbations.md").write_text(page(), encoding="utf-8")
