"""Where work is done, and what is remembered of it: executors, ledger, progress."""
