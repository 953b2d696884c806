"""What PushT consists of, in numbers: the arena and the T.

Lengths are in metres; a T's pose is (x, y, yaw) of the middle of its bar's outer edge.  Seen from there the bar lies
across and the stem runs along +y, as in the task's first form (Florence et al., CoRL 2021; Chi et al., RSS 2023), of
which one pixel is one millimetre here::

        -60         0         60
      0  +--------------------+  --> x
         |        bar         |
     30  +------+------+------+
                | stem |
    120         +------+
                   |
                   v y
"""

from __future__ import annotations

import numpy as np

ARENA_M = 0.512
"""Side of the square arena, whose corner is the world's origin."""
GOAL = np.array([0.256, 0.256, np.pi / 4])
"""Pose that the T is to take."""
RECTANGLES_M = np.array([[0.0, 0.015, 0.060, 0.015], [0.0, 0.075, 0.015, 0.045]])
"""Bar and stem (2, 4), which do not overlap: x and y of the centre, and the half lengths."""
AREA_M2 = 0.0063
CENTRE_M = np.array([0.0, (3600 * 0.015 + 2700 * 0.075) / 6300])
"""Centre of area, and of mass."""
GYRATION_M = 0.04395
"""Radius of gyration of the area."""
OUTLINE_M = np.array(
    [
        [-0.060, 0.000], [0.060, 0.000], [0.060, 0.030], [0.015, 0.030],
        [0.015, 0.120], [-0.015, 0.120], [-0.015, 0.030], [-0.060, 0.030],
    ]
)  # fmt: skip
"""Corners (8, 2) in order; all stick out but the two where stem and bar meet (3 and 6)."""
