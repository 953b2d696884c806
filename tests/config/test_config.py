"""Every yaml composes, is built, and says nothing that its constructor does not know."""

from __future__ import annotations

import importlib
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.limits import HANG_S
from workbench.config import Run, build, compose, parameters_of, resolve
from workbench.config.moved import MOVED
from workbench.errors import CheckpointError, ConfigError

ROOT = Path(__file__).parents[2]
PARTS = ["perturbation", "score", "calibrator", "strategy", "shield", "attributor"]
FILES = sorted(path for path in (ROOT / "conf").glob("*/*.yaml") if path.parent.name not in ("hydra", "experiment"))


def nodes(value: Any) -> list[dict[str, Any]]:
    """Every node with a target, at any depth."""
    if not isinstance(value, dict):
        return []
    here = [value] if "_target_" in value else []
    return here + [node for child in value.values() for node in nodes(child)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_target_exists_and_takes_what_the_yaml_says(path):
    content = yaml.safe_load(path.read_text())
    found = nodes(content)
    assert found, "a yaml without a target configures nothing"
    for node in found:
        known = parameters_of(node["_target_"])
        assert set(node) - {"_target_"} <= set(known), f"{path.name} names arguments that {node['_target_']} lacks"
    if path.parent.name in PARTS:
        assert list(content) == [path.stem], "a part is a dict with its own name as the only key"


@pytest.mark.parametrize("group", [*PARTS, "task", "policy", "job"])
def test_every_option_composes(group):
    for path in sorted((ROOT / "conf" / group).glob("*.yaml")):
        value = f"[{path.stem}]" if group in PARTS else path.stem
        assert compose([f"{group}={value}"])[group]


def test_every_experiment_composes_and_begins_with_its_command():
    for path in (ROOT / "conf" / "experiment").glob("*.yaml"):
        lines = path.read_text().splitlines()
        assert lines[0] == "# @package _global_"
        assert lines[1].startswith("# workbench ")
        compose([f"+experiment={path.stem}"])


def test_parts_are_built_from_the_default_configuration():
    config = compose([])
    run = Run(config)
    assert run.task.name == "lift"
    for group in ("score", "calibrator"):
        for node in config[group].values():
            assert build(node) is not None


def test_parameters_are_set_from_the_command_line():
    config = compose(["perturbation=[slip,object_shift]", "perturbation.slip.duration_steps=[4,5]", "seed=3"])
    assert (config["perturbation"]["slip"]["duration_steps"], config["seed"]) == ([4, 5], 3)


@pytest.mark.parametrize("target", ["os.system", "builtins.eval", "workbenchevil.x", ""])
def test_targets_outside_the_allow_list_are_refused(target):
    with pytest.raises(ConfigError, match="refused"):
        build({"_target_": target})


def test_a_missing_target_and_a_wrong_argument_say_so():
    with pytest.raises(ConfigError, match="nothing_here"):
        build({"_target_": "workbench.envs.nothing_here.X"})
    with pytest.raises(ConfigError, match="wdith"):
        build({"_target_": "workbench.monitoring.window.Window", "kind": "mean", "wdith": 2})


def test_errors_of_a_constructor_keep_their_kind():
    with pytest.raises(ConfigError, match="width=0"):
        build({"_target_": "workbench.monitoring.window.Window", "kind": "mean", "width": 0})


def test_numbers_of_metrics_merge_and_survive(tmp_path):
    run = Run(compose(["name=m"]), tmp_path)
    nominal = {"episodes": 3, "successes": 2}
    run.update_metrics(policy={"nominal": nominal}, wall_s=1)
    run.update_metrics(policy={"zoo": "lift_flow"}, wall_s=2)
    assert run.metrics() == {"policy": {"nominal": nominal, "zoo": "lift_flow"}, "wall_s": 2}
    assert [path.name for path in run.folder.iterdir()] == ["metrics.json"]


def test_names_that_would_leave_the_folder_are_refused():
    for wrong in ("../x", "a/b", ".hidden", ""):
        with pytest.raises(ConfigError, match="plain name"):
            Run({**compose([]), "name": wrong})


def test_a_missing_checkpoint_says_how_to_make_one(tmp_path):
    with pytest.raises(CheckpointError, match="workbench train name=n"):
        Run(compose(["name=n"]), tmp_path).policy()


def test_a_run_travels_as_configuration_alone(tmp_path):
    run = Run(compose(["name=n"]), tmp_path)
    assert run.task is run.task
    kind, arguments = run.__reduce__()
    assert kind(*arguments).config == run.config


SLOW = """
import sys
import types
from pathlib import Path

from workbench import config
from workbench.envs import tasks

folder, function, target = Path(sys.argv[1]), sys.argv[2], "workbench.envs.tasks.slow_part.Part"
tasks.__path__.append(str(folder))
try:
    getattr(config, function)({"_target_": target} if function == "build" else target)
except KeyboardInterrupt:
    print("interrupted")
else:
    print("lost")
"""
PART = """
import os, signal
try:
    os.kill(os.getpid(), signal.SIGINT)
except BaseException:
    pass
class Part: pass
"""


# A shell's background jobs, such as CI may be one, ignore Ctrl-C and pass that on.
NOTICED = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
IGNORED = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"


def interrupted(folder: Path, function: str, before: str) -> str:
    (folder / "slow_part.py").write_text(PART)
    words = [sys.executable, "-c", before + SLOW, str(folder), function]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=HANG_S)
    return ended.stdout.strip() or ended.stderr


@pytest.mark.parametrize("function", ["build", "resolve"])
def test_ctrl_c_in_the_middle_of_an_import_is_not_lost(tmp_path: Path, function: str) -> None:
    """As by libraries that catch whatever happens while they load."""
    assert interrupted(tmp_path, function, NOTICED) == "interrupted"


def test_ctrl_c_stays_ignored_where_it_is(tmp_path: Path) -> None:
    assert interrupted(tmp_path, "resolve", IGNORED) == "lost"


@pytest.mark.parametrize(("module", "today"), sorted(MOVED.items()))
def test_a_target_that_has_moved_is_still_found(module, today):
    defined = [
        name
        for name, value in vars(importlib.import_module(today)).items()
        if isinstance(value, type | types.FunctionType) and value.__module__ == today
    ]
    name = defined[0]
    assert resolve(f"{module}.{name}") is getattr(importlib.import_module(today), name)


def test_a_protocol_of_an_earlier_version_is_built():
    assert build({"_target_": "workbench.protocols.Seen"}).name == "seen"


def test_the_root_folder_is_given_by_a_key_or_by_the_environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Run(compose([])).store == tmp_path / "datasets" / "default.zarr"
    monkeypatch.setenv("WORKBENCH_ROOT", str(tmp_path / "elsewhere"))
    assert Run(compose([])).store == tmp_path / "elsewhere" / "datasets" / "default.zarr"
    assert Run(compose(["root=own"])).store == tmp_path / "own" / "datasets" / "default.zarr"
