"""Checks of contracts, for our parts and for those of others."""
