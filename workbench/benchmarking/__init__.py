"""Monitors judged and compared: folds, curves, evaluation, figures, leaderboard."""
