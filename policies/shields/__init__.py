"""One file a shield: the last gates before the actuators."""
