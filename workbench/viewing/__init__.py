"""Rerun sessions."""
