"""Questions about stored episodes, each with an answer that was executed or is read from the exact state.

What was not measured is not asked.  So the labels of ``workbench label`` bring questions about the onset and about
acting in time, verified corrections those about corrections, and measured luck those about luck.

Within a task, a kind and a subject (a stage, a fifth of the time) as many answers are yes as no, and no answer of a
choice is more than half of all; the rest is left out.  The wrong choices are false of the episode.  They are drawn such
that every text is wrong as often as it can be in proportion to how often it is right, so that a text that is offered
says little of whether it is right; and every place in the list is right equally often.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from workbench.config import build, digest, shown
from workbench.errors import ConfigError, StoreError, UnknownNameError
from workbench.execution.progress import progress
from workbench.rollouts.arms import EXPERT
from workbench.rollouts.launch import Launch
from workbench.rollouts.loop import Lockstep
from workbench.rollouts.setup import refuse_other_task
from workbench.rollouts.stored import bare_start, perturbations_of, stream_of
from workbench.store import Store
from workbench.types import SPLITS, Episode, Record, Split, Stream, Task
from workbench.types.abilities import of_episode, stages_of
from workbench.types.episode import modes_in
from workbench.types.questions import KINDS, LETTERS, YES_NO, Question, QuestionSet

ENDS = ("timeout", "diverged")
"""Failure modes that begin when the episode ends, so that nobody needs to be asked when."""
WIDEST = 0.5
"""Share of all times that may count as right; a wider interval is no question."""
FIFTHS = 5
"""Parts of a task's time within which questions about acting in time are balanced, since late alone says no."""
HALF = 0.5
"""Success rate under other noise of which the interval must lie on one side."""


@dataclasses.dataclass(frozen=True)
class QuestionSettings:
    """How episodes are asked about.

    Attributes
    ----------
    kinds : of :data:`workbench.types.questions.KINDS`; all by default.
    choices : of which one is right, at most; fewer where fewer are known to be false.
    tolerance_steps : control steps by which a time may be off, beyond the interval that was measured.
    moments : of each labelled failure at which the expert takes over.
    """

    kinds: Sequence[str] = tuple(KINDS)
    choices: int = 4
    tolerance_steps: int = 5
    moments: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "kinds", tuple(self.kinds))
        for kind in self.kinds:
            if kind not in KINDS:
                raise UnknownNameError("kind of questions", str(kind), KINDS)
        if not 2 <= self.choices <= len(LETTERS):
            raise ConfigError(f"choices={self.choices} must be 2 .. {len(LETTERS)}")
        if self.tolerance_steps < 0 or self.moments < 1:
            raise ConfigError(f"tolerance_steps={self.tolerance_steps} must be at least 0, moments={self.moments} 1")


class Tried(Protocol):
    """Corrections that were tried, as :class:`workbench.recovery.corrections.Corrections` holds them."""

    def rows_of_table(self) -> Sequence[Record]:
        """``uid``, ``step``, ``kind``, ``correction`` (7), ``motion_steps`` and ``ended`` (K) of every candidate."""
        ...


def ask_questions(
    store: Store,
    task: Task,
    *,
    corrections: Tried | None = None,
    splits: Iterable[Split] = SPLITS,
    settings: QuestionSettings | None = None,
    seed: int = 0,
    expert: Mapping[str, Any] = EXPERT,
    scenes: int = 16,
) -> QuestionSet:
    """Questions about the episodes of a store, with answers that hold.

    Parameters
    ----------
    task : that the store was rolled with; its stages are asked about, and the expert acts in its scenes.
    corrections : verified ones of this store; None asks for none.
    splits : of the episodes.
    settings : None for the defaults.
    seed : decides what is drawn: wrong choices, moments, what is left out for balance.
    expert : configuration of the reference that takes over.
    scenes : that step together where it does.

    Raises
    ------
    OtherSettingsError
        if the store was rolled with another task.
    StoreError
        if nothing can be asked.
    """
    refuse_other_task(store, task)
    chosen, splits = settings or QuestionSettings(), tuple(splits)
    for split in splits:
        if split not in SPLITS:
            raise UnknownNameError("split", str(split), SPLITS)
    asker = _Asker(store, task, chosen, splits, seed)
    for kind in chosen.kinds:
        if kind == "helped":
            asker.ask_whether_it_helped(dict(expert), scenes)
        elif kind == "correction":
            asker.ask_for_corrections(corrections)
        else:
            getattr(asker, f"ask_{kind}")()
    found = QuestionSet(tuple(asker.found), {kind: dict(why) for kind, why in sorted(asker.left_out.items())})
    if not len(found):
        raise StoreError(
            f"{shown(store.path)} holds nothing to ask about in split {' or '.join(splits)}: yes and no, or two "
            "failure modes, must both be there; roll more episodes, with perturbation=[...]"
        )
    return found


class _Asker:
    """The questions about one store, kind by kind."""

    def __init__(self, store: Store, task: Task, settings: QuestionSettings, splits: Sequence[str], seed: int) -> None:
        self.store, self.task, self.settings, self.seed = store, task, settings, seed
        self.found: list[Question] = []
        self.left_out: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        rows = store.episodes
        sound = [n for n, split in enumerate(rows["split"]) if split in splits and rows["outcome"][n] != ENDS[1]]
        self.episodes = {
            str(rows["uid"][n]): store.episode(n, steps=("stage",), calls=()) for n in sound
        }  # records, with the stages that were reached
        self.failed = {uid: each for uid, each in self.episodes.items() if not each.record["success"]}

    # yes or no, read from the record

    def ask_success(self) -> None:
        """Of every episode."""
        asked = []
        for uid, episode in self.episodes.items():
            goal = of_episode(self.task, stream_of(episode)).instruction
            text = f"The robot's task is: {goal}. Did it do the task?"
            evidence = f"the task's own predicate, after control step {episode.record['length'] - 1}"
            asked.append(self._yes_no("success", uid, text, bool(episode.record["success"]), evidence=evidence))
        self._keep_even(asked)

    def ask_subtask(self) -> None:
        """Of every episode and stage; AHA asks so of its sub-tasks."""
        asked = []
        for place, stage in enumerate(stages_of(self.task)):
            for uid, episode in self.episodes.items():
                reached = int(episode.steps["stage"][-1])
                text = f"Did the robot come past the stage '{_words(stage)}' of its task?"
                evidence = f"{reached} of {len(stages_of(self.task))} stages were reached"
                asked.append(self._yes_no("subtask", uid, text, reached > place, subject=stage, evidence=evidence))
        self._keep_even(asked)

    def ask_luck(self) -> None:
        """Of episodes whose success rate under other noise lies clearly on one side of one half."""
        asked = []
        for uid, episode in self.episodes.items():
            low, high = (float(episode.record.get(f"luck_{end}", -1.0)) for end in ("low", "high"))
            if low < 0:
                self.left_out["luck"]["luck was not measured"] += 1
                continue
            if low <= HALF <= high:
                self.left_out["luck"]["the interval holds one half"] += 1
                continue
            ended = "succeeded" if episode.record["success"] else "failed"
            text = (
                f"This episode {ended}. Rolled again from the same start under other noise of the policy, would it end "
                "so more often than not?"
            )
            evidence = f"success rate under other noise: between {low:.2f} and {high:.2f} (95 %)"
            alike = (low > HALF) == bool(episode.record["success"])
            more = {"subject": ended, "evidence": evidence, "known": "executed"}
            asked.append(self._yes_no("luck", uid, text, alike, **more))
        self._keep_even(asked)

    def ask_whether_it_helped(self, expert: Record, scenes: int) -> None:
        """Of moments of labelled failures, from each of which the expert acts."""
        if self.store.header.config.get("shields"):
            self.left_out["helped"]["the store was rolled behind shields"] += len(self.failed)
            return
        moments = []
        for uid, episode in self.failed.items():
            if int(episode.record["t_pnr"]) < 0:
                self.left_out["helped"]["no point of no return was measured"] += 1
                continue
            drawn = self._drawn("helped", episode).random(self.settings.moments)
            steps = sorted({int(at * episode.record["length"]) for at in drawn})
            moments += [(uid, step) for step in steps]
        outcomes = _taken_over(self.store, self.task, moments, expert, scenes)
        asked = []
        for (uid, step), success in zip(moments, outcomes, strict=True):
            text = "would an expert that takes over {} still do the task in time?"
            evidence = f"executed: the expert {'succeeds' if success else 'fails'} from control step {step}"
            fifth = f"{FIFTHS * step // self.store.header.deadline}"
            more = {"subject": fifth, "evidence": evidence, "known": "executed", "moment": step}
            asked.append(self._yes_no("helped", uid, text, success, **more))
        self._keep_even(asked)

    # one of several

    def ask_stage(self) -> None:
        """Of failures: the first stage that they did not come past."""
        stages = stages_of(self.task)
        answers, evidence = {}, {}
        for uid, episode in self.failed.items():
            reached = int(episode.steps["stage"][-1])
            if reached < len(stages):
                answers[uid] = stages[reached]
                evidence[uid] = f"{reached} of {len(stages)} stages were reached"
        others = {uid: set(stages) - {answer} for uid, answer in answers.items()}
        self._choose(
            "stage",
            "The robot failed. Which was the first stage of its task that it did not come past?",
            answers,
            others,
            evidence,
        )

    def ask_mode(self) -> None:
        """Of failures: the mode by which they are called."""
        seen = {uid: {mode.mode for mode in modes_in(each.record["modes"])} for uid, each in self.failed.items()}
        answers = {uid: str(each.record["failure_mode"]) for uid, each in self.failed.items()}
        known = set(answers.values()) - {""}
        answers = {uid: mode for uid, mode in answers.items() if mode}
        others = {uid: known - seen[uid] - {mode} for uid, mode in answers.items()}
        evidence = {uid: f"modes that began, read from the state: {', '.join(sorted(seen[uid]))}" for uid in answers}
        self._choose("mode", "The robot failed. Which failure was seen?", answers, others, evidence)

    def ask_why(self) -> None:
        """Of failures with one fault that struck, whose nominal twin succeeds: so it was the fault."""
        names = {str(each.record["perturbation"]) for each in self.episodes.values()}
        known = {part for name in names if name for part in name.split("+")}
        answers, evidence = {}, {}
        for uid, episode in self.failed.items():
            record = episode.record
            if not record["perturbation"]:
                continue
            twin = self._twin_of(episode)
            if "+" in record["perturbation"] or int(record["t_inj"]) < 0:
                self.left_out["why"]["several faults, or one that never struck"] += 1
            elif twin is None:
                self.left_out["why"]["no nominal twin is stored"] += 1
            elif not twin["success"]:
                self.left_out["why"]["the nominal twin fails, too"] += 1
            else:
                answers[uid] = str(record["perturbation"])
                evidence[uid] = f"injected at control step {record['t_inj']}; the same episode without it succeeds"
        others = {uid: known - {answer} for uid, answer in answers.items()}
        text = "The robot failed because something was injected into the episode. What was it?"
        self._choose("why", text, answers, others, evidence)

    def ask_for_corrections(self, corrections: Tried | None) -> None:
        """Of calls from which a motion wins in the task's time more often than luck does, and others never do."""
        if corrections is None:
            self.left_out["correction"]["no corrections were given"] += len(self.failed)
            return
        calls: dict[tuple[str, int], list[Record]] = collections.defaultdict(list)
        for row in corrections.rows_of_table():
            calls[str(row["uid"]), int(row["step"])].append(row)
        for (uid, step), rows in calls.items():
            if uid in self.failed:
                self._ask_for_correction(uid, step, rows)

    def _ask_for_correction(self, uid: str, step: int, rows: Sequence[Record]) -> None:
        deadline = self.store.header.deadline
        motions = [row for row in rows if row["kind"] not in ("placebo", "segment")]
        (placebo,) = (row for row in rows if row["kind"] == "placebo")
        luck = np.mean(in_time(placebo["ended"], deadline))
        rates = [float(np.mean(in_time(row["ended"], deadline))) for row in motions]
        ranked = sorted(zip(rates, motions, strict=True), key=lambda each: (-each[0], each[1]["motion_steps"]))
        right = [row for rate, row in ranked if rate >= HALF and rate > luck]
        texts = {motion_words(row["correction"]): row for rate, row in ranked if rate == 0}
        wrong = [text for text in texts if not right or text != motion_words(right[0]["correction"])]
        if not right or not wrong:
            self.left_out["correction"]["no motion is verified" if not right else "every motion wins"] += 1
            return
        best, rng = right[0], self._drawn("correction", self.failed[uid], step)
        # Random motions last: they are seldom right, so that they would give the others away.
        wrong = sorted(rng.permutation(wrong).tolist(), key=lambda text: texts[text]["kind"] == "random")
        choices = [motion_words(best["correction"]), *wrong[: self.settings.choices - 1]]
        order = rng.permutation(len(choices))
        motions_of = [best["correction"], *(texts[text]["correction"] for text in choices[1:])]
        text = (
            "the robot is failing. Which motion of the hand from there, after which the policy goes on, does the task "
            "in its time? Translation in cm and rotation in degrees, in the world frame."
        )
        won, luck_alone = _of(best, deadline), _of(placebo, deadline)
        self._add(
            "correction", uid, text, choices[0], choices=[choices[at] for at in order], moment=step, known="executed",
            motions=tuple([float(number) for number in motions_of[at]] for at in order),
            evidence=f"executed: {won} with it, {luck_alone} without a motion, 0 with any of the others",
        )  # fmt: skip

    # a time

    def ask_when_seen(self) -> None:
        """Of failures: when the mode that they are called by began."""
        for uid, episode in self.failed.items():
            mode = str(episode.record["failure_mode"])
            begun = [each.step for each in modes_in(episode.record["modes"]) if each.mode == mode]
            if mode in ENDS or not begun:
                continue
            text = f"The robot failed. When did '{mode}' begin?"
            self._when("when_seen", uid, text, begun[0], begun[0], begun[0], "read from the state")

    def ask_when_onset(self) -> None:
        """Of labelled failures: the onset."""
        for uid, episode in self.failed.items():
            step, low, high = (int(episode.record[f"t_on{end}"]) for end in ("", "_low", "_high"))
            if step < 0 or step >= episode.record["length"]:
                self.left_out["when_onset"]["no onset was measured"] += 1
                continue
            text = "The robot failed. When did failing become likelier than succeeding?"
            evidence = f"executed: the success rate of branches stays below one half from control step {step} on"
            self._when("when_onset", uid, text, step, low, high, evidence, known="executed")

    def _when(self, kind: str, uid: str, text: str, step: int, low: int, high: int, said: str, **more: Any) -> None:
        length, off = int(self.episodes[uid].record["length"]), self.settings.tolerance_steps
        low, high = max(min(low, step) - off, 0), min(max(high, step) + off, length - 1)
        if high - low + 1 > WIDEST * length:
            self.left_out[kind]["the interval is wider than half of the episode"] += 1
            return
        times = {"low": low, "high": high, "possible": length, "unit": "control step"}
        self._add(kind, uid, text, str(step), evidence=f"{said}; right is {low} .. {high}", **times, **more)

    # what all kinds share

    def _yes_no(self, kind: str, uid: str, text: str, yes: bool, **more: Any) -> Question:
        return self._made(kind, uid, text, YES_NO[not yes], choices=YES_NO, **more)

    def _add(self, kind: str, uid: str, text: str, answer: str, **more: Any) -> None:
        self.found.append(self._made(kind, uid, text, answer, **more))

    def _made(
        self, kind: str, uid: str, text: str, answer: str, *, choices: Sequence[str] = (), moment: int = -1, **more: Any
    ) -> Question:
        """A question about the whole episode, or about the moment before a control step."""
        words, in_frames = text, text
        if moment >= 0:
            words, in_frames = (
                text.replace("{}", at) if "{}" in text else f"{at[0].upper()}{at[1:]} {text}"
                for at in (f"at control step {moment}", "at the last frame that is shown")
            )
        elif not choices:
            words += " Control steps count from 0."
            in_frames += " In which frame is that? Frames count from 0, in the order in which they are shown."
        words, in_frames = (f"{each[0].upper()}{each[1:]}" for each in (words, in_frames))
        subject = str(more.pop("subject", ""))
        return Question(
            id=digest([self.seed, uid, kind, subject, moment]), uid=uid, task=self.task.name, kind=kind,
            subject=subject, text=words, text_in_frames=in_frames, choices=tuple(choices), answer=answer,
            until=moment + 1 if moment >= 0 else int(self.episodes[uid].record["length"]), whole=moment < 0, **more,
        )  # fmt: skip

    def _keep_even(self, asked: Sequence[Question]) -> None:
        """Keep as many with yes as with no of every subject, drawn; the rest is left out."""
        groups: dict[tuple[str, str], list[Question]] = collections.defaultdict(list)
        for each in asked:
            groups[each.kind, each.subject].append(each)
        for (kind, subject), group in groups.items():
            answers = [[each for each in group if each.answer == answer] for answer in YES_NO]
            fewest = min(map(len, answers))
            rng = self._stream("even", kind, subject).at()
            for some in answers:
                self.found += [some[at] for at in sorted(rng.permutation(len(some))[:fewest])]
            if surplus := len(group) - 2 * fewest:
                self.left_out[kind]["left out so that yes and no are even"] += surplus

    def _choose(
        self,
        kind: str,
        text: str,
        answers: Mapping[str, str],
        others: Mapping[str, set[str]],
        evidence: Mapping[str, str],
    ) -> None:
        """One question an episode: its answer among some of the others, all of which are false of it."""
        rng = self._stream("choices", kind).at()
        uids = [uid for uid in _capped(answers, rng) if others[uid]]
        if dropped := len(answers) - len(uids):
            self.left_out[kind]["left out so that no answer is more than half of all"] += dropped
        wrong = _wrong([answers[uid] for uid in uids], [others[uid] for uid in uids], self.settings.choices - 1, rng)
        taken: collections.Counter[int] = collections.Counter()
        for uid, false in zip(uids, wrong, strict=True):
            # Places in turn among lists of one length, so that each is right equally often.
            place = taken[len(false)] % (len(false) + 1)
            taken[len(false)] += 1
            choices = [*false[:place], answers[uid], *false[place:]]
            self._add(kind, uid, text, _words(answers[uid]), choices=list(map(_words, choices)), evidence=evidence[uid])

    def _twin_of(self, episode: Episode) -> Record | None:
        """Row of the nominal twin that is stored: of the same seed and index, without a fault."""
        uid = f"{episode.record['seed']}:{episode.record['index']}:nominal"
        return None if uid not in self.store.uids else self.store.episode(self.store.number_of(uid), (), ()).record

    def _drawn(self, kind: str, episode: Episode, counter: int = 0) -> np.random.Generator:
        """Random numbers of one episode, whose uid says which of those of one index it is."""
        return stream_of(episode).child("questions", str(self.seed), kind, str(episode.record["uid"])).at(counter)

    def _stream(self, *names: str) -> Stream:
        """Random numbers of all episodes together."""
        return Stream(self.seed, 0).child("questions", self.task.name, *names)


def _taken_over(store: Store, task: Task, moments: Sequence[tuple[str, int]], expert: Any, scenes: int) -> list[bool]:
    """Whether the expert succeeds from each moment of an episode, within the task's deadline."""
    found: list[bool] = []
    if not moments:
        return found
    lockstep = Lockstep(task, build(expert, task=task), scenes, images=False)
    with progress("moments", len(moments)) as advance:
        for begin in range(0, len(moments), scenes):
            some = moments[begin : begin + scenes]
            episodes = {
                uid: store.episode(store.number_of(uid), ("obs/*", "state", "action"), ())
                for uid in {u for u, _ in some}
            }
            found += [each.success for each in lockstep.outcomes([take_over(episodes[uid], at) for uid, at in some])]
            advance(len(some))
    return found


def take_over(episode: Episode, step: int) -> Launch:
    """The expert drives from a control step of a stored episode, to the task's deadline."""
    return Launch(stream_of(episode), perturbations_of(episode), bare_start(episode, step))


def motion_words(correction: Sequence[float]) -> str:
    """A correction (7,) in words: the numbers as they are written have a tenth of a millimetre and of a degree."""
    move, turn = np.asarray(correction[:3]) * 100, np.degrees(correction[3:6])
    fingers = "closed" if correction[6] > 0 else "open"
    # Adding zero makes a negative zero none.
    moved, turned = (
        ", ".join(f"{round(float(n), d) + 0.0:+.{d}f}" for n in some) for some, d in ((move, 2), (turn, 1))
    )
    return f"move ({moved}) cm, turn ({turned}) degrees, fingers {fingers}"


def _capped(answers: Mapping[str, str], rng: np.random.Generator) -> list[str]:
    """Uids such that no answer is more than half of all: of one that is, as many are drawn as there are others."""
    counts = collections.Counter(answers.values())
    uids = [list(answers)[at] for at in rng.permutation(len(answers))]
    if len(counts) < 2:
        return []
    (most, count), rest = counts.most_common(1)[0], len(answers)
    allowed, kept = min(count, rest - count), []
    for uid in uids:
        if answers[uid] != most or allowed > 0:
            allowed -= answers[uid] == most
            kept.append(uid)
    return kept


def _wrong(answers: Sequence[str], others: Sequence[set[str]], count: int, rng: np.random.Generator) -> list[list[str]]:
    """False choices of every question, such that each text is wrong ``count`` times as often as right, if it can be."""
    owed = collections.Counter({answer: count * times for answer, times in collections.Counter(answers).items()})
    found = []
    for allowed in others:
        shuffled = [sorted(allowed)[at] for at in rng.permutation(len(allowed))]
        chosen = sorted(shuffled, key=lambda text: -owed[text])[:count]
        owed.subtract(chosen)
        found.append([chosen[at] for at in rng.permutation(len(chosen))])
    return found


def _words(name: str) -> str:
    """A name as it is said."""
    return name.replace("_", " ")


def in_time(ended: Sequence[int], deadline: int) -> list[bool]:
    """Of a candidate's branches that were rolled, whether each succeeds within the deadline."""
    return [0 < step <= deadline for step in ended if step >= 0]


def _of(row: Record, deadline: int) -> str:
    """Successes of a candidate's branches."""
    won = in_time(row["ended"], deadline)
    return f"{sum(won)} of {len(won)}"
