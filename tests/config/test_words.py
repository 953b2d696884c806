"""Words of the command line: what is typed is what is read, flags stand anywhere, and what is printed can be typed."""

from __future__ import annotations

import contextlib
import shlex

import numpy as np
import pytest

from tests.fuzzing import overrides
from workbench.config import Run, command_line, compose, hydra_words
from workbench.config.checking import MOST_POINTS, checked, points
from workbench.config.help import comments, in_grammar, job_help
from workbench.config.jobs import completed_line, job_words
from workbench.config.schema import MOST_BYTES, abouts, refuse_other_kinds
from workbench.config.words import parse, points_of, split_at_commas, unquoted
from workbench.errors import ConfigError, UnknownNameError, WorkbenchError
from workbench.types import MOST_SEED

NUMBERS = [
    "1.10",
    "1e3",
    "0x10",
    "null",
    "true",
    "007",
    "1_000",
    "~",
    "[a]",
    "nan",
    "-1",
    "+1",
    "Inf",
    "NULL",
    "off",
    "{a}",
]
ODD = [
    "runs/lr=0.1/policy", "josé/policy", "a b/policy", "C:\\runs\\a", "a:b", "run (1)", "日本/語", "cube > 0.02",
    "it's",     'say "x"', "a\\", "'half", "!x", "a;b", "#1", "&", "a|b", "*", "100%", "a,'", "<x>", "null/x", "1.10/a",
]  # fmt: skip


@pytest.mark.parametrize("key", ["name", "store", "demos"])
@pytest.mark.parametrize("typed", NUMBERS)
def test_a_name_is_the_text_that_was_typed(key, typed):
    config = compose([f"{key}={typed}"])
    assert config[key] == typed
    Run(config)


@pytest.mark.parametrize("typed", [text for text in [*NUMBERS, *ODD] if text not in ("null", "a,'")])
def test_a_path_is_the_text_that_was_typed(typed):
    assert compose([f"checkpoint={typed}", f"root={typed}"])["checkpoint"] == typed


@pytest.mark.parametrize(
    "typed", ["~task=[1]", "~task=1", "~policy='a'", "~task@x=[a]", "~task=true", "~perturbation=[/b]"]
)
def test_what_is_left_out_is_an_option_by_name(typed):
    """Hydra raises a ValueError, which was a traceback; found by the fuzzer of overrides."""
    with pytest.raises(ConfigError, match="leaves nothing out: type ~"):
        compose([typed])


def test_null_is_no_path_and_a_name():
    config = compose(["checkpoint=null", "root=null", "name=null"])
    assert (config["checkpoint"], config["root"], config["name"]) == (None, None, "null")


@pytest.mark.parametrize(
    ("words", "path", "value"),
    [
        (["job=synthesize", "job.recipe=1.10"], "job.recipe", "1.10"),
        (["job=synthesize", "job.tasks=[1.10,lift,null]"], "job.tasks", ["1.10", "lift", "null"]),
        (["job=synthesize", "job.policy=null"], "job.policy", None),
        (["job=benchmark", "job.stores=[1.10,a,1e3]"], "job.stores", ["1.10", "a", "1e3"]),
        (["job=benchmark", "job.stores=[]"], "job.stores", []),
        (["job=view", "job.episode=17"], "job.episode", 17),
        (["job=view", "job.episode=0:400000:nominal"], "job.episode", "0:400000:nominal"),
        (["job=view", "job.episode=1e5"], "job.episode", "1e5"),
        (["job=view", "job.monitors=[a+b,1.0]"], "job.monitors", ["a+b", "1.0"]),
        (["job=new", "job.name=1_0"], "job.name", "1_0"),
        (["job=serve", "job.host=127.0"], "job.host", "127.0"),
        (["job=zoo", "job.about=Lifts the cube: (well)."], "job.about", "Lifts the cube: (well)."),
        (["job=label", "job.stride=1_0"], "job.stride", 10),
        (
            ["perturbation=[slip]", "perturbation.slip.predicate=cube_height_m > 0.02"],
            "perturbation.slip.predicate",
            "cube_height_m > 0.02",
        ),
        (["rollout.signals=[1.0,a]"], "rollout.signals", ["1.0", "a"]),
        (["task=push_t", "task.out_of_range=1.0"], "task.out_of_range", "1.0"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) and len(value) > 1 else None,
)
def test_the_key_decides_what_is_text(words, path, value):
    found = compose(words)
    for name in path.split("."):
        found = found[name]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("words", "typed"),
    [
        (["name=1.1,1.10"], ['name="1.1","1.10"']),
        (["name=choice(1.1,1.10)"], ['name=choice("1.1","1.10")']),
        (["seed=0,1"], ["seed=0,1"]),
        (["seed=range(0,3)"], ["seed=range(0,3)"]),
        (["perturbation=[slip],[push]"], ["perturbation=[slip],[push]"]),
        (["checkpoint=runs/a=1/p, runs/a=2/p"], ['checkpoint="runs/a=1/p","runs/a=2/p"']),
        (["checkpoint=null,a=b"], ['checkpoint=null,"a=b"']),
        (["job=benchmark", "job.stores=[1.10,a],[b]"], ["job=benchmark", 'job.stores=["1.10",a],[b]']),
    ],
    ids=lambda value: value[-1],
)
def test_a_sweep_has_the_points_that_were_typed(words, typed):
    assert hydra_words(words, sweep=True) == typed


def test_every_point_of_a_sweep_is_looked_at_once():
    words = hydra_words(["name=1.1,1.10", "perturbation=[slip],[push]", "seed=3"], sweep=True)
    assert list(points(words)) == [
        ['name="1.1"', "perturbation=[slip]", "seed=3"],
        ['name="1.10"', "perturbation=[slip]", "seed=3"],
        ['name="1.1"', "perturbation=[push]", "seed=3"],
    ]
    assert points_of("seed=range(0,3)") == ["seed=0", "seed=1", "seed=2"]
    assert len(list(points(["seed=range(0,100000)"]))) == 1 + MOST_POINTS


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["seed=0,-1"], "seed=-1 must be 0 or more"),
        (["seed=0", "name=a,.b"], "plain name"),
        (["perturbation=[slip],[slipp]"], "Did you mean 'slip'"),
        (["job.episodes.test=1,abc"], "job.episodes.test='abc' must be a whole number"),
    ],
)
def test_a_wrong_point_of_a_sweep_is_refused_before_the_first_one_runs(words, said):
    with pytest.raises(ConfigError, match=said.replace("[", r"\[")):
        checked(["job=rollout", *words], sweep=True)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("seed=0,1", r"seed=0,1 has a comma: add -m to run each of 0, 1$"),
        ("name=a,b", r"""add -m .*; as one text type 'name="a,b"'"""),
        ("perturbation=slip,push", r"add -m .*; as one list type 'perturbation=\[slip,push\]'"),
        ("seed=a=b", "seed=a=b cannot be read: seed must be a whole number"),
        ("overwrite=a=b", "overwrite must be true or false"),
        ("+x.y=a=b", r"""if its value is meant as text, type '\+x.y="a=b"'"""),
        ("slip", "no key=value"),
        ("a b=1", "unknown key 'a b'"),
        ("é=1", "unknown key 'é'"),
        ("=1", "unknown key ''"),
    ],
)
def test_what_cannot_be_read_says_how_it_is_typed(word, said):
    with pytest.raises(ConfigError, match=said):
        hydra_words([word])


@pytest.mark.parametrize(("word", "value"), [("name=a,b", "a,b"), ("+x=a=b", None)])
def test_what_an_error_says_to_type_is_read(word, value):
    with pytest.raises(ConfigError) as caught:
        hydra_words([word])
    (typed,) = shlex.split(str(caught.value).rpartition("type ")[2])
    (again,) = hydra_words([typed])
    assert again == typed
    assert value is None or compose([typed])["name"] == value


def test_quotes_of_hydra_are_still_taken():
    assert compose(["name='1.10'"])["name"] == compose(['name="1.10"'])["name"] == "1.10"
    assert compose(["store='${name}-x'", "name=1.10"])["store"] == "1.10-x"


@pytest.mark.parametrize("line", ["-m seed=0,1 name=x", "seed=0,1 -m name=x", "seed=0,1 name=x --multirun"])
def test_flags_stand_anywhere(line):
    found = parse(line.split())
    assert (found.words, found.sweep, found.hydra_flags()) == (("seed=0,1", "name=x"), True, ["--multirun"])


@pytest.mark.parametrize(
    ("arguments", "words", "flags"),
    [
        (["rollout", "--cfg", "job", "name=x"], ("rollout", "name=x"), {"--cfg": "job"}),
        (["rollout", "--cfg=job", "name=x"], ("rollout", "name=x"), {"--cfg": "job"}),
        (["--info", "rollout", "name=x"], ("rollout", "name=x"), {"--info": "all"}),
        (["-i", "defaults", "rollout"], ("rollout",), {"--info": "defaults"}),
        (["rollout", "-p", "task", "-c", "job", "x=1"], ("rollout", "x=1"), {"--package": "task", "--cfg": "job"}),
        (["-cd", "conf", "rollout"], ("rollout",), {"--config-dir": "conf"}),
        (["--resolve", "rollout", "--cfg", "all"], ("rollout",), {"--resolve": "", "--cfg": "all"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_flag_takes_its_value_and_no_word(arguments, words, flags):
    found = parse(arguments)
    assert (found.words, found.flags) == (words, flags)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--foo"], "unknown flag '--foo'. Did you mean '--info'"),
        (["--multi"], "Did you mean '--multirun'"),
        (["--experimental-rerun", "x.pickle"], "unknown flag"),
        (["--cfg"], "--cfg needs a value: job, hydra, all"),
        (["--cfg", "jobs"], "Did you mean 'job'"),
        (["-m=1"], "--multirun takes no value"),
        (["-m", "--cfg", "job"], "--multirun and --cfg exclude each other"),
        (["--resolve"], "--resolve goes with --cfg"),
        (["--config-dir"], "needs a value"),
        (["name=\udcff"], "no text"),
    ],
    ids=lambda value: ascii(" ".join(value)) if isinstance(value, list) else None,
)
def test_wrong_flags_are_refused(arguments, said):
    with pytest.raises(ConfigError, match=said):
        parse(arguments)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["rollout", "seed=1"], ["job=rollout", "seed=1"]),
        (["seed=1", "rollout"], ["job=rollout", "seed=1"]),
        (["job=rollout", "seed=1"], ["job=rollout", "seed=1"]),
        (["quickstart"], ["job=quickstart", "+experiment=quickstart"]),
        (["quickstart", "+experiment=other"], ["job=quickstart", "+experiment=other"]),
        (["new", "score", "mine"], ["job=new", "job.kind=score", "job.name=mine"]),
        (["new", "job.kind=score", "job.name=mine"], ["job=new", "job.kind=score", "job.name=mine"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_job_is_hydras_job(words, found):
    assert job_words(words) == found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rolout"], "unknown job 'rolout'. Did you mean 'rollout'"),
        (["seed=1"], "which job"),
        (["rollout", "slip"], r"Did you mean perturbation=\[slip\]"),
        (["rollout", "lift"], "Did you mean task=lift"),
        (["rollout", "label"], "second job"),
        (["rollout", "job=label"], "second job"),
        (["rollout", "seed", "=", "1"], "without spaces"),
        (["new", "score", "a", "b", "c"], "too many words"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_which_job_is_meant_is_said(words, said):
    with pytest.raises(ConfigError, match=said):
        job_words(words)


@pytest.mark.parametrize(
    "words",
    [
        ["job=rollout", "name=1.10", "seed=3"],
        ["job=rollout", 'checkpoint=runs/lr=0.1/it\'s "x"', "perturbation=[slip,push]"],
        ["job=synthesize", "+experiment=synthesize", "job.recipe=1.10", "job.tasks=[1.10]"],
        ["job=rollout", "perturbation=[slip]", "perturbation.slip.predicate=a > 0.02", "+perturbation.slip.axis=null"],
        ["job=rollout", "'name=x'".strip("'"), "store='a,b'"],
    ],
    ids=lambda value: value[-1],
)
def test_a_command_that_is_printed_does_the_same_again(words):
    typed = hydra_words(words)
    job = words[0].removeprefix("job=")
    line = command_line(job, typed[1:])
    assert line.startswith(f"workbench {job} ")
    again = hydra_words([words[0], *shlex.split(line)[2:]])
    assert again == typed


def test_a_command_is_printed_as_it_was_typed():
    typed = hydra_words(["name=1.10", "checkpoint=runs/lr=0.1/policy"])
    assert command_line("rollout", typed) == "workbench rollout name=1.10 checkpoint=runs/lr=0.1/policy"
    assert unquoted("x='it\\'s'") == "x=it's"


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("a,b", ["a", "b"]),
        ("[a,b],[c]", ["[a,b]", "[c]"]),
        ("'a,b',c", ["'a,b'", "c"]),
        ("f(a,b),{x:1,y:2}", ["f(a,b)", "{x:1,y:2}"]),
        (r"a\,b", [r"a\,b"]),
        ("", [""]),
        ("[a", ["[a"]),
    ],
)
def test_commas_in_quotes_and_brackets_separate_nothing(value, parts):
    assert split_at_commas(value) == parts


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("seed", 2**63, f"at most {MOST_SEED}"),
        ("seed", -1, "0 or more"),
        ("name", 1.1, "must be text; .* '1.1'"),
        ("store", None, "must be text"),
        ("demos", "", "plain name"),
        ("name", " a", "plain name"),
        ("name", "a\nb", "plain name"),
        ("name", "é" * MOST_BYTES, "at most"),
        ("checkpoint", "", "path of a folder"),
        ("root", " ", "path of a folder"),
        ("checkpoint", 2024, "must be text or null"),
    ],
)
def test_what_cannot_become_a_name_a_path_or_a_seed_is_refused(key, value, said):
    with pytest.raises(ConfigError, match=said):
        refuse_other_kinds({**compose([]), key: value})


def test_a_number_in_a_yaml_file_is_no_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "local").mkdir(parents=True)
    (tmp_path / "conf" / "experiment").mkdir()
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text("# @package _global_\nname: 1.10\n")
    with pytest.raises(ConfigError, match=r"name=1.1 must be text; in a yaml file .* quotes"):
        checked(["job=rollout", "+experiment=mine"])
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text("# @package _global_\nname: '1.10'\n")
    checked(["job=rollout", "+experiment=mine"])


@pytest.mark.parametrize("job", ["label", "train", "rollout", "report", "new"])
def test_help_begins_with_the_jobs_own_keys_and_their_sentences(job):
    text = job_help(job_words([job]))
    own, others = text.split("Keys of every job:")
    assert others.index("seed=0") < others.index("Groups (")
    if job == "label":
        assert "job.stride=20\n      control steps between the expert's first trials" in own
        assert own.index("job.branches=[4,8,16]") < own.index("job.stride")
    if job == "train":
        assert "job.trainer.clip_norm=1.0\n      largest norm of a gradient" in own
    if job == "report":
        assert "no keys of its own" in own
    assert all(about in " ".join(others.split()) for about in abouts().values())


def test_comments_of_a_yaml_file_are_those_above_and_behind_a_key():
    text = "# file\n# one\n# two\na: 1  # three\nb:\n  # four\n  c: [1, 2]\n  d: x\n# lost\n\ne: 5\n"
    assert comments(text) == {"a": "one two three", "b.c": "four"}


@pytest.mark.parametrize("value", [{"a": [1, None, True]}, [], "lift", 0.1, False])
def test_defaults_are_shown_as_they_are_typed(value):
    assert compose([f"+job.zzz={in_grammar(value)}"])["job"]["zzz"] == value


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("workbench ro", ("ro", "workbench ro")),
        ("workbench ", ("", "workbench ")),
        ("workbench -m ", ("", "workbench -m ")),
        ("workbench rollout per", (None, "workbench job=rollout per")),
        ("workbench rollout -m task=", (None, "workbench job=rollout task=")),
        ("workbench nix per", (None, "workbench nix per")),
    ],
)
def test_what_a_shell_asks_about_is_read_alike(typed, found):
    assert completed_line(typed) == found


def test_an_unknown_part_of_a_job_is_no_traceback():
    with pytest.raises(UnknownNameError, match=r"unknown key 'job\.zzz'\..* Known: .*job\.episodes.*job\.one_each"):
        checked(["job=rollout", "+job.zzz=1"])


def test_command_lines_changed_at_random_are_read_or_refused(tmp_path):
    prepared = overrides.prepare(tmp_path)
    for words in prepared:
        overrides.answer(words)
    for seed in range(120):
        with contextlib.suppress(WorkbenchError):
            overrides.attempt(prepared, np.random.default_rng(seed), tmp_path)
    assert not list(tmp_path.iterdir())
