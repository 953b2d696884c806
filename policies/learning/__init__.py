"""Training: demonstrations, curves, checkpoints, devices."""
