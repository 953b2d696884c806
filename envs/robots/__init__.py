"""Robots: their models and numbers, one file each."""
