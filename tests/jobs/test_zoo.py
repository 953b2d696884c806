"""The zoo: what it holds is what its cards say, and nothing but publishing writes there."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from workbench.config import ZOO, Run, build, compose, parts, resolve, weights_digest
from workbench.errors import CheckpointError, ConfigError, UnknownNameError
from workbench.execution import chain as stages
from workbench.jobs import quickstart
from workbench.jobs import zoo as job
from workbench.policies.learning import checkpoint
from workbench.reporting import entry as entries
from workbench.reporting import zoo
from workbench.reporting.zoo import CARD, MOST_BYTES, MOST_BYTES_IN_ALL, card_text, cards, read_card
from workbench.rollouts.setup import setup_of
from workbench.store import Store

ROOT = Path(__file__).parents[2]
ENTRIES = sorted(path.name for path in ZOO.iterdir() if path.is_dir())
YAMLS = sorted(path.stem for path in (ROOT / "conf/policy/zoo").glob("*.yaml"))
WORDS = [
    "job=zoo",
    "+experiment=zoo/lift_flow",
    "name=tiny",
    "policy.hidden=32",
    "policy.blocks=1",
    "policy.embedding=8",
    "job.demonstrations=6",
    "job.trainer.iterations=20",
    "job.episodes=3",
    "job.seeds=[1,0]",
    "runner.workers=1",
]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module", autouse=True)
def _nothing_writes_to_the_zoo():
    before = contents(ZOO)
    yield
    assert contents(ZOO) == before


# What it holds


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_is_what_its_card_says(entry):
    folder, facts = ZOO / entry, read_card(ZOO / entry / CARD)
    record = json.loads((folder / "policy.json").read_text())
    assert {path.name for path in folder.iterdir()} == {"policy.json", record["weights"], CARD}
    data = (folder / record["weights"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == record["sha256"] == facts["sha256"]
    assert (facts["entry"], facts["bytes"], facts["licence"]) == (entry, len(data), "CC-BY-4.0")
    for ours, theirs in (("task", "task"), ("policy", "policy"), ("config", "config"), ("observations", "layout")):
        assert facts[ours] == record[theirs]
    assert facts["recipe"].items() <= record["recipe"].items()
    assert record["recipe"]["seed"] == facts["seeds"][0]["seed"], "the weights are the first seed's, not the best one's"
    assert (folder / CARD).read_text() == card_text(facts), "the text is made from the front part alone"
    assert {each["episodes"] for each in facts["seeds"]} == {facts["seeds"][0]["episodes"]}


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_loads_for_its_task(entry):
    run = Run(compose([f"policy=zoo/{entry}", f"task={read_card(ZOO / entry / CARD)['task']}"]))
    policy = run.policy()
    assert (
        sum(weights.numel() for weights in policy.network.parameters()) == read_card(ZOO / entry / CARD)["parameters"]
    )


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_command_of_a_card_asks_for_what_the_card_says(entry):
    facts = read_card(ZOO / entry / CARD)
    program, name, *words = shlex.split(facts["command"])
    assert (program, name) == ("workbench", "zoo")
    run = Run(compose(["job=zoo", *words]))
    asked = run.config["job"]
    assert (asked["entry"], run.task.name, run.seed) == (entry, facts["task"], facts["run_seed"])
    assert asked["demonstrations"] == facts["demonstrations"]["episodes"]
    assert asked["seeds"] == [each["seed"] for each in facts["seeds"]]
    assert asked["episodes"] == facts["seeds"][0]["episodes"]
    for key, value in asked["trainer"].items():
        assert facts["recipe"].get(key, value) == value
    policy = run.policy(trained=False)
    assert type(policy).__name__ == facts["policy"]
    learnt = {key: facts["config"][key] for key, value in policy.config.items() if value is None}
    assert policy.config | learnt == facts["config"]


def test_the_repository_bears_it():
    sizes = {entry: sum(path.stat().st_size for path in (ZOO / entry).iterdir()) for entry in ENTRIES}
    assert max(sizes.values()) <= MOST_BYTES == 8_000_000
    assert sum(sizes.values()) <= MOST_BYTES_IN_ALL == 40_000_000


def test_every_entry_has_its_yaml_and_every_yaml_its_recipe():
    assert set(ENTRIES) <= set(YAMLS)
    assert [path.stem for path in sorted((ROOT / "conf/experiment/zoo").glob("*.yaml"))] == YAMLS


@pytest.mark.parametrize("entry", YAMLS)
def test_yaml_and_recipe_name_the_same_policy(entry):
    node = compose([f"policy=zoo/{entry}"])["policy"]
    assert set(node) == {"_target_", "zoo", "execute", "inference_steps"}
    assert node["zoo"] == entry
    lines = (ROOT / f"conf/policy/zoo/{entry}.yaml").read_text().splitlines()
    assert f"policies/zoo/{entry}/card.md" in "".join(line for line in lines[:2] if line.startswith("# "))
    recipe = (ROOT / f"conf/experiment/zoo/{entry}.yaml").read_text().splitlines()
    assert recipe[:2] == ["# @package _global_", f"# workbench zoo +experiment=zoo/{entry}"]
    made = compose(["job=zoo", f"+experiment=zoo/{entry}"])
    assert (made["name"], made["job"]["entry"], made["policy"]["_target_"]) == (entry, entry, node["_target_"])
    assert made["job"]["about"]
    policy = Run(made).policy(trained=False)
    used = Run(compose([f"policy=zoo/{entry}", f"task={Run(made).task.name}"]))
    assert bool(policy.cameras) == bool(used.config["task"]["cameras"]), "a policy that sees brings its cameras"
    if entry in ENTRIES:
        assert read_card(ZOO / entry / CARD)["policy"] == type(policy).__name__ == resolve(node["_target_"]).__name__


# policy=zoo/...


def test_a_policy_of_the_zoo_brings_its_configuration_and_takes_what_weights_do_not_depend_on(tmp_path):
    own = Run(compose(["policy=zoo/lift_flow"]), tmp_path).policy()
    words = ["policy=zoo/lift_flow", "policy.execute=3", "policy.inference_steps=2"]
    other = Run(compose(words), tmp_path).policy()
    record = json.loads((ZOO / "lift_flow/policy.json").read_text())
    assert own.config == record["config"]
    assert (own.execute, own.inference_steps) == (own.config["execute"], own.config["inference_steps"])
    assert other.config == own.config | {"execute": 3, "inference_steps": 2}
    assert (other.execute, other.inference_steps) == (3, 2)
    observation = {key: np.zeros((1, own.history, size)) for key, size in own.layout.items()}
    chunks = [
        policy.plan(observation, [np.random.default_rng(0)]).chunk
        for policy in (other, own.altered({"inference_steps": 2}), own)
    ]
    assert (chunks[0] == chunks[1]).all()
    assert (chunks[0] != chunks[2]).any()
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["task=stack"], r"zoo/lift_flow was trained on task=lift, not on task=stack"),
        (["policy.execute=99"], "policy.execute=99 must not exceed policy.horizon"),
        (["policy.execute=0"], "policy.execute=0 must be a whole number"),
        (["+policy.hidden=64"], "'hidden'.*Known: execute, guidance, inference_steps, self_guidance"),
        (["checkpoint=runs/mine/policy"], "checkpoint=runs/mine/policy and policy=zoo/lift_flow both name weights"),
    ],
)
def test_what_a_policy_of_the_zoo_cannot_do_is_refused(tmp_path, words, said):
    with pytest.raises((ConfigError, CheckpointError), match=said) as caught:
        Run(compose(["policy=zoo/lift_flow", *words]), tmp_path).policy()
    assert "\n" not in str(caught.value)


def test_damaged_weights_of_the_zoo_are_refused_as_such(tmp_path, monkeypatch):
    shutil.copytree(ZOO / "lift_flow", tmp_path / "lift_flow")
    monkeypatch.setattr(parts, "ZOO", tmp_path)
    (path,) = (tmp_path / "lift_flow").glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="truncated or changed"):
        Run(compose(["policy=zoo/lift_flow"]), tmp_path).policy()
    with pytest.raises(CheckpointError, match=r"no weights for stack_flow yet.*\+experiment=zoo/stack_flow"):
        Run(compose(["policy=zoo/stack_flow", "task=stack"]), tmp_path).policy()


def test_there_is_nothing_to_train(tmp_path):
    run = Run(compose(["job=train", "policy=zoo/lift_flow"]), tmp_path)
    with pytest.raises(ConfigError, match="nothing to train"):
        build({**run.config["job"], "_partial_": True})(run)


def test_a_card_is_no_part_of_the_weights(tmp_path):
    shutil.copytree(ZOO / "lift_flow", tmp_path / "a")
    before = weights_digest(tmp_path / "a")
    assert before == setup_of(Run(compose(["policy=zoo/lift_flow"]), tmp_path)).header(0).config["weights"] != ""
    (tmp_path / "a" / CARD).write_text("other words")
    assert weights_digest(tmp_path / "a") == before
    (path,) = (tmp_path / "a").glob("*.safetensors")
    path.write_bytes(b"other weights")
    assert weights_digest(tmp_path / "a") != before


def test_another_policy_can_be_one_of_the_zoo(tmp_path, monkeypatch):
    node = compose(["perturbation=[other_policy]"])["perturbation"]["other_policy"]
    policy = Run(compose(["policy=zoo/lift_flow"])).policy()
    monkeypatch.chdir(tmp_path)  # wherever it is run
    assert node["checkpoint"] == "zoo/lift_flow"
    build(node).suits(policy)
    assert checkpoint.located("zoo/lift_flow").resolve() == (ZOO / "lift_flow").resolve()
    assert checkpoint.located("./zoo/lift_flow") == Path("zoo/lift_flow")
    assert checkpoint.located("runs/zoo/policy") == Path("runs/zoo/policy")
    with pytest.raises(UnknownNameError, match="Did you mean 'lift_flow'"):
        build(node | {"checkpoint": "zoo/lift_flwo"}).suits(policy)
    with pytest.raises(UnknownNameError, match="policy of the zoo"):
        checkpoint.located("zoo/../../etc")


# quickstart


@pytest.fixture
def chain(tmp_path, monkeypatch):
    """Which jobs a quickstart runs, without running any."""

    def started(*words: str, weights: str = "as they are") -> tuple[list[str], dict[str, str]]:
        jobs: list[str] = []

        def note(node):
            def stub(run):
                jobs.append(node["_target_"].split(".")[-2])
                for made in (run.demos, run.store):
                    made.mkdir(parents=True, exist_ok=True)

            return stub

        monkeypatch.setattr(stages, "job_of", note)
        monkeypatch.setattr(quickstart, "close", lambda run: None)
        monkeypatch.setattr(stages, "weights_digest", lambda folder: f"{folder} {weights}")
        asked = ["job=quickstart", "+experiment=quickstart", *words]
        run = Run(compose(asked), tmp_path, asked)
        quickstart.run(run, run.config["job"]["stages"])
        return jobs, {
            name: row["made_with"] for name, row in json.loads((run.folder / "stages.json").read_text()).items()
        }

    return started


def test_quickstart_with_a_policy_of_the_zoo_trains_none(chain, capsys):
    jobs, _ = chain("policy=zoo/lift_flow")
    assert "train" not in jobs
    assert {"collect", "rollout", "label", "fit", "recover", "report"} <= set(jobs)
    assert "train: weights from the zoo (lift_flow)" in capsys.readouterr().out
    assert chain("policy=zoo/lift_flow")[0] == []


def test_quickstart_collects_for_the_head_alone(chain):
    jobs, _ = chain("policy=zoo/lift_flow", "strategy=[continue,placebo,expert]")
    assert not {"collect", "train"} & set(jobs)
    assert "recover" in jobs


def test_quickstart_rolls_again_for_other_weights_or_settings_and_leaves_the_zoo_alone(chain, tmp_path):
    _, first = chain("policy=zoo/lift_flow")
    for changed in ({"weights": "others"}, {}):
        jobs, marks = chain("policy=zoo/lift_flow", *(() if changed else ("policy.execute=4",)), **changed)
        assert {"rollout", "fit", "label"} <= set(jobs)
        assert "collect" not in jobs
        assert marks["rollout"] != first["rollout"]
    assert len(list((tmp_path / "datasets").glob("quickstart.before-*.zarr"))) >= 1


# The job


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make(folder)
    return folder


def make(folder: Path, *words: str) -> Run:
    """Run the job in this process."""
    run = Run(compose([*WORDS, *words]), folder, [*WORDS, *words])
    build({**run.config["job"], "_partial_": True})(run)
    return run


def test_a_card_tells_what_was_made(made):
    facts = read_card(made / "runs/tiny" / CARD)
    assert facts == json.loads((made / "runs/tiny/metrics.json").read_text())["zoo"]
    assert (made / "runs/tiny" / CARD).read_text() == card_text(facts)
    assert facts["demonstrations"]["episodes"] == 6
    assert [each["seed"] for each in facts["seeds"]] == [1, 0]
    for each in facts["seeds"]:
        rows = Store.open(made / f"datasets/tiny-seed{each['seed']}.zarr").episodes
        assert (len(rows["success"]), sum(rows["success"])) == (each["episodes"], each["successes"])
        assert set(rows["split"]) == {"test"}
        assert set(rows["perturbation"]) == {""}
        assert each["wall_s"] > 0 < each["cpu_s"]
        assert set(each["error"]) == {"position", "rotation", "gripper"}
    words = shlex.split(facts["command"])
    assert words[:3] == ["workbench", "zoo", "+experiment=zoo/lift_flow"]
    assert "policy.hidden=32" in words
    assert not [word for word in words if word.startswith(("job=", "runner.", "job.publish"))]


def test_only_the_training_differs_between_seeds(made):
    stores = [Store.open(made / f"datasets/tiny-seed{seed}.zarr") for seed in (0, 1)]
    records = [json.loads((made / f"runs/tiny-seed{seed}/policy/policy.json").read_text()) for seed in (0, 1)]
    assert list(stores[0].episodes["seed"]) == list(stores[1].episodes["seed"])
    assert list(stores[0].episodes["index"]) == list(stores[1].episodes["index"])
    assert [record["recipe"]["seed"] for record in records] == [0, 1]
    assert records[0]["sha256"] != records[1]["sha256"]
    assert [path.name for path in (made / "datasets").glob("*-demos.zarr")] == ["tiny-demos.zarr"]
    assert not any(name.startswith(("images", "samples")) for name in stores[0].episode(0).steps)


def test_a_second_call_keeps_what_there_is(made, capsys):
    before = contents(made)
    make(made)
    assert capsys.readouterr().out.count("up to date") == 5
    assert contents(made) == before


def test_an_interrupted_one_goes_on(made, tmp_path):
    shutil.copytree(made, tmp_path / "x")
    shutil.rmtree(tmp_path / "x/datasets/tiny-seed0.zarr")
    shutil.rmtree(tmp_path / "x/runs/tiny-seed0")
    before = contents(tmp_path / "x")
    make(tmp_path / "x")
    after = contents(tmp_path / "x")
    name = next(name for name in after if name.startswith("runs/tiny-seed0/policy/weights"))
    assert after[name] == (made / name).read_bytes()
    kept = {name for name in before if "seed1" in name or "demos" in name}
    assert kept
    assert all(before[name] == after[name] for name in kept)


def test_other_settings_are_refused_or_set_aside(made, tmp_path):
    shutil.copytree(made, tmp_path / "x")
    before = contents(tmp_path / "x")
    for word in ("job.trainer.iterations=21", "job.demonstrations=7", "job.episodes=2", "policy.hidden=16"):
        with pytest.raises(ConfigError, match=r"of other settings; choose another name=..., or overwrite=true"):
            make(tmp_path / "x", word)
        assert contents(tmp_path / "x") == before
    make(tmp_path / "x", "job.episodes=2", "job.seeds=[1]", "overwrite=true")
    facts = read_card(tmp_path / "x/runs/tiny" / CARD)
    assert [(each["seed"], each["episodes"]) for each in facts["seeds"]] == [(1, 2)]
    after = contents(tmp_path / "x")
    weights = [name for name in before if name.startswith("runs/tiny-seed1/policy/weights")]
    assert [name for name in after if name.startswith("runs/tiny-seed1/policy/weights")] == weights
    assert [path for path in (tmp_path / "x/datasets").iterdir() if ".before-" in path.name]


def test_the_first_seed_is_published_whatever_the_others_did(made, tmp_path, monkeypatch):
    monkeypatch.setattr(entries, "ZOO", tmp_path)
    (tmp_path / "lift_flow").mkdir()
    (tmp_path / "lift_flow/weights-old.safetensors").write_bytes(b"old")
    make(made, "job.publish=true")
    published = contents(tmp_path / "lift_flow")
    assert {**published, CARD: b""} == {**contents(made / "runs/tiny-seed1/policy"), CARD: b""}
    assert published[CARD] == (made / "runs/tiny" / CARD).read_bytes()
    assert cards(tmp_path)["lift_flow"]["sha256"] == json.loads(published["policy.json"])["sha256"]


def test_only_a_source_tree_is_published_into(tmp_path, monkeypatch):
    monkeypatch.setattr(entries, "SOURCE", tmp_path)
    with pytest.raises(ConfigError, match="installed without one"):
        make(tmp_path, "job.publish=true")
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("limit", ["MOST_BYTES", "MOST_BYTES_IN_ALL"])
def test_what_is_too_big_is_not_published(made, tmp_path, monkeypatch, limit):
    monkeypatch.setattr(entries, "ZOO", tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / CARD).write_bytes(b"-" * 1000)
    size = sum(map(len, contents(made / "runs/tiny-seed1/policy").values())) + len(
        (made / "runs/tiny" / CARD).read_bytes()
    )
    fits = size + (1000 if limit == "MOST_BYTES_IN_ALL" else 0)
    monkeypatch.setattr(entries, limit, fits - 1)
    before = contents(tmp_path)
    with pytest.raises(ConfigError, match="make it smaller"):
        entries.publish(made / "runs/tiny-seed1/policy", made / "runs/tiny" / CARD, "lift_flow")
    assert contents(tmp_path) == before
    monkeypatch.setattr(entries, limit, fits)
    entries.publish(made / "runs/tiny-seed1/policy", made / "runs/tiny" / CARD, "lift_flow")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["job.seeds=[]"], "one at least"),
        (["job.seeds=[0,0]"], "different"),
        (["job.seeds=[-1]"], "of 0 or more"),
        (["job.episodes=0"], "job.episodes=0 must be at least 1"),
        (["job.demonstrations=0"], "job.demonstrations=0 must be at least 1"),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_is_made(tmp_path, words, said):
    with pytest.raises(ConfigError, match=said):
        make(tmp_path, *words)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("policy", ["expert", "zoo/lift_flow"])
def test_only_what_can_be_trained_is_made(tmp_path, policy):
    run = Run(compose(["job=zoo", "+experiment=zoo/lift_flow", f"policy={policy}"]), tmp_path)
    with pytest.raises(ConfigError, match="cannot be trained"):
        build({**run.config["job"], "_partial_": True})(run)


def test_without_an_entry_it_lists_what_there_is(tmp_path, monkeypatch, capsys):
    run = Run(compose(["job=zoo"]), tmp_path)
    build({**run.config["job"], "_partial_": True})(run)
    said = capsys.readouterr().out
    for entry, facts in cards().items():
        assert f"zoo/{entry}" in said
        assert f"{facts['seeds'][0]['successes']}/{facts['seeds'][0]['episodes']}" in said
    monkeypatch.setattr(job, "listed", lambda: zoo.listed(tmp_path))
    build({**run.config["job"], "_partial_": True})(run)
    assert "the zoo is empty" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["no front part", "---\nnot json\n---\nx", "x\n---\n{}\n---\n"])
def test_a_card_without_its_front_part_is_refused(tmp_path, text):
    (tmp_path / CARD).write_text(text)
    with pytest.raises(CheckpointError, match=CARD):
        read_card(tmp_path / CARD)
