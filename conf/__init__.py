"""Hydra configuration groups, named by noun."""
