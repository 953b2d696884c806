"""What faults share: specification, effect, schedule, draws, props, pixels, words.

What a fault of your own is made of can be imported from here.
"""

from workbench.envs.faults.draws import Magnitude, horizontal, uniform, uniform_int
from workbench.envs.faults.effect import Effect
from workbench.envs.faults.schedule import Schedule, Start
from workbench.envs.faults.specification import Specification

__all__ = ["Effect", "Magnitude", "Schedule", "Specification", "Start", "horizontal", "uniform", "uniform_int"]
