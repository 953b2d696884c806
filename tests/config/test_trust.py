"""Which code a configuration or a file can name: the object that a path leads to decides, not the text."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import json
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from workbench.config import ZOO, Run, build, compose, made_policy, parameters_of, read_yaml, resolve
from workbench.envs.faults.specification import describe, effect_of
from workbench.envs.tasks.lift import Lift
from workbench.errors import ConfigError, WorkbenchError
from workbench.types import Stream
from workbench.types.trust import named

WINDOW = "workbench.monitoring.window.Window"
CONF = Path(__file__).parents[2] / "conf"
STRANGERS = [
    # other packages, whatever they look like
    "os.system",
    "subprocess.Popen",
    "builtins.eval",
    "importlib.import_module",
    "workbenchevil.x",
    "workbench_evil.X",
    "mylab.fault.Fault",
    # attributes that lead out of ours: modules, functions and classes that are merely imported
    "workbench.cli.os.system",
    "workbench.cli.os.path.join",
    "workbench.cli.sys.exit",
    "workbench.cli.sys.modules",
    "workbench.cli.Path",
    "workbench.cli.re.compile",
    "workbench.config.build.importlib.import_module",
    "workbench.config.build.functools.partial",
    "workbench.config.build.copy.deepcopy",
    "workbench.config.files.json.loads",
    "workbench.config.files.Path",
    "workbench.types.trust.importlib.import_module",
    "workbench.types.np.load",
    "workbench.types.dataclasses.make_dataclass",
    "workbench.envs.perturbations.slip.np",
    "workbench.envs.perturbations.slip.np.load",
    "workbench.detectors.scores.rnd.torch.load",
    "workbench.detectors.scores.rnd.torch.hub.load",
    "workbench.detectors.scores.rnd.nn.Sequential",
    "workbench.policies.server.threading.Thread",
    # into objects, and around them
    "workbench.monitoring.window.Window.__init__",
    "workbench.monitoring.window.Window.__class__",
    "workbench.monitoring.window.Window.__init__.__globals__",
    "workbench.monitoring.window.Window.__subclasses__",
    "workbench.monitoring.window.Window.mro",
    "workbench.__main__.main",
    "workbench.__builtins__.eval",
    "workbench.monitoring.__builtins__.eval",
    # what is neither a class nor a function
    "workbench.__version__",
    "workbench.monitoring.window",
    "workbench.envs.perturbations",
    "workbench.types.SPLITS",
    # no path at all
    "",
    "workbench",
    "workbench.",
    ".workbench.monitoring.window.Window",
    "workbench..monitoring.window.Window",
    "workbench.monitoring.window.Window()",
    "workbench.monitoring.window.Window\n",
    "workbench.monitoring.window:Window",
    "workbench/monitoring/window.Window",
    "${oc.env:HOME}",
    "workbench.${oc.env:HOME}",
    "wörkbench.monitoring.window.Window",
    "\uff57orkbench.monitoring.window.Window",
]


@pytest.mark.parametrize("target", STRANGERS)
def test_what_leads_out_of_ours_is_refused_by_us_in_one_line(target):
    for how in (resolve, parameters_of, lambda path: build({"_target_": path})):
        with pytest.raises(ConfigError) as refused:
            how(target)
        assert "\n" not in str(refused.value).replace(repr(target), "")
        assert "refused" in str(refused.value) or "there is no" in str(refused.value)


@pytest.mark.parametrize("target", STRANGERS)
def test_a_stored_perturbation_leads_nowhere_else_either(target):
    record = {"name": "slip", "target": target, "start_step": 0, "stage": None, "predicate": None, "duration_steps": 1}
    with pytest.raises(ConfigError):
        effect_of(record, Stream(0, 0))
    with pytest.raises(ConfigError):
        Lift().scene().begin(Stream(0, 0), [record])
    with pytest.raises(ConfigError):
        describe(record)


@pytest.mark.parametrize("target", [None, 3, ["workbench.monitoring.window.Window"], {"a": 1}, b"workbench.x.Y", True])
def test_a_target_that_is_no_text_is_refused(target):
    with pytest.raises(ConfigError, match="refused"):
        build({"_target_": target})


@pytest.fixture
def smuggler():
    """A module of ours that holds what nobody may name, under harmless names."""

    class Liar:
        pass

    module = ModuleType("workbench.smuggler")
    module.anonymous = lambda **_: 1
    module.anonymous.__module__ = "workbench.smuggler"
    module.bound = functools.partial(print)
    module.cached = functools.cache(lambda: 1)
    module.instance = Liar()
    Liar.__module__ = "workbench.smuggler"  # defined in a function, so it can be found again by nobody
    module.Liar = Liar
    module.Renamed = type("Other", (), {"__module__": "workbench.smuggler"})
    module.Path = Path
    module.print = print
    sys.modules["workbench.smuggler"] = module
    yield module
    del sys.modules["workbench.smuggler"]


@pytest.mark.parametrize("name", ["anonymous", "bound", "cached", "instance", "Liar", "Renamed", "Path", "print"])
def test_lambdas_partials_instances_and_liars_are_refused(smuggler, name):
    assert hasattr(smuggler, name)
    with pytest.raises(ConfigError, match="refused"):
        named(f"workbench.smuggler.{name}")


def test_nobody_is_imported_before_the_package_is_trusted(tmp_path, monkeypatch):
    (tmp_path / "bystander.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for target in ("bystander.X", "bystander.sub.X"):
        with pytest.raises(ConfigError, match="of the package bystander, which is not installed"):
            build({"_target_": target})


@pytest.mark.parametrize(
    "target",
    [
        "workbench.config.plugins.installed_plugins",
        "workbench.config.files.write_bytes",
        "workbench.config.build.build",
        "workbench.config.run.Run",
        "workbench.types.trust.installed_by",
        "workbench.types.trust.named",
        "workbench.cli.main",
        "workbench.store.Store",
        "workbench.errors.ConfigError",
        "workbench.jobs.fit.Run",  # the same, by way of a room that may be named
        "workbench.jobs.report.Store",
        # what makes folders or files when it is made, in rooms without parts and beside parts
        "workbench.viewing.session.Session",
        "workbench.formats.lerobot._Writer",
        "workbench.rollouts.training.Training",
        "workbench.reporting.report.Report",
        "workbench.synthesis.fill.Twins",
        "workbench.recovery.learning.train_head",
    ],
)
def test_what_is_no_part_is_refused_by_whatever_way(target, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"holds no such part|there is no"):
        build({"_target_": target, "path": str(tmp_path / "made"), "folder": str(tmp_path / "made")})
    assert not list(tmp_path.iterdir())


def test_every_target_of_our_own_configuration_is_a_part():
    found = {match for file in CONF.rglob("*.yaml") for match in re.findall(r"_target_: ([\w.]+)", file.read_text())}
    assert len(found) > 100
    for target in found:
        assert resolve(target)


@pytest.mark.parametrize("depth", [100, 5000])
def test_a_configuration_that_is_nested_too_deep_is_refused(depth):
    value = []
    for _ in range(depth):
        value = [value]
    with pytest.raises(ConfigError, match="nested deeper"):
        build({"_target_": WINDOW, "kind": value})


@pytest.mark.parametrize(
    "words",
    [
        {"_partial_": True},
        {"_args_": ["mean", 2]},
        {"_recursive_": True},
        {"_recursive_": False},
        {"_convert_": "object"},
        {"_mode_": 1},
        {"__class__": "x"},
    ],
)
def test_words_of_hydra_beside_a_class_are_refused(words):
    with pytest.raises(ConfigError, match="refused"):
        build({"_target_": WINDOW, "kind": "mean", "width": 2, **words})


@pytest.mark.parametrize("words", [{}, {"_partial_": False}, {"_partial_": True, "_args_": [1]}, {"_partial_": "yes"}])
def test_a_function_is_never_called_by_a_file(words):
    with pytest.raises(ConfigError, match="refused"):
        build({"_target_": "workbench.jobs.export.run", "format": "lerobot", **words})
    job = build({"_target_": "workbench.jobs.export.run", "format": "lerobot", "_partial_": True})
    assert job.keywords == {"format": "lerobot"}


def test_nested_targets_stay_what_they_are():
    inner = {"_target_": "os.system", "command": "false", "deeper": [{"_target_": "builtins.eval"}]}
    made = build({"_target_": "workbench.detectors.calibrators.mondrian.Mondrian", "changes": True, "groups": inner})
    assert made.groups == inner
    assert made.groups is not inner
    with pytest.raises(ConfigError, match="refused"):
        build(made.groups)


def test_text_is_text(monkeypatch):
    monkeypatch.setenv("SECRET", "mean")
    for text in ("${oc.env:SECRET}", "${oc.decode:mean}", "${hydra:job.name}", "${width}", "???"):
        with pytest.raises(WorkbenchError) as refused:
            build({"_target_": WINDOW, "kind": text, "width": 2})
        assert repr(text) in str(refused.value)


def test_text_of_a_yaml_file_is_text(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "told")
    (tmp_path / "recipe.yaml").write_text("a: ${oc.env:SECRET}\nb: 1e-3\n")
    assert read_yaml(tmp_path / "recipe.yaml") == {"a": "${oc.env:SECRET}", "b": 1e-3}


@pytest.mark.parametrize(
    "text", ["- 1\n", "1.5", "!!set {a, b}", "!!binary aGk=", "a: !!set {b}", "? [a]\n: 1", "lift", "''"]
)
def test_a_yaml_file_that_is_no_mapping_is_refused(text, tmp_path):
    (tmp_path / "list.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"list\.yaml is no YAML mapping"):
        read_yaml(tmp_path / "list.yaml")


def test_arguments_are_the_parts_own():
    node = {"_target_": "workbench.detectors.scores.entropy.ActionChunkEntropy", "dims": [0, 1]}
    before = json.dumps(node)
    build(node)
    assert json.dumps(node) == before


def test_a_fault_that_somebody_defined_here_replays_and_its_namesake_elsewhere_does_not():
    """A class that is loaded already was handed over by a person; what is not loaded is not looked for."""
    from workbench.envs.faults import Effect, Magnitude, Specification, uniform

    class Nudge(Specification):
        channel, effect, magnitude = "action", Effect, Magnitude("nudge_fraction", 0.1, 1.0)

        def parameters(self, rng):
            return {"nudge_fraction": uniform(rng, (0.1, 0.2))}

    task = Lift()
    record = Nudge().draw(Stream(0, 0), task)
    task.scene().begin(Stream(0, 0), [json.loads(json.dumps(record))])
    with pytest.raises(ConfigError, match="of the package mylab, which is not installed"):
        task.scene().begin(Stream(0, 0), [record | {"target": "mylab.nudge.Nudge"}])


@pytest.mark.parametrize("words", [["plugins=[os]"], ["plugins=[mylab]"], ["++plugins=[json]"]])
def test_no_word_of_the_command_line_adds_a_plug_in(words):
    with pytest.raises(ConfigError, match="refused here"):
        compose(words)
    with pytest.raises(ConfigError, match="not installed here"):
        resolve("mylab.x.Y")


BY_NAME = {
    "workbench/types/trust.py": "the one place",
    "workbench/__init__.py": "the public names",
    "workbench/benchmarking/curves.py": "files of modules that a resolved class imports",
    "envs/__init__.py": "mujoco",
    "envs/robots/robosuite.py": "cv2",
    "envs/sensors/cameras.py": "mujoco's GL contexts, by a name out of three",
    "policies/networks/text.py": "sentence_transformers",
}
"""Files that import modules by a name that is computed, and which."""


def test_code_is_named_in_one_place():
    """No other file imports, instantiates or evaluates what is written somewhere."""
    root, found = Path(__file__).parents[2], set()
    for path in (
        file for folder in ("workbench", "envs", "policies", "detectors") for file in (root / folder).rglob("*.py")
    ):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = node.func if isinstance(node, ast.Call) else None
            name = getattr(called, "id", getattr(called, "attr", ""))
            bare = isinstance(called, ast.Name)
            if name in ("import_module", "__import__", "instantiate") or (bare and name in ("eval", "exec", "compile")):
                found.add(path.resolve().relative_to(root).as_posix())
    assert "workbench/types/trust.py" in found
    assert found - set(BY_NAME) == set()


@pytest.fixture
def bystander(tmp_path, monkeypatch):
    """A module that can be imported and says so; as hostile files would name it."""
    (tmp_path / "bystander.py").write_text(
        "from pathlib import Path\nPath(__file__).with_name('ran').touch()\nclass X: pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "bystander.X"
    assert not (tmp_path / "ran").exists()
    assert "bystander" not in sys.modules


def poisoned(value, target):
    """Every mapping of some plain data with a target of its own."""
    if isinstance(value, dict):
        return {"_target_": target, "target": target, **{key: poisoned(part, target) for key, part in value.items()}}
    return [poisoned(part, target) for part in value] if isinstance(value, list) else value


def test_a_checkpoint_names_no_code(tmp_path, bystander):
    weights = tmp_path / "policy"
    shutil.copytree(ZOO / "lift_flow", weights)
    record = json.loads((weights / "policy.json").read_text())
    (weights / "policy.json").write_text(json.dumps(poisoned(record, bystander)))
    with contextlib.suppress(WorkbenchError):
        made_policy({"_target_": "workbench.policies.flow.FlowPolicy"}, Lift(), weights)
    with pytest.raises(WorkbenchError, match="refused"):
        made_policy({"_target_": bystander}, Lift(), weights)


def test_numbers_and_monitors_of_a_run_name_no_code(tmp_path, bystander):
    run = Run(compose(["name=n"]), tmp_path)
    run.update_metrics(monitors=[{"score": "x", "_target_": bystander}], policy={"_target_": bystander})
    assert run.metrics()["monitors"] == [{"score": "x", "_target_": bystander}]
    (run.folder / "policy").mkdir()
    (run.folder / "config.yaml").write_text(f"policy: {{_target_: {bystander}}}\nplugins: [bystander]\n")
    (run.folder / "policy" / "policy.json").write_text(json.dumps({"_target_": bystander}))
    with pytest.raises(WorkbenchError):
        run.policy()


def test_a_store_names_no_code(tmp_path, bystander):
    """Its records of perturbations, what its header says of policy and task, and a recipe."""
    record = {"name": "x", "target": bystander, "start_step": 0, "stage": None, "predicate": None, "duration_steps": 1}
    scene = Lift().scene()
    with pytest.raises(ConfigError, match="of the package bystander, which is not installed"):
        scene.begin(Stream(0, 0), [record])
    snapshot = scene.snapshot()
    for wrong in (dataclasses.replace(snapshot, perturbations=(record,)),):
        with pytest.raises(ConfigError, match="bystander"):
            scene.restore(wrong)
        with pytest.raises(ConfigError, match="bystander"):
            scene.without_pending(wrong)
    for node in (
        {"_target_": bystander},
        {"_target_": f"{bystander}.y"},
        {"_target_": WINDOW, "kind": {"_target_": bystander}},
    ):
        with pytest.raises(WorkbenchError):
            build(node)
