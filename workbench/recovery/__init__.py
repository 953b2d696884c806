"""Interventions judged in paired branches against a placebo."""
