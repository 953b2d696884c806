"""Policies behind a connection: frames, payloads, connections."""
