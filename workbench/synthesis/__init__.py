"""Failures made on purpose: fault axes, tolerances, likely failures, recipes."""
