"""What each attributor names, on logs whose answer is known by construction."""

from __future__ import annotations

import dataclasses
import http.server
import json
import math
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from workbench.attribution.attributors.at_share import AtShare
from workbench.attribution.attributors.causal_walk import CausalWalk
from workbench.attribution.attributors.dependency_search import DependencySearch
from workbench.attribution.attributors.first_alarm import FirstAlarm
from workbench.attribution.attributors.first_mode import FirstMode
from workbench.attribution.attributors.language_model import LanguageModel, read_answer
from workbench.attribution.attributors.largest_jump import LargestJump
from workbench.attribution.attributors.nearest_success import NearestSuccess
from workbench.attribution.attributors.prefix_auditor import PrefixAuditor
from workbench.attribution.attributors.random_step import RandomStep
from workbench.attribution.attributors.reading.text import MOST_LINES, as_text
from workbench.attribution.attributors.reading.tokens import tokens
from workbench.attribution.attributors.spectrum import LAMBDA, Spectrum, SpectrumBased, famas, ochiai, spectra_of

from workbench.attribution.attributors.spectrum import dstar, kulczynski2, tarantula  # isort: skip
from workbench.attribution.attributors.twin_divergence import TwinDivergence
from workbench.errors import ConfigError, PolicyServerError, ScoreError, UnknownNameError, WireError
from workbench.testing.attributor import TASK, made_up
from workbench.types.attribution import Attribution, Case, EpisodeLog, Lesson, Watched

MONITOR = "m"


def case(astray: int = 30, seed: int = 70, **more) -> Case:
    return Case(made_up(seed, astray, MONITOR), TASK, **more)


def lessons(successes: int = 8) -> list[Lesson]:
    won = [Lesson(made_up(200 + seed, None, MONITOR)) for seed in range(successes)]
    at = [12 + 4 * number for number in range(8)]
    return [*won, *(Lesson(made_up(30 + n, step, MONITOR), (step, step + 8)) for n, step in enumerate(at))]


def taught(attributor):
    attributor.fit(lessons(), TASK, 0)
    return attributor


@pytest.mark.parametrize(("share", "step"), [(0.0, 0), (0.5, 30), (1.0, 59)])
def test_a_share_of_the_episode(share, step):
    assert AtShare(share).attribute(case()) == Attribution((step,))


def test_random_steps_are_all_steps_in_an_order_of_the_case():
    first = RandomStep().attribute(case(seed=1)).steps
    assert sorted(first) == list(range(60))
    assert first != RandomStep().attribute(dataclasses.replace(case(), seed=1)).steps
    named = [RandomStep().attribute(dataclasses.replace(case(), seed=seed)).steps[0] for seed in range(600)]
    assert 25 < np.mean(named) < 34, "uniform over the episode"


def watching(score, alarm) -> Case:
    log = dataclasses.replace(made_up(1, 30, MONITOR), monitors={MONITOR: Watched(np.array(score), np.array(alarm))})
    return Case(log, TASK)


def test_the_first_alarm_and_nothing_without_one():
    quiet = [False] * 15
    assert FirstAlarm(MONITOR).attribute(watching([0.0] * 15, [*quiet[:4], True, False, True, *quiet[7:]])).steps == (
        16,
    )
    assert FirstAlarm(MONITOR).attribute(watching([0.0] * 15, quiet)).steps == ()
    with pytest.raises(ScoreError, match=r"reads monitor rnd, and there is no such one; there are: m\. Fit it first"):
        FirstAlarm("rnd").attribute(case())


def test_the_largest_jump_is_ranked_by_its_size():
    score = [0.0, 0.0, 1.0, 1.0, 5.0, 5.0, 7.0, *[7.0] * 8]
    steps = LargestJump(MONITOR).attribute(watching(score, [False] * 15)).steps
    assert steps[:3] == (12, 20, 4), "calls 3, 5 and 1, every four steps: those before the rise"


def test_the_first_mode():
    assert FirstMode().attribute(case(30)).steps == (50,)
    silent = dataclasses.replace(made_up(1, 30, MONITOR), modes=np.zeros(60, np.uint16))
    assert FirstMode().attribute(Case(silent, TASK)).steps == ()


def test_the_first_divergence_from_the_twin_is_that_of_the_action_before_it_shows():
    log, twin = made_up(5, 30, MONITOR), made_up(5, None, MONITOR)
    (step,) = TwinDivergence(0.1).attribute(Case(log, TASK, twin=twin)).steps
    assert 29 <= step <= 33
    assert TwinDivergence(0.1).attribute(Case(log, TASK, twin=log)).steps == ()
    assert TwinDivergence(0.1).attribute(Case(log, TASK)).steps == ()


@pytest.mark.parametrize(
    ("attributor", "bound"),
    [(NearestSuccess(), 12), (CausalWalk(), 3), (PrefixAuditor(), 4), (DependencySearch(), 8)],
    ids=lambda part: type(part).__name__,
)
def test_what_learns_finds_where_made_up_episodes_go_astray(attributor, bound):
    attributor.fit(lessons(40), TASK, 0)
    cases = [(case(astray, 100 + astray), astray) for astray in range(12, 44, 2)]
    errors = [abs(attributor.attribute(one).steps[0] - astray) for one, astray in cases]
    assert np.median(errors) <= bound


@pytest.mark.parametrize(
    "attributor",
    [NearestSuccess(), CausalWalk(), PrefixAuditor(), DependencySearch(), DependencySearch(3)],
    ids=lambda a: type(a).__name__,
)
def test_what_learns_says_what_it_lacks(attributor):
    with pytest.raises(ScoreError, match=r"nominal successes of the fit split, and there are 1.*workbench rollout"):
        attributor.fit(lessons()[:1], TASK, 0)


@pytest.mark.parametrize("attributor", [PrefixAuditor(), DependencySearch()], ids=lambda a: type(a).__name__)
def test_what_learns_from_failures_says_so(attributor):
    with pytest.raises(ScoreError, match=r"with a decisive step, and there are 0.*workbench label"):
        attributor.fit(lessons()[:8], TASK, 0)


def test_executed_search_finds_the_earliest_correction_that_suffices_and_asks_no_more_than_its_budget():
    asked: list[int] = []

    def correct(step: int, steps: int) -> bool:
        asked.append(step)
        return 20 <= step <= 32

    search = taught(DependencySearch(budget=8, steps=16))
    found = search.attribute(case(24, 90, correct=correct)).steps[0]
    assert len(asked) == len(set(asked)) <= 8
    assert 20 <= found <= 32
    assert found == min(step for step in asked if 20 <= step <= 32)
    asked.clear()
    taught(DependencySearch(budget=2)).attribute(case(24, 90, correct=correct))
    assert len(asked) <= 2


# -- spectra ----------------------------------------------------------------------------------------------------------


OF = Spectrum(
    failed=4, passed=6, in_failed=3, in_passed=2, decayed_failed=2.7, decayed_passed=1.9, in_judged=2,
    share_of_stage=0.4, runs_share=0.5,
)  # fmt: skip


@pytest.mark.parametrize(("formula", "value"), [
    (ochiai, 3 / math.sqrt(4 * 5)),
    (tarantula, (3 / 4) / (3 / 4 + 2 / 6)),
    (dstar, 9 / (2 + 1)),
    (kulczynski2, (3 / 4 + 3 / 5) / 2),
    (famas, (1 + math.log(2) / math.log(1 / 0.9)) * (2.7 / 3.7 + 2.7 / 4.6) / 2 * 1.4 * 1.5),
])  # fmt: skip
def test_formulas_are_those_of_their_papers(formula, value):
    assert formula(OF) == pytest.approx(value)


def test_formulas_bear_runs_that_all_failed_and_a_token_of_every_failure():
    alone = Spectrum(3, 0, 3, 0, 3.0, 0.0, 1, 1.0, 1.0)
    assert (ochiai(alone), tarantula(alone), dstar(alone), kulczynski2(alone)) == (1.0, 1.0, math.inf, 1.0)
    assert famas(alone) == pytest.approx(4.0)


def test_spectra_count_runs_occurrences_and_stages():
    a, b, c = (0, "free", "+x"), (0, "held", "+x"), (1, "held", "+z")
    found = spectra_of([([a, b, a], False), ([a, c], True), ([b, a, a, a], False), ([c], True)])
    assert set(found) == {a, b}
    assert found[a] == Spectrum(2, 2, 2, 1, LAMBDA + LAMBDA**2, 1.0, 2, 2 / 3, 3 / 3)
    assert found[b] == Spectrum(2, 2, 2, 0, 2.0, 0.0, 1, 1 / 3, 2 / 3)


def test_tokens_are_stage_contact_and_direction_and_stand_until_another_one_does():
    at = np.arange(60)
    place = np.where(at < 20, 0.01 * at, 0.19)
    predicates = {
        "x": place,
        "y": np.zeros(60),
        "z": np.where(at > 30, 0.0 - 0.01 * (at - 30), 0.0),
        "held": (at > 40) * 1.0,
    }
    log = dataclasses.replace(made_up(0, 30, MONITOR), predicates={**made_up(0, 30, MONITOR).predicates, **predicates})
    assert [(each.token, each.step) for each in tokens(log, TASK)] == [
        ((0, "free", "still"), 0), ((0, "free", "+x"), 1), ((0, "free", "still"), 20), ((0, "free", "-z"), 31),
        ((1, "free", "-z"), 36), ((1, "held", "-z"), 41),
    ]  # fmt: skip


@pytest.mark.parametrize("formula", ["ochiai", "tarantula", "dstar", "kulczynski2"])
def test_a_spectrum_points_at_what_failed_runs_alone_do(formula):
    runs = tuple(made_up(7, 30 if number % 2 else None, MONITOR, number + 1) for number in range(12))
    found = SpectrumBased(formula).attribute(case(30, 7, reruns=runs))
    assert abs(found.steps[0] - 30) <= 3, "the hand goes aside there, as it does in no successful run"
    with pytest.raises(UnknownNameError, match="ochiai"):
        SpectrumBased("ochia")


# -- a language model -------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[dict[str, object]]:
    """A stub of a chat server: what it is asked, and what it answers."""
    said: dict[str, object] = {"status": 200, "answer": 'I think.\n{"step": 28, "confidence": 0.7}', "asked": []}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            said["asked"].append((self.path, json.loads(body)))  # type: ignore[attr-defined]
            answer = said.get("raw") or json.dumps({"choices": [{"message": {"content": said["answer"]}}]}).encode()
            self.send_response(int(str(said["status"])))
            self.send_header("Content-Length", str(len(answer)))  # type: ignore[arg-type]
            self.end_headers()
            self.wfile.write(answer)  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    said["url"] = f"http://127.0.0.1:{listening.server_address[1]}/v1"
    yield said
    listening.shutdown()
    listening.server_close()
    thread.join()


def test_a_language_model_is_asked_in_three_stages_and_shown_the_log_alone(server):
    found = LanguageModel(server["url"], model="small").attribute(case())
    assert found == Attribution((28,), 0.7)
    ((path, asked),) = server["asked"]
    assert (path, asked["model"], asked["temperature"]) == ("/v1/chat/completions", "small", 0)
    text = asked["messages"][1]["content"]
    assert [word for word in ("1. Abduct", "2. Act", "3. Predict") if word in text] == [
        "1. Abduct",
        "2. Act",
        "3. Predict",
    ]
    assert "step 56" in text
    assert "pick up the cube" in text


@pytest.mark.parametrize(("answer", "steps"), [
    ("none", ()), ('{"step": 60}', ()), ('{"step": -1}', ()), ('{"step": "12"}', ()), ('{"step": 12.0}', ()),
    ('{"step": true}', ()), ('{"step": 3} no, {"step": 12, "confidence": 7}', (12,)), ('{"step": 12', ()),
    ('```json\n{"step": 12}\n``` {"other": 1}', (12,)), ("[" * 100_000, ()),
])  # fmt: skip
def test_an_answer_without_a_step_of_the_episode_names_none(answer, steps):
    assert read_answer(answer, 60).steps == steps


@pytest.mark.parametrize(("change", "error", "said"), [
    ({"status": 500}, PolicyServerError, "refuses with status 500"),
    ({"raw": b"hello"}, WireError, "the answer of the language model"),
    ({"raw": b"\xff\xfe"}, WireError, "is no text"),
    ({"raw": b'{"choices": []}'}, WireError, "choices"),
    ({"raw": b'{"choices": [{"message": {"content": 3}}]}'}, WireError, "content"),
    ({"raw": b"a" * (2**20 + 2)}, WireError, "more than 1048576 bytes"),
])  # fmt: skip
def test_what_a_server_does_wrong_is_said_in_one_line(server, change, error, said):
    server.update(change)
    with pytest.raises(error, match=said):
        LanguageModel(server["url"]).attribute(case())


def test_a_server_that_is_not_there_is_named():
    with pytest.raises(PolicyServerError, match=r"127\.0\.0\.1:9 does not answer .*start it, and run again"):
        LanguageModel("http://127.0.0.1:9/v1", timeout_s=2.0).attribute(case())


@pytest.mark.parametrize(("url", "said"), [
    (None, r"no server is named: start one on this machine and set attributor\.language_model\.url=http"),
    ("http://example.com/v1", "is not this machine"), ("http://10.0.0.7:80/v1", "is not this machine"),
    ("https://127.0.0.1/v1", "must be http"), ("http://me:secret@127.0.0.1/v1", "without password"),
    ("http://127.0.0.1:port/v1", "is no address"), ("127.0.0.1:8000", "must be http"),
])  # fmt: skip
def test_only_a_server_of_this_machine_is_asked(url, said):
    with pytest.raises(ConfigError, match=said):
        LanguageModel(url)


def test_very_long_logs_are_told_in_part():
    log = made_up(0, 30, MONITOR)
    many = {name: np.repeat(values, 40, axis=0) for name, values in log.predicates.items()}
    calls = dataclasses.replace(log.calls, step=np.arange(0, 2400, 4))
    long = EpisodeLog(
        calls, {}, np.repeat(log.actions, 40, axis=0), np.repeat(log.stage, 40), many, np.repeat(log.modes, 40), False
    )
    lines = as_text(long, TASK).splitlines()
    assert len(lines) <= MOST_LINES
    assert lines[0].startswith("step 0; before reach; contact free; moving ")
    assert lines[-1].startswith("step 23")


@pytest.mark.parametrize("make", [
    lambda: AtShare(1.5), lambda: TwinDivergence(-1), lambda: NearestSuccess(quantile=0), lambda: NearestSuccess(-1),
    lambda: CausalWalk(slack=0), lambda: DependencySearch(budget=-1), lambda: PrefixAuditor(0),
    lambda: LanguageModel("http://127.0.0.1:1", timeout_s=0),
])  # fmt: skip
def test_settings_that_cannot_be_meant_are_refused(make):
    with pytest.raises(ConfigError):
        make()
