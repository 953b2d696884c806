"""What was written, read again and held against what its writers said of it: stores, runs, what can be saved."""
