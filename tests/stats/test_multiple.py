"""Holm's correction against a case worked out by hand."""

import pytest

from workbench.stats.multiple import holm


def test_holm_corrects_within_a_family_and_never_falls():
    adjusted = holm([0.01, 0.04, 0.03, None, 0.04], ["tpr", "tpr", "tpr", "tpr", "twa"])
    assert adjusted == pytest.approx([0.03, 0.06, 0.06, None, 0.04])


def test_a_corrected_p_value_is_at_most_one():
    assert holm([0.9, 0.8], ["a", "a"]) == [1.0, 1.0]
