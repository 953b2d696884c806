"""One file a way to tell groups of policy calls apart, for thresholds of their own."""
