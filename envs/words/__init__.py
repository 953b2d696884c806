"""Instructions: their wordings, and which goal they mean."""
