"""One file a job of the command line."""
