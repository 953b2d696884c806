"""What later jobs take from a run's journal, and what no journal can make them take."""

from __future__ import annotations

import pytest

from workbench.config import Entry, Run, compose, recalled
from workbench.config.journal import append
from workbench.config.remembered import may_be_taken, remembered


def entry(*words: str, job: str = "rollout", ended: str = "ended") -> Entry:
    return Entry(job, [f"job={job}", *words], None, "", {}, {}, None, "2026-01-01T00:00:00Z", 1.0, ended, "")


@pytest.mark.parametrize(
    ("before", "now", "taken"),
    [
        (["policy=expert", "task=stack"], [], ["policy=expert", "task=stack"]),
        (["seed=3", "store=s", "demos=d", "checkpoint=runs/a/policy"], [], None),
        (["rollout.samples=4", "monitor.level=0.2", "calibrator=[fixed]", "strategy=[placebo]"], [], None),
        (["policy=expert"], ["policy=zoo/lift_flow"], []),
        (["score=[knn]", "score.knn.k=3"], ["score=[rnd]"], []),
        (["score=[knn]", "score.knn.k=3"], ["score.knn.k=4"], ["score=[knn]"]),
        (["policy=flow", "checkpoint=runs/a/policy"], ["policy=zoo/lift_flow"], []),
        (["policy=zoo/lift_flow"], ["checkpoint=runs/a/policy"], []),
        (["policy=diffusion", "checkpoint=runs/a/policy"], ["checkpoint=runs/b/policy"], ["policy=diffusion"]),
        (["perturbation=[slip]", "job.one_each=true", "name=x", "overwrite=true", "runner.workers=3"], [], []),
        (["protocol=seen", "root=/tmp", "+experiment=quickstart"], [], []),
        (["task.cameras={names: [wrist], profile: fast}"], [], None),
        (["+policy.execute=4"], [], None),
    ],
)
def test_words_of_earlier_jobs_stand_until_they_are_said_again(before, now, taken):
    assert remembered([entry(*before)], ["job=fit", *now]) == (before if taken is None else taken)


def test_the_last_word_counts_and_what_was_refused_does_not():
    entries = [
        entry("score=[knn]", "score.knn.k=3", "task=lift"),
        entry("score=[rnd]", job="fit"),
        entry("task=stack", ended="refused"),
        entry("task=door", ended="failed"),
        entry("monitor.level=0.3", ended="interrupted"),
    ]
    assert remembered(entries, ["job=benchmark"]) == ["task=lift", "score=[rnd]", "monitor.level=0.3"]
    assert remembered(entries, ["job=new"]) == []


@pytest.mark.parametrize(
    "word",
    [
        "policy._target_=os.system",
        "+policy._target_=workbench.policies.expert.Expert",
        "policy={_target_: os.system}",
        "score={x: {_target_: os.system}}",
        "+score.x={_target_: os.system}",
        "+score.x={y: [{_target_: os.system}]}",
        "task.controller=${oc.env:HOME}",
        "store=${oc.env:HOME}",
        "checkpoint='${oc.env:HOME}'",
        "policy=../../evil",
        "policy=mylab",
        "task=[lift]x",
        "task={name: lift}",
        "plugins=[os]",
        "+plugins=[os]",
        "root=/tmp",
        "name=other",
        "overwrite=true",
        "job=collect",
        "job.expert._target_=os.system",
        "runner._target_=os.system",
        "hydra.run.dir=/tmp",
        "hydra/launcher=x",
        "~policy",
        "policy@x=expert",
        "seed=1,2",
        "seed=range(3)",
        "+experiment=quickstart",
        "perturbation=[slip]",
        "policy",
        "=",
        "",
        "seed=[",
    ],
)
def test_a_run_folder_names_no_code_and_no_other_folder(word):
    assert not may_be_taken(word)


def test_words_of_a_journal_compose_where_those_said_alone_would_not(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_ROOT", str(tmp_path))
    run = Run(compose(["name=x"]))
    run.folder.mkdir(parents=True)
    append(run.folder, entry("name=x", "score=[knn]", "policy._target_=os.system", "plugins=[os]", job="fit"))
    said = ["job=fit", "name=x", "score.knn.neighbours=7"]
    assert recalled(said) == ["score=[knn]"]
    composed = compose([*said, *recalled(said)])["score"]
    assert list(composed) == ["knn"]
    assert composed["knn"]["neighbours"] == 7
    assert recalled(["job=fit", "name=other"]) == []
