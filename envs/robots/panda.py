"""Franka's Panda with its own gripper, as robosuite 1.5.1 models and controls it at 20 control steps a second."""

from __future__ import annotations

import numpy as np

from workbench.types.robot import Arm, Fingers, Robot

PANDA = Robot(
    name="panda",
    joints=tuple(f"robot0_joint{number}" for number in range(1, 8)),
    actuators=tuple(f"robot0_torq_j{number}" for number in range(1, 8)),
    hand_body="gripper0_right_eef",
    contact_geoms=(
        "gripper0_right_finger1_collision",
        "gripper0_right_finger1_pad_collision",
        "gripper0_right_finger2_collision",
        "gripper0_right_finger2_pad_collision",
    ),
    action_m=0.05,
    arm=Arm(
        home_rad=(0.0, np.pi / 16, 0.0, -np.pi / 2 - np.pi / 3, 0.0, np.pi - 0.2, np.pi / 4),
        grip_site="gripper0_right_grip_site",
        base_site="robot0_right_center",
        wrist_site="gripper0_right_ft_frame",
        wrist_camera="robot0_eye_in_hand",
        action_rad=0.5,
        joint_action_rad=0.05,
    ),
    fingers=Fingers(
        joints=("gripper0_right_finger_joint1", "gripper0_right_finger_joint2"),
        actuators=("gripper0_right_gripper_finger_joint1", "gripper0_right_gripper_finger_joint2"),
        left_pads=("gripper0_right_finger1_pad_collision",),
        right_pads=("gripper0_right_finger2_pad_collision",),
        start_m=(0.020833, -0.020833),
        speed=0.2,
        open_m=0.08,
        opened_m=0.075,
        shut_m=0.008,  # what they push may jolt them by less, but not open them
        still_m=0.001,  # closing, they come 0.007 m nearer in a control step
        near_m=0.1,
    ),
    robosuite="Panda",
)
