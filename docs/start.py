"""A policy, two faults, labels, monitors, a placebo: the chain in thirty lines, by ``python docs/start.py``."""

import workbench as wb

task = wb.task("lift")
policy = wb.policy("zoo/lift_flow", task)

# As it is, for fitting, calibrating and testing; then under two faults, each in episodes of its own.
wb.rollout(task, policy, episodes={"fit": 20, "calibrate": 20, "test": 10}, into="start")
store = wb.rollout(task, policy, ["slip", "object_shift"], episodes=6, one_each=True, into="start")
print(store.table().groupby(["split", "perturbation"])["success"].agg(["sum", "count"]))

# When was each failed episode lost?  Measured by branching from exact snapshots.
labelled = wb.label(store, task, policy).store
print(labelled.table().query("not success")[["perturbation", "t_inj", "t_on", "t_pnr", "t_dec"]])

# Scores learn from the fit split, thresholds come from the calibrate split, figures from the test split.
monitors = wb.fit(labelled, ["rnd", "stac", "elapsed"], ["split_conformal"])
print(wb.benchmark(labelled, monitors))

# Does acting on the alarms help more than luck with the same extra time?
monitor = monitors["rnd+split_conformal"]
print(wb.recover(labelled, monitor, ["continue", "placebo", "expert"], task, policy))

# One episode to look at.
print(wb.view(labelled, 0, task, monitors, into="runs/start/episode.rrd"))
