"""How the scripted expert drives a disc in the plane: to the first keyframe of the task's plan, which knows the way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.types import Array, Keyframe, Observation

ACTION_SIZE = 2


def follow(keyframes: Sequence[Keyframe], observation: Observation, action_m: float) -> Array:
    """Action (2,) straight to the first keyframe, or as far towards it as one control step goes.

    ``observation`` holds ``pusher_pos`` (2,) in metres, world frame, of one scene and control step; an action of one
    asks for ``action_m`` along each axis.
    """
    move = (keyframes[0].position_m[:ACTION_SIZE] - observation["pusher_pos"]) / action_m
    action: Array = move / max(1.0, float(np.hypot(*move)))
    return action
