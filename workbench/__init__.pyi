"""What type checkers and editors see of the lazy names of ``workbench``; a test holds the two together."""

from workbench import testing as testing
from workbench.attribution.labels import label as label
from workbench.attribution.replaying import replay as replay
from workbench.benchmarking.comparison import leaderboard as leaderboard
from workbench.benchmarking.own import benchmark as benchmark
from workbench.checking.check import check as check
from workbench.config.named import calibrator as calibrator
from workbench.config.named import names as names
from workbench.config.named import perturbation as perturbation
from workbench.config.named import policy as policy
from workbench.config.named import score as score
from workbench.config.named import strategy as strategy
from workbench.config.named import task as task
from workbench.config.named import untrained as untrained
from workbench.errors import WorkbenchError as WorkbenchError
from workbench.execution.processes import Processes as Processes
from workbench.formats.exporting import export as export
from workbench.monitoring.assembly import MonitorSettings as MonitorSettings
from workbench.monitoring.fitting import fit as fit
from workbench.monitoring.online import OnlineMonitor as OnlineMonitor
from workbench.recovery.attempts import trial_and_error as trial_and_error
from workbench.recovery.benefit import Outcomes as Outcomes
from workbench.recovery.benefit import Terms as Terms
from workbench.recovery.benefit import net_benefit as net_benefit
from workbench.recovery.benefit import recommended_threshold as recommended_threshold
from workbench.recovery.economics import operating_rule as operating_rule
from workbench.recovery.economics import pilot as pilot
from workbench.recovery.learning import train_head as train_head
from workbench.recovery.paired import recover as recover
from workbench.recovery.ranking import rank_detectors as rank_detectors
from workbench.recovery.tables import CounterfactualTable as CounterfactualTable
from workbench.recovery.tables import tabulate as tabulate
from workbench.reporting.comparing import compare as compare
from workbench.reporting.table import Table as Table
from workbench.rollouts.collecting import collect as collect
from workbench.rollouts.guard import Guard as Guard
from workbench.rollouts.launch import Launch as Launch
from workbench.rollouts.loop import Lockstep as Lockstep
from workbench.rollouts.rolling import rollout as rollout
from workbench.rollouts.serving import serve as serve
from workbench.rollouts.shielding import shield as shield
from workbench.rollouts.shielding import veto_log as veto_log
from workbench.rollouts.training import train as train
from workbench.store.reader import Store as Store
from workbench.store.reader import open_store as open_store
from workbench.synthesis.searching import likely_failure as likely_failure
from workbench.synthesis.searching import tolerance as tolerance
from workbench.synthesis.synthesizing import synthesize as synthesize
from workbench.testing.new import new_part as new_part
from workbench.types import Alarm as Alarm
from workbench.types import Intervention as Intervention
from workbench.types import Stream as Stream
from workbench.viewing.recording import view as view

__version__: str
_NAMES: dict[str, str]
