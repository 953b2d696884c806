"""A strategy beside the placebo: two rollouts of one episode in one recording, which is read back."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.rollouts.test_guard import Tiring
from tests.toy import ToyExpert, ToyPolicy, broken
from tests.viewing.test_recording import SeenTask, monitor, rows
from tests.viewing.test_view import column
from workbench.errors import ConfigError, OtherSettingsError, StoreError
from workbench.policies.recovery.continuation import Continue
from workbench.policies.recovery.expert import Expert
from workbench.policies.recovery.redraw import Redraw
from workbench.rollouts.guard import Guard
from workbench.rollouts.loop import Launch, Lockstep
from workbench.rollouts.setup import Setup, write_episodes
from workbench.store import Store, StoreHeader, StoreWriter
from workbench.types import Moment, Note, Passed, PolicyCall, Record, Stream, episode_index
from workbench.viewing.beside import Beside, view_beside
from workbench.viewing.session import entities_of

BREAKS, ALARM, HORIZON = 6, 12, 80
STRATEGY = {"mend": Expert(ToyExpert(), steps=3)}
LATER = monitor("later", 10.0)
"""It alarms at 12, the first call behind step 10."""


class Vetoes(Tiring):
    """A gate that lets nothing of every third plan through."""

    needs = frozenset({"chunk"})

    def begin(self) -> Record:
        return {"calls": np.zeros(1), "held": False}

    def plan(self, memory: Record, call: PolicyCall) -> None:
        memory["calls"] += 1
        memory["held"] = memory["calls"][0] % 3 == 0

    def dropped(self, memory: Record) -> None:
        memory["held"] = False

    def act(self, memory: Record, moment: Moment) -> Passed:
        share = float(not memory["held"])
        return Passed(moment.action * share, note=Note("tired", not share, share, 1.0))


def written(path: Path, driver: ToyPolicy, **header: Any) -> Store:
    launches = [
        Launch(Stream(0, episode_index("test", n)), drawn) for n, drawn in enumerate([(), (broken(BREAKS, 1000),)])
    ]
    with StoreWriter.open(path, StoreHeader("toy", 10.0, 40, header, {}, 0)) as writer:
        for episode in Lockstep(SeenTask(), driver, 2).record(launches):
            writer.append(episode)
    return Store.open(path)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return written(tmp_path_factory.mktemp("beside") / "toy.zarr", ToyPolicy())


@pytest.fixture(scope="module")
def found(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Beside:
    return drawn(store, tmp_path_factory.mktemp("recordings"))


def drawn(store: Store, into: Path, strategy: Any = None, judge: Any = LATER, **options: Any) -> Beside:
    policy = options.pop("policy", ToyPolicy())
    given = {"episode": "auto"} | options
    episode = given.pop("episode")
    return view_beside(store, episode, SeenTask(), policy, judge, strategy or STRATEGY, into=into, **given)


def test_both_go_on_from_the_alarm_and_the_note_says_how_they_end(store: Store, found: Beside) -> None:
    failed = int(np.flatnonzero(~store.episodes["success"])[0])
    assert (found.uid, found.alarm) == (store.uids[failed], ALARM)
    assert list(found.ended) == ["mend", "placebo"]
    mend, placebo = found.ended.values()
    # At 12 it stands at 6 and is broken: one step mends, two move on by one, and twelve more are the policy's.
    assert (mend.success, mend.length) == (True, 27)
    assert (placebo.success, placebo.length) == (False, HORIZON)
    assert found.path.name == f"{found.uid.replace(':', '-')}-mend-beside-placebo.rrd"
    ((words,),) = rows(found.path, "/notes", "text")
    assert words == found.words
    for said in (
        "mend alone succeeds", "alarm: step 12, by later", "to step 80 at most",
        "mend: success at step 27; mend drives for 3 control steps, then the policy again",
        "placebo: failure at step 80; the policy drives", "without an alarm: failure at step 40", f"`{found.uid}`",
    ):  # fmt: skip
        assert said in words


def test_two_scenes_lie_on_one_timeline(found: Beside) -> None:
    entities = entities_of(found.path)
    for side, length in (("mend", 27), ("placebo", HORIZON)):
        places = column(found.path, f"/{side}/scene/body", "translation")
        assert [step for step, _ in places] == list(range(length))
        assert f"/{side}/scene/body/ball" in entities
        assert f"/{side}/trails/body" in entities
    mend, placebo = (dict(column(found.path, f"/{side}/scene/body", "translation")) for side in ("mend", "placebo"))
    assert all(mend[step] == placebo[step] for step in range(ALARM + 1))
    assert mend[26] != placebo[26]


def test_lanes_say_who_drives_and_how_it_ends(found: Beside) -> None:
    drivers = column(found.path, "/states/mend/driver", "state")
    assert drivers == [(0, ["policy"]), (12, ["mend"]), (15, ["policy anew"])]
    assert column(found.path, "/states/placebo/driver", "state") == [(0, ["policy"]), (12, ["policy anew"])]
    ends = column(found.path, "/states/mend/outcome", "state")
    assert ends == [(0, ["under way"]), (12, ["alarm @ 12"]), (26, ["success at step 27"])]
    assert column(found.path, "/states/placebo/outcome", "state")[-1] == (79, ["failure at step 80"])
    assert column(found.path, "/states/mend/stage", "state")[0] == (0, ["half"])
    log = [text for _, (text,) in column(found.path, "/log", "text")]
    assert set(log) == {"alarm", "mend: injected", "mend: success", "placebo: injected", "placebo: failure"}


def test_margins_are_those_of_the_policys_own_calls(found: Beside) -> None:
    margins = dict(column(found.path, "/margins/mend", "scalars"))
    assert [*margins][:6] == [0, 4, 8, 12, 15, 19]
    np.testing.assert_allclose([value[0] for value in margins.values()], [(step - 10) / 2 for step in margins])
    alarms = [step for step, _ in column(found.path, "/margins/mend/alarm", "scalars")]
    assert alarms == [step for step in margins if step > 10]


def test_what_cannot_stand_beside_the_placebo(store: Store, tmp_path: Path) -> None:
    never = monitor("never", 99.0)
    silent = dataclasses.replace(LATER, threshold=None, reason="too few episodes")
    for options, said in [
        ({"strategy": "placebo"}, "one strategy stands beside the placebo, not placebo"),
        ({"strategy": {"one": Redraw(), "two": Redraw()}}, "not one, two"),
        ({"strategy": {"nothing": Continue()}}, "strategy continue does nothing at the alarm at step 12"),
        ({"strategy": {"nothing": object()}}, "a strategy is needed"),
        ({"judge": never}, r"never alarms in episode .*; choose another episode \(job.episode\) or monitor"),
        ({"judge": silent}, r"can never alarm \(too few episodes\)"),
        ({"episode": "x"}, "unknown episode"),
        ({"horizon": 0.5}, "horizon=0.5 must be a number of deadlines"),
    ]:
        with pytest.raises(ConfigError, match=said) as caught:
            drawn(store, tmp_path, **options)
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_an_episode_that_is_another_one_by_now_is_refused(store: Store, tmp_path: Path) -> None:
    """By its header the policy is not known, so that it shows in the states alone."""
    with pytest.raises(StoreError, match="rolled again, is not the stored one up to its alarm"):
        drawn(store, tmp_path, policy=ToyPolicy(lazy=0.9))
    named = written(tmp_path / "named.zarr", ToyPolicy(), policy={"_target_": "x.Other"}, weights="", rollout={})
    with pytest.raises(OtherSettingsError, match="made with another policy"):
        drawn(named, tmp_path)


@pytest.mark.parametrize("name", ["tiring", "judges"])
def test_both_are_rolled_behind_the_shields_of_the_store(tmp_path: Path, name: str) -> None:
    """One shield remembers steps alone, the other is a gate on the plan; what is seen is the live rollout behind it."""
    shields: dict[str, Any] = {name: {"tiring": Tiring, "judges": Vetoes}[name]()}
    setup = Setup(SeenTask(), ToyPolicy(), shields=shields)
    launches = [
        Launch(Stream(0, episode_index("test", n)), drawn) for n, drawn in enumerate([(), (broken(BREAKS, 1000),)])
    ]
    write_episodes(
        tmp_path / "s.zarr", setup.header(0), Lockstep(SeenTask(), ToyPolicy(), 2, shields=shields), launches
    )
    store = Store.open(tmp_path / "s.zarr")
    with pytest.raises(OtherSettingsError, match="another shields"):
        drawn(store, tmp_path / "r")
    found = drawn(store, tmp_path / "r", shields=shields, episode=1)
    guard = Guard(LATER, STRATEGY["mend"], horizon=HORIZON)
    (live,) = Lockstep(SeenTask(), ToyPolicy(), 1, guard=guard, shields=shields).record(launches[1:])
    (bare,) = Lockstep(SeenTask(), ToyPolicy(), 1, guard=guard).record(launches[1:])
    mend = found.ended["mend"]
    assert (mend.success, mend.length) == (live.record["success"], live.record["length"])
    assert live.record["length"] != bare.record["length"], "without the shield it would have ended otherwise"
