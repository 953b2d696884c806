"""``workbench serve``: a policy behind a socket is the same policy, and losing it is no failure of it."""

from __future__ import annotations

import dataclasses
import http.client
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.limits import HANG_S
from tests.toy import ToyPolicy, ToyTask
from workbench.config import Run, build, compose
from workbench.errors import ConfigError, PolicyServerError, StoreError, UnknownNameError
from workbench.jobs import replay, rollout
from workbench.policies.flow import FlowPolicy
from workbench.policies.learning.training import train
from workbench.policies.remote import RemotePolicy
from workbench.policies.server import PolicyServer
from workbench.policies.wire import frames as wire
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.setup import setup_of, write_episodes
from workbench.store import Store, StoreWriter
from workbench.types import Demonstration, Episode, Stream, Task, episode_index

SIGNALS = ("denoising_loss", "reconstruction")
LAUNCHES = [Launch(Stream(0, episode_index("test", number))) for number in range(5)]
QUICK: dict[str, Any] = {"retries": 1, "backoff_s": 0.05, "reply_timeout_s": HANG_S}


@pytest.fixture(scope="module")
def task() -> Task:
    made: Task = build(compose(["task=lift"])["task"])
    return made


@pytest.fixture(scope="module")
def checkpoint(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small policy trained on three of the expert's episodes; it need not be good."""
    expert = build(compose(["policy=expert"])["policy"], task=task)
    demonstrations = [
        Demonstration(
            {key.removeprefix("obs/"): rows for key, rows in episode.steps.items() if key.startswith("obs/")},
            episode.steps["action"],
        )
        for episode in Lockstep(task, expert, 3).record(LAUNCHES[:3])
    ]
    policy = FlowPolicy(hidden=32, blocks=1, embedding=8, horizon=8, execute=4, history=2, inference_steps=2)
    train(policy, demonstrations, task=task.name, iterations=60, batch=32, warmup=5)
    folder = tmp_path_factory.mktemp("served") / "policy"
    policy.save(folder)
    return folder


class Served:
    """``workbench serve`` as a process of its own."""

    def __init__(self, checkpoint: Path, port: int = 0) -> None:
        words = ["serve", "name=served", f"checkpoint={checkpoint}", f"job.port={port}"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workbench", *words],
            cwd=checkpoint.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        found = re.search(r"ws://127\.0\.0\.1:(\d+)", self.line)
        assert found, self.line + self.process.communicate()[1]
        self.url, self.port = found[0], int(found[1])

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


@pytest.fixture(scope="module")
def served(checkpoint: Path) -> Iterator[Served]:
    with Served(checkpoint) as server:
        yield server


def rolled(task: Task, policy: Any, scenes: int, signals: Sequence[str] = ()) -> dict[str, Episode]:
    lockstep = Lockstep(task, policy, scenes, samples=3, signals=signals)
    return {episode.record["uid"]: episode for episode in lockstep.record(LAUNCHES)}


def refuse_differences(ours: dict[str, Episode], theirs: dict[str, Episode]) -> None:
    assert ours.keys() == theirs.keys()
    for uid, episode in ours.items():
        other = theirs[uid]
        assert {**episode.record, "policy": ""} == {**other.record, "policy": ""}
        assert episode.steps.keys() == other.steps.keys()
        for key, rows in episode.steps.items():
            assert rows.dtype == other.steps[key].dtype
            np.testing.assert_array_equal(rows, other.steps[key])
        assert episode.calls.keys() == other.calls.keys()
        for key in episode.calls.keys() - {"seconds"}:
            assert episode.calls[key].dtype == other.calls[key].dtype
            np.testing.assert_array_equal(episode.calls[key], other.calls[key])


def test_a_rollout_through_a_server_is_the_rollout_in_this_process_bit_for_bit(
    task: Task, checkpoint: Path, served: Served
) -> None:
    inside = rolled(task, FlowPolicy.load(checkpoint), 3, SIGNALS)
    outside = rolled(task, RemotePolicy(task, url=served.url, **QUICK), 2, SIGNALS)
    refuse_differences(inside, outside)
    for name in SIGNALS:
        values = np.concatenate([episode.calls[f"signals/{name}"] for episode in inside.values()])
        assert values.ndim == 1
        assert len(np.unique(values)) == len(values), "signals must differ, or nothing is tested"
    one, other = list(inside.values())[:2]
    assert not np.array_equal(one.calls["chunk"][0], other.calls["chunk"][0]), (
        "scenes must differ, or nothing is tested"
    )
    assert one.calls["samples"].shape[1:] == (3, 8, 7)
    assert np.ptp(one.calls["samples"], axis=1).max() > 1e-3


def test_a_signal_that_the_served_policy_does_not_give_is_refused_before_the_first_call(
    task: Task, served: Served
) -> None:
    with pytest.raises(UnknownNameError, match=r"denoising_los.*Did you mean 'denoising_loss'"):
        Lockstep(task, RemotePolicy(task, url=served.url, **QUICK), 2, signals=["denoising_los"])


def test_healthz_answers_and_a_page_of_a_browser_is_refused(served: Served) -> None:
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=HANG_S)
    connection.request("GET", "/healthz")
    response = connection.getresponse()
    assert (response.status, response.read()) == (200, b"OK\n")
    connection.close()
    with pytest.raises(InvalidStatus, match="403"), connect(served.url, origin="http://evil.example", proxy=None):
        pass


def refuse_unclean_end(server: Served, number: signal.Signals) -> None:
    server.process.send_signal(number)
    out, err = server.process.communicate(timeout=HANG_S)
    assert (server.process.returncode, err) == (0, "")
    *connections, stopped = out.splitlines()
    assert connections
    for line in connections:
        assert re.fullmatch(r"127\.0\.0\.1:\d+  \d+ answers in .* s  .*", line)
    assert stopped == "stopped"


def test_ctrl_c_ends_it_cleanly_while_a_client_is_connected(checkpoint: Path, task: Task) -> None:
    with Served(checkpoint) as server:
        policy = RemotePolicy(task, url=server.url, **QUICK)
        refuse_unclean_end(server, signal.SIGINT)
        policy.close()


# A server in this process, with a policy whose answers are known.


@dataclasses.dataclass
class Told(ToyPolicy):
    """Moves by a random number, and listens."""

    listens: bool = True

    def plan(self, observation: Any, noise: Any, samples: int = 0, instructions: Any = None) -> Any:
        output = super().plan(observation, noise, samples)
        drawn = noise[0].random()
        return dataclasses.replace(output, chunk=np.full_like(output.chunk, drawn + len(instructions[0])))


@dataclasses.dataclass
class Toy(ToyTask):
    cameras: Any = None


@pytest.fixture
def toy_server() -> Iterator[PolicyServer]:
    server, stop = PolicyServer(Told(), Toy(), port=0, seed=4, frame_limit_mib=1), threading.Event()
    thread = threading.Thread(target=server.serve, args=(stop,))
    thread.start()
    yield server
    stop.set()
    thread.join()


REQUEST = {"observation/place": np.zeros((2, 1)), "prompt": "go"}


def asked(server: PolicyServer, *requests: Any) -> list[Any]:
    """Answers on one connection; the last one may be a text."""
    from websockets.sync.client import connect

    with connect(server.url, compression=None, proxy=None, max_size=None) as connection:
        assert wire.decode(connection.recv())["workbench"]["policy"] == "Told"
        answers = []
        for request in requests:
            connection.send(request if isinstance(request, (str, bytes)) else wire.encode(request))
            frame = connection.recv(timeout=HANG_S)
            answers.append(frame if isinstance(frame, str) else wire.decode(frame))
        if isinstance(answers[-1], str):
            with pytest.raises(Exception, match="1011"):
                connection.recv(timeout=HANG_S)
    return answers


def test_without_noise_of_the_client_the_server_draws_its_own_from_its_seed(toy_server: PolicyServer) -> None:
    first, second = asked(toy_server, REQUEST, REQUEST)
    assert not np.array_equal(first["actions"], second["actions"])
    assert "samples" not in first
    assert first["server_timing"]["infer_ms"] > 0
    again = PolicyServer(Told(), Toy(), port=0, seed=4)
    np.testing.assert_array_equal(again.answer(REQUEST)["actions"], first["actions"])
    np.testing.assert_array_equal(again.answer(REQUEST)["actions"], second["actions"])
    other = PolicyServer(Told(), Toy(), port=0, seed=5)
    assert not np.array_equal(other.answer(REQUEST)["actions"], first["actions"])
    for unused in (again, other):
        unused.serve(_set())


def _set() -> threading.Event:
    stop = threading.Event()
    stop.set()
    return stop


def test_the_instruction_reaches_a_policy_that_listens(toy_server: PolicyServer) -> None:
    policy = RemotePolicy(Toy(), url=toy_server.url, **QUICK)
    seen = {"place": np.zeros((2, 2, 1))}
    noise = [np.random.Generator(np.random.PCG64(7)) for _ in range(2)]
    chunk = policy.plan(seen, noise, 0, ["go", "go on"]).chunk
    np.testing.assert_allclose(chunk[1] - chunk[0], 3.0)


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ("text", "binary frame"),
        (b"\xc1", "0xc1"),
        (b"\x81", "truncated"),
        ([1], "must be a map"),
        ({"prompt": "go"}, "lacks the array 'observation/place'"),
        ({**REQUEST, "observation/place": [0.0, 0.0]}, "lacks the array"),
        ({**REQUEST, "observation/place": np.zeros(2)}, "must be numbers"),
        ({**REQUEST, "observation/place": np.array([["a"], ["b"]])}, "must be numbers"),
        ({"observation/place": np.zeros((2, 1))}, "'prompt'"),
        ({**REQUEST, "sampling/n": -1}, "sampling/n=-1"),
        ({**REQUEST, "sampling/n": 10**9}, "sampling/n"),
        ({**REQUEST, "sampling/n": True}, "sampling/n"),
        ({**REQUEST, "sampling/noise": b"x"}, "sampling/noise"),
        ({**REQUEST, "sampling/signals": "all"}, "must be a list"),
        ({**REQUEST, "sampling/signals": ["doubt"]}, "unknown signal of policy Told 'doubt'"),
    ],
    ids=lambda one: repr(one)[:30],
)
def test_a_bad_request_gets_its_reason_and_the_server_goes_on(
    toy_server: PolicyServer, request_: Any, reason: str
) -> None:
    good, text = asked(toy_server, REQUEST, request_)
    assert good["actions"].shape == (6, 1)
    assert isinstance(text, str)
    assert reason in text.splitlines()[-1]
    assert asked(toy_server, REQUEST)[0]["actions"].shape == (6, 1)


def test_a_request_above_the_limit_is_refused_and_the_server_goes_on(toy_server: PolicyServer) -> None:
    with pytest.raises(Exception, match="1009"):
        asked(toy_server, {**REQUEST, "more": bytes(2**21)})
    assert asked(toy_server, REQUEST)[0]["actions"].shape == (6, 1)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_other_machines_are_kept_out_unless_they_are_allowed(host: str) -> None:
    with pytest.raises(ConfigError, match=r"job\.allow_remote=true"):
        PolicyServer(Told(), Toy(), host=host, port=0)


def test_a_policy_that_needs_the_truth_and_a_taken_port_are_refused(toy_server: PolicyServer) -> None:
    with pytest.raises(ConfigError, match="ground truth"):
        PolicyServer(Told(privileged=True), Toy(), port=0)
    with pytest.raises(PolicyServerError, match=r"another job\.port"):
        PolicyServer(Told(), Toy(), port=int(toy_server.url.rpartition(":")[2]))


# The server is lost in mid-episode.


class Mortal(ToyPolicy):
    """Is lost at its ``calls``-th call."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.left = calls

    def plan(self, observation: Any, noise: Any, samples: int = 0) -> Any:
        self.left -= 1
        if self.left < 0:
            raise PolicyServerError("gone")
        return super().plan(observation, noise, samples)


def until_lost(lockstep: Lockstep) -> list[Episode]:
    """The episodes that come before the server is lost."""
    found = []
    try:
        for episode in lockstep.record(LAUNCHES):
            found.append(episode)
    except PolicyServerError:
        return found
    pytest.fail("the server was never lost")


def test_episodes_under_way_are_aborted_and_finished_ones_are_not() -> None:
    found = until_lost(Lockstep(ToyTask(), Mortal(7), 2))
    assert [(each.record["outcome"], each.record["length"]) for each in found] == [
        ("success", 20),
        ("success", 20),
        ("aborted", 8),
        ("aborted", 8),
    ]
    for each in found[2:]:
        assert (each.record["success"], each.record["failure_mode"]) == (False, "")
        assert {len(rows) for rows in each.steps.values()} == {8}
        assert each.calls["step"].tolist() == [0, 4]


def test_an_episode_without_a_step_is_not_kept_and_branches_only_fail() -> None:
    with pytest.raises(PolicyServerError, match="gone"):
        next(Lockstep(ToyTask(), Mortal(0), 2).record(LAUNCHES))
    with pytest.raises(PolicyServerError, match="gone"):
        Lockstep(ToyTask(), Mortal(3), 2).outcomes(LAUNCHES)


def test_an_aborted_episode_does_not_count_even_if_it_had_succeeded() -> None:
    found = until_lost(Lockstep(ToyTask(), Mortal(8), 1, until="deadline"))
    (each,) = found
    assert each.steps["predicates/success"].any()
    assert (each.record["success"], each.record["outcome"]) == (False, "aborted")


def test_a_store_hides_aborted_episodes_and_lets_them_be_rolled_anew(task: Task, tmp_path: Path) -> None:
    path, whole = tmp_path / "s.zarr", list(Lockstep(ToyTask(), ToyPolicy(), 2).record(LAUNCHES))
    head = dataclasses.replace(setup_of(Run(compose(["policy=expert"]))).header(0, policy="expert"), task="toy")
    with pytest.raises(PolicyServerError):
        write_episodes(path, head, Lockstep(ToyTask(), Mortal(7), 2), LAUNCHES)
    store, everything = Store.open(path), Store.open(path, aborted=True)
    assert (len(store), store.aborted, len(everything)) == (2, 2, 4)
    assert everything.uids[:2] == store.uids
    assert everything.episodes["outcome"].tolist() == ["success", "success", "aborted", "aborted"]
    lost = everything.uids[2]
    np.testing.assert_array_equal(everything.episode(2).steps["action"], whole[2].steps["action"][:8])
    for opened in (store, everything):
        with pytest.raises(StoreError, match="labelled"):
            opened.annotate(lost, outcome="failure")
    with StoreWriter.open(path, head, part="MainProcess") as writer:
        assert writer.committed_uids == set(store.uids)
        for episode in whole[2:]:
            writer.append(episode)
        with pytest.raises(StoreError, match="already holds"):
            writer.append(whole[0])
    store, everything = Store.open(path), Store.open(path, aborted=True)
    assert (len(store), store.aborted, len(everything)) == (5, 0, 5)
    for number in range(5):
        np.testing.assert_array_equal(store.episode(number).steps["action"], whole[number].steps["action"])
    store.annotate(lost, outcome="benign")
    again = Store.open(path)
    assert again.episodes["outcome"][again.uids.index(lost)] == "benign"
    assert (len(again), again.aborted) == (5, 0)
    with StoreWriter.open(path, head, part="other") as writer, pytest.raises(StoreError, match="already holds"):
        writer.append(whole[2])


def run_of(root: Path, url: str, **settings: Any) -> Run:
    words = ["job=rollout", "name=r", "policy=remote_ours", f"policy.url={url}", "runner.workers=1", "runner.scenes=2"]
    quick = ["policy.retries=1", "+policy.backoff_s=0.05", "rollout.samples=3"]
    return Run(compose([*words, *quick]), root)


def roll_five(run: Run) -> None:
    """Roll five episodes, with the job's other settings."""
    settings = {key: value for key, value in run.config["job"].items() if key != "_target_"}
    rollout.run(run, **settings | {"episodes": {"test": 5}})


def test_a_killed_server_ends_the_job_in_one_line_and_the_same_command_goes_on(
    task: Task, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Served(checkpoint) as server:
        run = run_of(tmp_path, server.url)
        whole, calls = RemotePolicy.plan, 0

        def plan(policy: RemotePolicy, *arguments: Any, **told: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 31:  # the first two episodes of 25 calls are over, the next two under way
                server.kill()
            return whole(policy, *arguments, **told)

        monkeypatch.setattr(RemotePolicy, "plan", plan)
        with pytest.raises(PolicyServerError) as caught:
            roll_five(run)
        said = str(caught.value)
        assert "\n" not in said
        assert re.search(r"cannot be asked: .*tried 2 times", said)
        assert "datasets/r.zarr, and 2 that were under way are marked aborted" in said
        assert "2 finished episodes are kept in" in said
        assert said.endswith("run the same command to go on")
        assert "policy" not in run.metrics()
        store = Store.open(run.store)
        assert (len(store), store.aborted) == (2, 2)
        replay.run(run, "all")
        port = server.port
    monkeypatch.undo()
    with Served(checkpoint, port) as again:
        roll_five(run_of(tmp_path, again.url))
        run.update_metrics(server="another")
        with pytest.raises(StoreError, match="begun with a server that says another"):
            roll_five(run_of(tmp_path, again.url))
        refuse_unclean_end(again, signal.SIGTERM)
    store = Store.open(run.store)
    assert (len(store), store.aborted, len(Store.open(run.store, aborted=True))) == (5, 0, 5)
    assert run.metrics()["policy"]["nominal"]["episodes"] == 5
    kept = {uid: store.episode(number) for number, uid in enumerate(store.uids)}
    refuse_differences(kept, rolled(task, FlowPolicy.load(checkpoint), 2))


def test_nobody_at_the_address_is_said_before_there_is_a_store(tmp_path: Path) -> None:
    words = ["policy=remote_ours", "policy.url=ws://127.0.0.1:9", "policy.retries=0", "name=n", "task=push_t"]
    done = subprocess.run(
        [sys.executable, "-m", "workbench", "rollout", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("workbench: the policy server at ws://127.0.0.1:9 cannot be asked: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "datasets").exists()
