"""A policy, two faults, labels, monitors, a placebo: the chain in thirty lines, by ``python docs/start.py``."""

import workbench as wb

task = wb.task("lift")
policy = wb.policy("zoo/lift_flow", task)

# As it is, for fitting, calibrating and testing; then under two faults, each in episodes of its own.
wb.rollout(task, policy, episodes={"fit": 20, "calibrate": 20, "test": 10}, into="start")
store = wb.rollout(task, policy, ["slip", "object_shift"], episodes=6, one_each=True, into="start")
print(store.table().groupby(["split", "perturbation"])["success"].agg(["sum", "count"]), end="\n\n")

# When was each failed episode lost?  Measured by branching from exact snapshots.
store = wb.label(store, task, policy).store
print(store.table().query("not success")[["perturbation", "t_inj", "t_on", "t_pnr"]], end="\n\n")

# Scores learn from the fit split, thresholds from the calibrate split; figures are of the test split.
monitors = wb.fit(store, ["rnd", "stac", "elapsed"])
figures = ["score", "fpr_nominal.rate", "tpr", "actionable_recall.rate", "matched_auroc.0.5"]
print(wb.benchmark(store, monitors).table()[figures].round(2), end="\n\n")

# Does acting on the alarms help more than luck with the same extra time?
monitor = monitors["rnd+split_conformal"]
print(wb.recover(store, monitor, ["continue", "placebo", "expert"], task, policy), end="\n\n")

# The most telling episode, to look at.
recording = wb.view(store, "auto", task, [monitor], into=store.path.parent / "recordings")
print("recording", recording.path.name)
