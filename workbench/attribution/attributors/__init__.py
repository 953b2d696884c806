"""Attributors: each names the step that decided a failure, from its log alone; one file a part."""
