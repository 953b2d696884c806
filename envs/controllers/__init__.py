"""One file a controller."""
