"""A language model that reads the log: abduct, act, predict."""

from __future__ import annotations

import json
import re

from workbench.attribution.attributors.reading.chat import address, ask
from workbench.attribution.attributors.reading.text import as_text
from workbench.errors import ConfigError
from workbench.types.attribution import Attribution, Case

ROLE = (
    "You find out why a robot failed. You are given the log of one failed episode. The decisive step is the earliest "
    "control step whose action, had it been another one, would have turned the failure into a success."
)
QUESTION = """The task: {instruction}
The episode has {length} control steps at {control_hz:g} Hz and ended without success.
The log, one line a decision of the policy:

{log}

Work in three stages.
1. Abduct: from what is seen, infer the hidden cause of the failure and the steps at which it may have begun.
2. Act: for the likeliest of them, say the smallest change of the action that would have put it right.
3. Predict: imagine the next steps after this change, and say whether the episode would have succeeded. If it would not,
   take another step and go back to 2.

End with one line of JSON: {{"step": <control step>, "confidence": <0 to 1>}}"""
_OBJECT = re.compile(r"\{[^{}]*\}")


class LanguageModel:
    """Asks a language model on this machine for the step, in A2P's three stages.

    A2P: abduct, act, predict (arXiv 2509.10401): a hidden cause, a minimal fix, and what would happen with it, in one
    prompt.  The counterfactual is imagined, as theirs is.  An answer that names no step of the episode names none.

    Parameters
    ----------
    url : of a server of this machine with ``/chat/completions`` below it, such as http://127.0.0.1:8000/v1.
    model : as the server calls it.
    timeout_s : how long an answer is waited for.
    """

    needs: frozenset[str] = frozenset()

    def __init__(self, url: str | None = None, model: str = "default", timeout_s: float = 120.0) -> None:
        if not timeout_s > 0:
            raise ConfigError(f"timeout_s={timeout_s} of an attributor must be positive")
        self._where = address(url, "language_model")
        self.model, self.timeout_s = model, timeout_s

    def attribute(self, case: Case) -> Attribution:
        """The step that the model names."""
        messages = [{"role": "system", "content": ROLE}, {"role": "user", "content": question(case)}]
        return read_answer(ask(self._where, self.model, messages, self.timeout_s), case.log.length)


def question(case: Case) -> str:
    """What the model is asked of a case."""
    return QUESTION.format(
        instruction=case.log.calls.instruction or case.task.task,
        length=case.log.length,
        control_hz=case.task.control_hz,
        log=as_text(case.log, case.task),
    )


def read_answer(text: str, length: int) -> Attribution:
    """The last JSON object of an answer that names a step of the episode; none where there is none."""
    for found in reversed(_OBJECT.findall(text)):
        try:
            said = json.loads(found)
        except ValueError:
            continue
        step, confidence = said.get("step"), said.get("confidence")
        if type(step) is int and 0 <= step < length:
            sure = isinstance(confidence, int | float) and not isinstance(confidence, bool) and 0 <= confidence <= 1
            return Attribution((step,), float(confidence) if sure else None)
    return Attribution()
