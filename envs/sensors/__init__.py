"""What the robot sees: observations and cameras."""
