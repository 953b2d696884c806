# ruff: noqa: RUF001
"""Numbers are written in one way, and never as more certain than they are."""

from __future__ import annotations

import pytest

from workbench.reporting import words
from workbench.reporting.words import Rate
from workbench.stats.proportions import clopper_pearson


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (words.percent(0.125), "12 %"),
        (words.percent(None), "—"),
        (words.interval((0.861, 0.966)), "86–97 %"),
        (words.interval((0.861, 0.966), "-"), "86-97 %"),
        (words.number(0.125), "0.12"),
        (words.number(float("nan")), "—"),
        (words.number(None, 3), "—"),
        (words.significant(12.25), "12.2"),
        (words.significant(None), "—"),
        (words.step(7.5), "7.5"),
        (words.step(64.0), "64"),
        (words.p_value(0.0009), "< 0.001"),
        (words.p_value(0.0312), "0.031"),
        (words.seconds(89.4), "89 s"),
        (words.seconds(90), "2 min"),
        (words.seconds(5400), "1.5 h"),
        (words.in_unit(-0.03, "signed"), "-0.03"),
        (words.points(-0.001, -0.124, 0.0951), "+0 (-12 to 10)"),  # and no minus before a zero
        (words.in_unit(0.03, "signed"), "+0.03"),
        (words.in_unit(2.5, "steps"), "2"),
        (words.in_unit(None, "rate"), "—"),
        (words.between((0.04, 0.15), "rate"), "4–15 %"),
        (words.between((-0.2, 0.1), "ratio"), "-0.20 to 0.10"),
        (words.between((0.02, 0.1), "signed"), "+0.02 to +0.10"),
    ],
)
def test_a_number_in_words(written: str, expected: str) -> None:
    assert written == expected


def test_a_rate_is_that_of_its_counts() -> None:
    rate = Rate(93, 100)
    assert (rate.percent, rate.count, rate.interval, rate.counted) == ("93 %", "93/100", "86–97 %", "93/100 · 86–97 %")
    assert rate.bounds == clopper_pearson(93, 100)
    assert Rate(0, 0).share is None
    assert (Rate(0, 0).percent, Rate(0, 0).interval) == ("—", "0–100 %")
