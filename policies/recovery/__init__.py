"""One file a strategy: what is done on an alarm."""
