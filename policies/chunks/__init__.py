"""What policies of action chunks share: observing, normalisation, the sampling process, steering."""
