"""One file a rule that turns calibration scores into a threshold."""
