"""What faults share: specification, effect, schedule, draws, props, pixels, words.

What a fault of your own is made of can be imported from here.
"""

from workbench.envs.faults.specification import (
    Effect,
    Magnitude,
    Schedule,
    Specification,
    Start,
    horizontal,
    uniform,
    uniform_int,
)

__all__ = ["Effect", "Magnitude", "Schedule", "Specification", "Start", "horizontal", "uniform", "uniform_int"]
