"""When and why an episode was lost, measured by branching from exact snapshots."""
