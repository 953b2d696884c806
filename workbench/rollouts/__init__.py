"""Episodes and branches: launches, the loop, failure modes, worker processes."""
