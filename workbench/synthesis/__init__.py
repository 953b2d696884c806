"""Failures made on purpose: fault axes, tolerances, likely failures, recipes."""

from workbench.synthesis.axis import FaultAxis, Scale, fault_axes
from workbench.synthesis.likely_failures import Finding, find_likely_failure, sample_uniformly
from workbench.synthesis.recipe import Cell, Recipe, find_recipe
from workbench.synthesis.searching import LikelyFailure, ToleranceRow, likely_failure, tolerance
from workbench.synthesis.synthesizing import Synthesis, synthesize
from workbench.synthesis.tolerances import Search, Tolerance, Trial, find_tolerance

__all__ = [
    "Cell",
    "FaultAxis",
    "Finding",
    "LikelyFailure",
    "Recipe",
    "Scale",
    "Search",
    "Synthesis",
    "Tolerance",
    "ToleranceRow",
    "Trial",
    "fault_axes",
    "find_likely_failure",
    "find_recipe",
    "find_tolerance",
    "likely_failure",
    "sample_uniformly",
    "synthesize",
    "tolerance",
]
