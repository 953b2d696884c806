"""Pushing a T over a table: its shape, how much of a goal it covers, and which push to make next."""
