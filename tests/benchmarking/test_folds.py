"""Protocols: what may be learnt from, and what is judged."""

import dataclasses

import pytest

from workbench.benchmarking.folds import Entry, Fold, Seen, Twins, UnseenFamily, UnseenSeverity, UnseenTask
from workbench.errors import ConfigError, SplitError
from workbench.types import SPLITS

FAMILIES = {"slip": "keyframe", "push": "physics", "latency": "action"}


def entry(split, number, fault="", rate=None, success=True, instruction="lift"):
    index = 1000 * SPLITS.index(split) + number
    uid = f"0:{index}:{f'{fault}@{rate}' if fault else 'nominal'}"
    twin = f"0:{index}:nominal" if fault else ""
    return Entry(index, uid, split, instruction, FAMILIES.get(fault, ""), fault, rate, success, twin)


def entries(instructions=("lift",)):
    found = []
    for split in ("train", "fit", "select", "calibrate", "test"):
        for place, instruction in enumerate(instructions):
            for number in range(4):
                told = {"instruction": instruction, "number": 10 * place + number}
                found.append(entry(split, success=number != 3, **told))
                for fault in FAMILIES:
                    for rate in (0.3, 0.7):
                        found.append(entry(split, fault=fault, rate=rate, success=number % 2 == 0, **told))
    return found


PROTOCOLS = {
    "seen": (Seen(), entries()),
    "unseen_family": (UnseenFamily(), entries()),
    "unseen_severity": (UnseenSeverity(), entries()),
    "twins": (Twins(), entries()),
    "unseen_task": (UnseenTask(), entries([f"task {i}" for i in range(7)])),
}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_purpose_has_episodes_of_its_own_split_alone(name):
    protocol, given = PROTOCOLS[name]
    for fold in protocol.folds(given, 0):
        for split in ("fit", "select", "calibrate", "test"):
            chosen = getattr(fold, split)
            assert chosen
            assert {each.split for each in chosen} == {split}
        assert all(each.nominal and each.success for each in fold.successes("calibrate"))
        assert fold.successes("calibrate")
    assert protocol.name == name
    assert protocol.about


def test_a_fold_refuses_an_episode_of_another_split():
    given = entries()
    test = tuple(each for each in given if each.split == "test")
    fit = tuple(each for each in given if each.split == "fit")
    for wrong in ({"fit": test}, {"select": test}, {"calibrate": fit}, {"test": fit}):
        with pytest.raises(SplitError, match="another split"):
            Fold("", **{"fit": (), "select": (), "calibrate": (), "test": (), **wrong})


def test_a_family_that_is_judged_is_nowhere_learnt_from():
    folds = UnseenFamily().folds(entries(), 0)
    assert sorted(fold.name for fold in folds) == ["action", "keyframe", "physics"]
    for fold in folds:
        learnt = {each.family for each in (*fold.fit, *fold.select, *fold.calibrate)}
        assert fold.name not in learnt
        assert learnt == {"", *FAMILIES.values()} - {fold.name}
        assert {each.family for each in fold.test} == {"", fold.name}


def test_a_fault_of_two_families_is_left_out_with_either():
    both = dataclasses.replace(entry("fit", 9, "slip", 0.3), family="action+keyframe", uid="x")
    folds = {fold.name: fold for fold in UnseenFamily().folds([*entries(), both], 0)}
    assert both not in folds["action"].fit
    assert both not in folds["keyframe"].fit
    assert both in folds["physics"].fit


def test_unseen_tasks_are_drawn_by_seed_and_learnt_from_nowhere():
    protocol, given = PROTOCOLS["unseen_task"]
    drawn = []
    for seed in range(3):
        for fold in protocol.folds(given, seed):
            judged = {each.instruction for each in fold.test}
            assert len(judged) == 2
            assert not judged & {each.instruction for each in (*fold.fit, *fold.select, *fold.calibrate)}
            drawn.append(tuple(sorted(judged)))
    assert len(set(drawn)) > 3
    assert [f.test for f in protocol.folds(given, 1)] == [f.test for f in protocol.folds(given, 1)]


def test_hard_faults_are_judged_and_mild_ones_learnt_from():
    (fold,) = UnseenSeverity().folds(entries(), 0)
    assert {each.rate for each in (*fold.fit, *fold.select)} == {None, 0.3}
    assert {each.rate for each in fold.test} == {None, 0.7}


def test_twins_are_judged_in_pairs():
    given = entries()
    (fold,) = Twins().folds(given, 0)
    uids = {each.uid for each in fold.test}
    failed = [each for each in fold.test if not each.nominal]
    assert failed
    assert all(not each.success and each.twin in uids for each in failed)
    assert all(each.success for each in fold.test if each.nominal)
    assert {each.uid for each in fold.test if each.nominal} == {each.twin for each in failed}


@pytest.mark.parametrize(
    ("protocol", "given", "said"),
    [
        (UnseenFamily(), [entry("fit", 0), entry("test", 0, "slip", 0.3)], "two families"),
        (UnseenTask(), entries(), "instructions"),
        (UnseenSeverity(), [entry("fit", 0, "slip", 0.3)], "both sides"),
        (Twins(), [entry("test", 0, "slip", 0.3, success=False)], "twins"),
    ],
)
def test_a_store_that_has_nothing_to_hold_back_is_refused(protocol, given, said):
    with pytest.raises(ConfigError, match=said):
        protocol.folds(given, 0)


@pytest.mark.parametrize("wrong", [{"share": 0.0}, {"share": 1.0}, {"draws": 0}])
def test_unseen_task_refuses_what_leaves_nothing(wrong):
    with pytest.raises(ConfigError):
        UnseenTask(**wrong)
