"""Parts from a package outside the repository: found where the user installed it, and named by nobody else."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from workbench.benchmarking.curves import code_files
from workbench.config import Run, build, compose, installed_plugins, options_of, resolve
from workbench.config.plugins import GROUP, conf_folders
from workbench.errors import ConfigError
from workbench.testing import new_part
from workbench.testing.new import KINDS

ROOT = Path(__file__).parents[2]
NUMBERS = itertools.count()
"""So that no test meets the modules that another one has imported."""


def written(folder: Path, *kinds: str) -> Path:
    """A package of its own name with a part of each kind, as ``workbench new`` writes it; what is imported of it."""
    root = folder / f"lab_{next(NUMBERS)}"
    for kind in kinds:
        new_part(kind, f"my_{kind}", root)
    return root / root.name


def install(package: Path, site: Path, value: str | None = None) -> Path:
    """Put a package where Python finds it, with the metadata that an installer would write."""
    shutil.copytree(package, site / package.name)
    known = site / f"{package.name}-0.1.dist-info"
    known.mkdir()
    (known / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package.name}\nVersion: 0.1\n")
    (known / "entry_points.txt").write_text(f"[{GROUP}]\n{package.name} = {value or package.name}\n")
    return site


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty current folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def site(tmp_path, monkeypatch) -> Path:
    """A folder from which Python imports."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def local(folder: Path, text: str, name: str = "default.yaml") -> None:
    (folder / "conf" / "local").mkdir(parents=True, exist_ok=True)
    (folder / "conf" / "local" / name).write_text(text)


# -- composed and built by name --------------------------------------------------------------------------------------


def test_an_installed_package_is_composed_and_built_by_name(tmp_path, here, site):
    package = written(tmp_path, *KINDS)
    words = [
        "task=my_task",
        "policy=my_policy",
        *(f"{k}=[my_{k}]" for k in ("score", "perturbation", "strategy", "shield")),
    ]
    with pytest.raises(Exception, match="my_"):
        compose(words)
    install(package, site)
    assert [(plugin.package, plugin.said_by) for plugin in installed_plugins()] == [
        (package.name, f"the distribution {package.name}")
    ]
    assert all(f"my_{kind}" in options_of(kind) for kind in KINDS)
    compose(words)
    assert package.name not in sys.modules, "a package is imported when one of its parts is wanted, not before"
    config = compose([*words, "perturbation.my_perturbation.loss_fraction=0.5", "task.height_m=0.07"])
    run = Run(config)
    assert (run.task.name, run.task.height_m) == ("my_task", 0.07)
    assert run.policy().action_size == 7
    assert build(config["perturbation"]["my_perturbation"]).loss_fraction == (0.5, 0.5)
    assert build(config["strategy"]["my_strategy"]).name == "my_strategy"
    assert build(config["score"]["my_score"]).needs == frozenset()
    assert "plugins" not in config


def test_a_broken_package_is_told_where_its_part_is_wanted_and_nowhere_else(tmp_path, here, site):
    package = written(tmp_path, "score")
    (package / "__init__.py").write_text("import nothing_like_it\n")
    install(package, site)
    node = compose(["score=[my_score]"])["score"]["my_score"]
    with pytest.raises(ConfigError, match=f"{package.name}.* cannot be imported: No module named 'nothing_like_it'"):
        build(node)
    assert compose(["score=[rnd]"])["score"]


def test_what_such_a_package_merely_imports_is_refused(tmp_path, here, site):
    package = written(tmp_path, "score")
    (package / "tools.py").write_text("import os\nfrom subprocess import Popen, run\nfrom workbench import types\n")
    install(package, site)
    for name in ("os.system", "Popen", "run", "types.np.load"):
        with pytest.raises(ConfigError, match="refused"):
            resolve(f"{package.name}.tools.{name}")


def call(folder: Path, *words: str, site: Path | None = None) -> subprocess.CompletedProcess[str]:
    found = {"PYTHONPATH": os.pathsep.join(str(path) for path in (ROOT, site) if path)}
    command = [sys.executable, "-m", "workbench", *words]
    return subprocess.run(command, cwd=folder, env={**os.environ, **found}, capture_output=True, text=True)


def test_a_package_runs_through_the_command_line_and_its_store_replays_where_it_is_installed(tmp_path, here):
    """One score, perturbation, policy, task, strategy and shield, in this process and in workers."""
    package = written(tmp_path, *KINDS)
    (tmp_path / "site").mkdir()
    site = install(package, tmp_path / "site")
    world = ["task=my_task", "name=n"]
    monitored = [*world, "policy=expert", "score=[my_score]", "calibrator=[split_conformal]"]
    for words in (
        ["rollout", *world, "policy=my_policy", "perturbation=[my_perturbation]", "name=moved", "job.episodes.test=2"],
        ["rollout", *world, "policy=expert", "shield=[my_shield]", "name=shielded", "job.episodes.test=2"],
        ["rollout", *world, "policy=expert", "job.episodes={fit: 2, calibrate: 10, test: 1}", "runner.workers=1"],
        ["fit", *monitored],
        ["recover", *monitored, "strategy=[continue,placebo,my_strategy]", "job.monitor=my_score+split_conformal"],
        ["replay", "task=my_task", "name=moved"],
    ):
        done = call(here, *words, site=site)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
    assert "bit for bit: 2 of 2" in done.stdout
    assert "my_perturbation" in call(here, "rollout", "--help", site=site).stdout
    refused = call(here, "replay", "name=moved")
    assert refused.returncode == 1 or refused.returncode == 2
    assert "Traceback" not in refused.stderr
    assert "was made with task 'my_task', not 'lift'" in " ".join(refused.stderr.split())
    unknown = call(here, "rollout", "task=my_task")
    assert "unknown task 'my_task'" in unknown.stderr


# -- who may name one ------------------------------------------------------------------------------------------------


def test_the_users_own_conf_local_names_a_package(tmp_path, here, site):
    package = written(tmp_path, "score")
    shutil.copytree(package, site / package.name)
    assert "my_score" not in options_of("score")
    local(here, f"plugins: [{package.name}]\nseed: 4\n")
    config = compose(["score=[my_score]"])
    assert config["seed"] == 4, "what else stands in conf/local/default.yaml is composed, too"
    assert type(build(config["score"]["my_score"])).__name__ == "MyScore"
    local(here, "seed: 5\n")
    assert "my_score" not in options_of("score")
    with pytest.raises(ConfigError, match="not installed here"):
        build(config["score"]["my_score"])
    local(here, f"plugins: [{package.name}]\n", "another.yaml")
    assert "my_score" in options_of("score")


def test_nothing_else_names_a_package(tmp_path, here, site, monkeypatch):
    """No word, experiment, run folder, store or checkpoint: not even of a package that could be imported."""
    package = written(tmp_path, "score")
    shutil.copytree(package, site / package.name)
    local(here, "seed: 1\n")
    for folder in ("conf/experiment", "runs/mine", "datasets/mine.zarr", "runs/mine/conf/local", "local"):
        (here / folder).mkdir(parents=True)
        (here / folder / "mine.yaml").write_text(f"# @package _global_\nplugins: [{package.name}]\n")
        (here / folder / "default.yaml").write_text(f"plugins: [{package.name}]\n")
    for words in ([f"plugins=[{package.name}]"], ["+experiment=mine"]):
        with pytest.raises(ConfigError, match=f"{package.name}.* is refused here"):
            compose(words)
    assert installed_plugins() == ()
    with pytest.raises(ConfigError, match="not installed here"):
        resolve(f"{package.name}.my_score.MyScore")
    with pytest.raises(ConfigError, match="not installed here"):
        build({"_target_": f"{package.name}.my_score.MyScore"})
    assert package.name not in sys.modules
    monkeypatch.chdir(here / "runs" / "mine")
    assert [plugin.package for plugin in installed_plugins()] == [package.name], "whoever works there says so himself"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plugins: [nowhere_to_be_found]", "names the package of parts 'nowhere_to_be_found', which is not there"),
        ("plugins: mylab", "plugins must be a list of packages, not 'mylab'"),
        ("plugins: [os]", "names 'os' as a package of parts, which it cannot be"),
        ("plugins: [workbench]", "which it cannot be"),
        ("plugins: ['mylab.os']", "which it cannot be"),
        ("plugins: [../mylab]", "which it cannot be"),
        ("plugins: [3]", "which it cannot be"),
        ("a: [", "is no YAML"),
    ],
)
def test_a_wrong_conf_local_is_said_in_one_line_with_its_file(here, text, said):
    local(here, text)
    for attempt in (installed_plugins, lambda: compose([]), lambda: options_of("score"), lambda: resolve("mylab.x.Y")):
        with pytest.raises(ConfigError) as refused:
            attempt()
        assert said in str(refused.value)
        assert "default.yaml" in str(refused.value)
        assert "\n" not in str(refused.value)


def test_an_entry_point_names_a_package_and_nothing_else(tmp_path, here, site):
    install(written(tmp_path, "score"), site, value="subprocess")
    with pytest.raises(
        ConfigError, match=r"distribution lab_.* names 'subprocess' as a package of parts, which it cannot"
    ):
        installed_plugins()


def test_yaml_files_of_the_same_name_are_refused_instead_of_ignored(tmp_path, here, site):
    package, other = written(tmp_path, "score"), written(tmp_path, "score")
    install(package, site)
    conf = site / package.name / "conf"
    (conf / "score" / "rnd.yaml").write_text("rnd: {}\n")
    with pytest.raises(ConfigError, match=f"package {package.name} has a conf/score/rnd.yaml, and so has workbench"):
        compose([])
    (conf / "score" / "rnd.yaml").unlink()
    (conf / "local").mkdir()
    (conf / "local" / "default.yaml").write_text("seed: 9\n")
    with pytest.raises(ConfigError, match=r"conf/local/default.yaml, which is the user's alone"):
        compose([])
    shutil.rmtree(conf / "local")
    install(other, site)
    with pytest.raises(ConfigError, match=rf"{other.name} has a conf/score/my_score.yaml, and so has .*{package.name}"):
        compose([])


def test_the_checkouts_own_conf_is_looked_through_once(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert "conf" not in dict(conf_folders())


# -- what ``workbench new`` writes -----------------------------------------------------------------------------------


def test_generated_parts_are_short_and_pass_their_own_tests_without_an_edit(tmp_path):
    package = written(tmp_path, *KINDS)
    lines = {path.stem: len(path.read_text().splitlines()) for path in package.glob("my_*.py")}
    assert set(lines) == {f"my_{kind}" for kind in KINDS}
    assert max(lines.values()) <= 36
    assert len((package.parent / "README.md").read_text().splitlines()) <= 12
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(package.parent)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=package.parent, env=environment, capture_output=True, text=True)
    assert f"{len(KINDS)} passed" in done.stdout, done.stdout


def test_its_wheel_holds_the_part_the_yaml_and_the_entry_point(tmp_path):
    package = written(tmp_path, "score")
    words = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(package.parent)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert f"{package.name}/conf/score/my_score.yaml" in names
        assert f"{package.name}/my_score.py" in names
        (points,) = [name for name in names if name.endswith("entry_points.txt")]
        assert archive.read(points).decode().split() == [f"[{GROUP}]", package.name, "=", package.name]


def test_nothing_is_overwritten(tmp_path, here):
    first = new_part("score", "first")
    assert first[0] == here / "first" / "first" / "first.py"
    (here / "first" / "README.md").write_text("mine\n")
    before = {path: path.read_bytes() for path in first}
    with pytest.raises(ConfigError, match=r"first\.py.* exists already"):
        new_part("score", "first")
    added = new_part("task", "second", "first")
    assert {path: path.read_bytes() for path in first} == before
    assert not set(added) & set(first)
    (here / "first" / "pyproject.toml").write_text("[project]\nname = 'first'\n")
    with pytest.raises(ConfigError, match="makes no parts known: add"):
        new_part("task", "third", "first")
    assert not list(here.glob("**/third*"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("scroe", "mine"), "Did you mean 'score'"),
        (("score", "rnd"), "there is a score 'rnd' already"),
        (("score", "My-Score"), "lower-case letters"),
        (("score", "class"), "lower-case letters"),
        (("score", "../evil"), "lower-case letters"),
        (("score", ""), "lower-case letters"),
        (("score", "json"), "there is a Python package 'json' already"),
        (
            ("score", "mine", "numpy"),
            "there is a Python package 'numpy' already: choose another folder, such as my_numpy",
        ),
        (("score", "mine", "My Lab"), "folder, whose name is that of the package"),
    ],
)
def test_names_that_cannot_be_are_refused_before_anything_is_written(here, words, said):
    with pytest.raises(ConfigError) as refused:
        new_part(*words)
    assert said in str(refused.value)
    assert not list(here.iterdir())


def test_the_command_line_takes_its_words_in_order(here):
    done = call(here, "new", "score", "mine", "./some-lab")
    assert done.returncode == 0, done.stderr
    assert (here / "some-lab" / "some_lab" / "mine.py").is_file()
    assert "pip install -e some-lab" in " ".join(done.stdout.split())
    assert "workbench fit name=mine" in " ".join(done.stdout.split())


def test_the_code_behind_a_score_is_that_of_its_whole_package(tmp_path, here, site):
    """So that curves of a benchmark are computed anew when a helper of it changes."""
    package = written(tmp_path, "score")
    (package / "helper.py").write_text("from .deeper import FACTOR\nfrom . import beside\n")
    (package / "deeper.py").write_text("FACTOR = 1\n")
    (package / "beside.py").write_text("import os\n")
    file = package / "my_score.py"
    file.write_text(f"from {package.name}.helper import FACTOR\n{file.read_text()}")
    install(package, site)
    found = {path.name for path in code_files(f"{package.name}.my_score.MyScore")}
    assert found == {"my_score.py", "helper.py", "deeper.py", "beside.py"}
    with pytest.raises(ConfigError, match="refused"):
        code_files("os.path.join")
