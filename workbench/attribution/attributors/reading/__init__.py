"""How attributors read a log: as series of numbers, as tokens, as text, and against nominal successes."""
