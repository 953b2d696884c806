"""What strategies share that let the policy itself drive, and sample its chunks otherwise."""
