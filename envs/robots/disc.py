"""The disc that pushes a T: two sliding joints along the world's x and y, each with a motor; it does not turn."""

from __future__ import annotations

from workbench.types.robot import Robot

DISC_M = 0.015
"""Radius."""
MASS_KG = 1.0
FORCE_N = 15.0
"""What each motor can do."""
DISC = Robot(
    name="disc",
    joints=("pusher_x", "pusher_y"),
    actuators=("pusher_x", "pusher_y"),
    hand_body="pusher",
    contact_geoms=("pusher",),
    action_m=0.025,
)
