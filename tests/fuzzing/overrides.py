"""Command lines: valid ones, a word or letter of which is changed; read, composed and checked without running a job."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np

from workbench.config import command_line, hydra_words
from workbench.config.checking import checked
from workbench.config.help import job_help
from workbench.config.jobs import job_words
from workbench.config.words import parse

LINES = (
    "rollout name=1.10 policy=expert",
    "rollout perturbation=[slip,push] perturbation.slip.duration_steps=[4,5] seed=3",
    "rollout 'perturbation.slip.predicate=cube_height_m > 0.02' perturbation=[slip]",
    "rollout checkpoint=runs/lr=0.1/policy job.episodes.test=5 job.one_each=true",
    "rollout -m seed=0,1 name=1.1,1.10",
    "rollout --cfg job name=x",
    "rollout -m perturbation=[slip],[push]",
    "collect demos=mix task=peg_insertion task.clearance_m=0.004 job.episodes=3",
    "train job.trainer.iterations=10 job.evaluation={episodes:50,every:1000} policy.horizon=8",
    "label job.branches=[4,8] job.stride=20 job.values.calls=4",
    "fit score=[knn,rnd] calibrator=[fixed] monitor.level=0.2 monitor.window=max",
    "benchmark job.stores=[1.10,a] job.seeds=[0,1] protocol=seen",
    "recover job.monitor=rnd+split_conformal job.moments=2 strategy=[continue,placebo]",
    "view job.episode=0:400000:nominal job.monitors=[rnd+split_conformal]",
    "replay job.episode=17 store=a",
    "search job.jointly=true job.confidence=0.9 perturbation=[mass]",
    "serve job.port=0 policy=zoo/lift_flow",
    "synthesize job.recipe=failures-small job.tasks=[lift] job.policy=null",
    "zoo +experiment=zoo/lift_flow job.seeds=[0,1]",
    "new score my_score",
    "export job.format=lerobot overwrite=true",
    "report root=/tmp/x",
    "quickstart runner.workers=1 rollout.until=deadline",
)
VALUES = (
    "", "null", "~", "true", "1.10", "1e3", "0x10", "007", "1_000", "-1", "9223372036854775808", "nan", "inf",
    "1.5", "abc",
    "[a]", "[]", "[[", "[1,[2]]", "{a:1}", "{a:{b:c}}", "{}", "a,b", "a, b", "a=b", "a b", "josé", "日本",
    "\u202e", "🙂", "'", '"',
    "'a", "it's", '"1.10"', "'a' 'b'", "(", "f(x)", "choice(1,2)", "range(0,3)", "glob(*)", "interval(0,1)",
    "${seed}",
    "${nix}", "${", "${oc.env:HOME}", "${name}", "???", "C:\\runs\\a", "a\\", "\\'", "../x", ".",
    "x" * 300, "\ud800", "\n",
    "\t", "/", "os.system", "[slip,slip]", "slip", "[" * 300, "1" * 5000, "!!python/object:x", "&a *a", "a: b",
    "[/b]",
)  # fmt: skip
KEYS = (
    "name", "seed", "store", "demos", "root", "checkpoint", "overwrite", "task", "policy", "perturbation",
    "score", "job",
    "job.x", "job.episodes", "job.episodes.test", "perturbation.slip.predicate", "task.cameras", "rollout.samples",
    "monitor.combine", "runner.workers", "plugins", "hydra.run.dir", "hydra/launcher", "experiment", "task@x",
    "_target_",
    "task._target_", "job._target_", "é", "a b", "", "a..b", ".", "score.rnd.width", "$x", "protocol",
    "hydra.searchpath",
)  # fmt: skip
FLAGS = (
    "-m", "--multirun", "--cfg", "-c", "--cfg=job", "--info", "-i", "--package", "--package=task", "--resolve", "-sc",
    "--config-dir", "-cd", "--help", "-h", "--version", "--foo", "-", "--", "-x", "--config-name=x", "--run",
)  # fmt: skip


def prepare(folder: Path) -> list[list[str]]:
    """Command lines that are right, as lists of words."""
    return [shlex.split(line) for line in LINES]


def attempt(prepared: list[list[str]], random: np.random.Generator, folder: Path) -> None:
    """Change one line, mostly; read it, and hold it against the configuration as the command line does."""
    words = list(prepared[random.integers(len(prepared))])
    if random.random() > 0.05:
        for _ in range(random.integers(1, 4)):
            words = MUTATIONS[random.integers(len(MUTATIONS))](words, random)
    answer(words)


def answer(words: list[str]) -> None:
    """What the command line does with some words before a job begins; a line it prints must mean the same again."""
    line = parse(words)
    if "--help" in line.flags and line.words:
        job_help(job_words(line.words))
        return
    if not line.words or {"--version", "--shell-completion", "--hydra-help", "--help"} & set(line.flags):
        return
    asked = job_words(line.words)
    typed = checked(asked, line.sweep, run="--cfg" not in line.flags and "--info" not in line.flags)
    if not line.sweep:
        _, *again = shlex.split(command_line(asked[0].removeprefix("job="), typed[1:]))
        assert hydra_words(job_words(parse(again).words)) == typed


def _one_of(found: Any, random: np.random.Generator) -> Any:
    return found[random.integers(len(found))]


def _value(words: list[str], random: np.random.Generator) -> list[str]:
    """Another value for a word."""
    place = random.integers(len(words))
    return [*words[:place], f"{words[place].partition('=')[0]}={_one_of(VALUES, random)}", *words[place + 1 :]]


def _more(words: list[str], random: np.random.Generator) -> list[str]:
    """One more word, anywhere."""
    word = f"{_one_of(('', '', '', '+', '++', '~'), random)}{_one_of(KEYS, random)}={_one_of(VALUES, random)}"
    return _put(words, word, random)


def _flag(words: list[str], random: np.random.Generator) -> list[str]:
    return _put(words, _one_of(FLAGS, random), random)


def _put(words: list[str], word: str, random: np.random.Generator) -> list[str]:
    place = random.integers(len(words) + 1)
    return [*words[:place], word, *words[place:]]


def _fewer(words: list[str], random: np.random.Generator) -> list[str]:
    place = random.integers(len(words))
    return [*words[:place], *words[place + 1 :]] or words


def _shuffled(words: list[str], random: np.random.Generator) -> list[str]:
    return [words[place] for place in random.permutation(len(words))]


def _letter(words: list[str], random: np.random.Generator) -> list[str]:
    """One letter of a word changed, lost or doubled."""
    place = random.integers(len(words))
    word = words[place]
    at = random.integers(len(word) + 1)
    letter = _one_of(("", *"=[]{}()',\"\\:.~+-$ @0aé\n"), random)
    return [*words[:place], word[:at] + letter + word[at + random.integers(2) :], *words[place + 1 :]]


def _nested(words: list[str], random: np.random.Generator) -> list[str]:
    """The value of a word as a list or mapping, some levels deep."""
    place = random.integers(len(words))
    key, _, value = words[place].partition("=")
    for _ in range(random.integers(1, 6)):
        value = _one_of((f"[{value}]", f"{{a:{value}}}", f"'{value}'", f"[{value},{value}]"), random)
    return [*words[:place], f"{key}={value}", *words[place + 1 :]]


MUTATIONS = (_value, _more, _flag, _fewer, _shuffled, _letter, _nested)
