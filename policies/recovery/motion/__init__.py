"""What strategies share that move the robot themselves: its hand, and drivers that follow what it sees of it."""
