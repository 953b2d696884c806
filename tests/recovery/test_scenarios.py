"""What the verification of scenarios says of episodes whose ends are known."""

from __future__ import annotations

import dataclasses

import numpy as np

from tests.verify.scenarios import ARMS, JOINT, LEARNED, NO_FAULT, Ends, arms_of, beside, rows_of
from workbench.recovery.gains import PLACEBO, Gain

ENDS = Ends(
    alarmed=np.array([True, False, True, True, False]),
    within=np.array([False, True, False, False, False]),
    waited=np.array([True, True, False, False, False]),
    steps={
        PLACEBO: np.array([0, 250, 0]),
        "skill": np.array([210, 0, 0]),
        "tuned": np.array([210, 300, 220]),
        "other": np.array([0, 300, 0]),
        JOINT: np.array([0, 0, 0]),
    },
)


def test_an_alarmed_episode_ends_as_its_arm_and_another_one_as_it_did() -> None:
    assert [ENDS.overall(arm) for arm in (PLACEBO, "skill", "tuned", JOINT)] == [2, 2, 4, 1]


def test_the_median_step_counts_what_never_succeeds_as_the_longest() -> None:
    assert ENDS.median("tuned") == 220
    assert ENDS.median("skill") is None  # the only success at 210 is not the half


def test_of_no_alarm_there_is_no_median_and_no_test() -> None:
    silent = dataclasses.replace(ENDS, alarmed=np.zeros(5, bool), steps={arm: np.zeros(0, int) for arm in ENDS.steps})
    assert silent.median("tuned") is None
    assert {row.p_value for row in rows_of({NO_FAULT: silent})} == {None}
    assert {row.overall for row in rows_of({NO_FAULT: silent})} == {2}


def test_rows_hold_gains_over_the_placebo_with_p_values_corrected_over_all_scenarios() -> None:
    many = dataclasses.replace(
        ENDS,
        alarmed=np.ones(8, bool),
        within=np.zeros(8, bool),
        waited=np.zeros(8, bool),
        steps={PLACEBO: np.zeros(8, int), "skill": np.full(8, 210), "tuned": np.zeros(8, int)},
    )
    alone = {row.arm: row for row in rows_of({LEARNED[0]: many})}
    assert alone[PLACEBO].over_placebo is None
    assert alone[PLACEBO].p_value is None
    assert alone["skill"].wins == 8
    assert alone["skill"].over_placebo == Gain.of(np.ones(8, bool), np.zeros(8, bool))
    assert alone["skill"].p_value == 2 * 2 / 2**8  # of two tests
    both = rows_of({LEARNED[0]: many, LEARNED[1]: many})
    assert [row.p_value for row in both if row.arm == "skill"] == [4 * 2 / 2**8] * 2


def test_numbers_tuned_for_the_scenario_are_held_against_others_over_the_scenarios_that_have_both() -> None:
    size = 9
    won, lost = np.full(size, 210), np.zeros(size, int)
    told = dict.fromkeys(("alarmed", "within", "waited"), np.ones(size, bool))
    tuned = Ends(**told, steps={PLACEBO: lost, "tuned": won, "skill": lost, "other": won})
    without = Ends(**told, steps={PLACEBO: lost, "skill": won})
    assert beside({LEARNED[0]: tuned, NO_FAULT: without}, "skill")
    assert not beside({LEARNED[0]: tuned}, "other")
    swapped = dataclasses.replace(tuned, steps={"tuned": lost, "skill": won})
    assert not beside({LEARNED[0]: swapped}, "skill")  # as different, the other way round
    assert not beside({NO_FAULT: without}, "skill")


def test_the_numbers_of_another_scenario_are_those_of_the_next_one() -> None:
    numbers = {name: {"of": name} for name in (*LEARNED, JOINT)}
    for name, following in zip(LEARNED, (*LEARNED[1:], LEARNED[0]), strict=True):
        arms = arms_of(name, numbers)
        assert tuple(arms) == ARMS
        assert (arms["tuned"], arms["other"], arms[JOINT]) == ({"of": name}, {"of": following}, {"of": JOINT})
    assert "tuned" not in arms_of(NO_FAULT, numbers)
    assert tuple(arms_of(LEARNED[0], {LEARNED[0]: {}, JOINT: {}})) == tuple(arm for arm in ARMS if arm != "other")
