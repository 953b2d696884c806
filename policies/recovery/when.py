"""When to act: another strategy acts where it is predicted to win more than the placebo, and else the placebo does.

From where on it acts is calibrated by Learn then Test (Angelopoulos et al., Annals of Applied Statistics 2025), see
:mod:`workbench.recovery.acting`; where nothing could be shown, it never does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from workbench.errors import CheckpointError
from workbench.policies.learning.benefit import Benefit
from workbench.policies.recovery.placebo import Placebo
from workbench.types import Alarm, Intervention, PolicyCall, Record, Strategy, Task, follow
from workbench.types.inputs import ELAPSED, elapsed, inputs_of


class When:
    """A strategy behind its predicted benefit.

    Parameters
    ----------
    task : on which it was learned.
    acts : the strategy; in a configuration its name, such as ``head``, or its own configuration.
    benefit : folder of the checkpoint, which ``workbench recover`` trains.
    """

    name: str = "when"

    def __init__(self, task: Task, acts: Strategy, benefit: Path) -> None:
        self.benefit, self._acts, self._else = Benefit.load(Path(benefit)), acts, Placebo()
        if self.benefit.task != task.name:
            raise CheckpointError(
                f"the predicted benefit in {benefit} was trained on task {self.benefit.task}, not {task.name}; "
                "workbench recover overwrite=true trains one on this"
            )
        self._reads = tuple(name for name in self.benefit.layout if name != ELAPSED)
        self.needs: Sequence[str] = tuple(dict.fromkeys((*self._reads, *acts.needs)))

    def begin(self) -> Record:
        """The memory of the strategy that acts."""
        return {"acts": self._acts.begin()}

    def follow(self, memory: Record, call: PolicyCall) -> None:
        """Show it every call."""
        follow(self._acts, memory["acts"], call)

    def act(self, memory: Record, alarm: Alarm) -> Intervention | None:
        """The strategy acts, or there are fresh noise and more time."""
        threshold = self.benefit.threshold
        if threshold is None or self.predicted(alarm.call, alarm.deadline) < threshold:
            return self._else.act(memory, alarm)
        return self._acts.act(memory["acts"], alarm)

    def predicted(self, call: PolicyCall, deadline: int) -> float:
        """How much likelier it is to win than the placebo, at a call of one scene."""
        return float(self.benefit.predict({**inputs_of(call, self._reads), **elapsed(call, deadline)})[0])
