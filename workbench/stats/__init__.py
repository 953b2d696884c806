"""Statistics: proportions, concordance, bootstrap, multiple testing."""
