"""A Rerun recording with its two timelines: ``step`` (control steps) and ``time`` (seconds since the episode began).

It needs no renderer and opens no port: everything goes to one ``.rrd`` file together with a layout, so ``rerun FILE``
shows it at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import StoreError
from workbench.types import Array

if TYPE_CHECKING:
    import rerun.blueprint as rrb

APPLICATION = "failure-workbench"


class Session:
    """A recording that is written at the end of a context.

    Parameters
    ----------
    path : the ``.rrd`` file; an existing one is replaced.
    title : name of the recording in the viewer.
    control_hz : control steps per second.
    layout : what stands where.
    name : by which the viewer tells recordings apart; "" for that of the file.
    """

    def __init__(self, path: Path, title: str, control_hz: float, layout: rrb.Blueprint, name: str = "") -> None:
        import rerun as rr

        self.path, self.control_hz = path, control_hz
        self.recording = rr.RecordingStream(APPLICATION, recording_id=name or path.stem)
        # In memory, and written at once: on a full disk rerun's own writing of a file says nothing and may never end.
        self._memory = self.recording.memory_recording()
        self.recording.send_blueprint(layout, make_active=False, make_default=True)
        self.recording.send_recording_name(title)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Write the file, unless an exception is on its way."""
        content = self._memory.drain_as_bytes()
        self.recording.disconnect()
        if kind is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_bytes(content)

    def static(self, entity: str, *parts: Any) -> None:
        """Log what does not change."""
        self.recording.log(entity, *parts, static=True)

    def columns(self, entity: str, at: Array, columns: Any) -> None:
        """Send a column with one row per control step in ``at``."""
        import rerun as rr

        step = np.asarray(at, np.int64)
        times = [rr.TimeColumn("step", sequence=step), rr.TimeColumn("time", duration=step / self.control_hz)]
        rr.send_columns(entity, times, columns, recording=self.recording)

    def series(self, entity: str, name: str, colour: Sequence[int], at: Array, values: Array, width: float = 2) -> None:
        """Send one line of a plot; values that are not finite are left out."""
        import rerun as rr

        values = np.asarray(values, np.float64)
        finite = np.isfinite(values)
        # Aggregation would replace the crossing of a threshold by a mean over a few steps.
        style = rr.SeriesLines(colors=[colour], widths=[width], names=[name], aggregation_policy="off")
        self.static(entity, style)
        self.columns(entity, np.asarray(at)[finite], rr.Scalars.columns(scalars=values[finite]))

    def lane(self, entity: str, at: Array, states: Sequence[tuple[str, Sequence[int]]]) -> None:
        """Send one lane of the state timeline: at each step of ``at`` it takes a (text, colour)."""
        import rerun as rr

        texts = [text for text, _ in states]
        self.static(entity, rr.StateConfiguration(values=texts, labels=texts, colors=[colour for _, colour in states]))
        self.columns(entity, at, rr.StateChange.columns(state=texts))


def entity_path(*parts: str) -> str:
    """Path of an entity, special characters escaped."""
    import rerun as rr

    return str(rr.new_entity_path(list(parts)))


def entities_of(path: Path) -> list[str]:
    """Read a recording back and list the entities that hold data; StoreError if it is missing or damaged."""
    from rerun.chunk import RrdReader

    if not path.is_file():
        raise StoreError(f"there is no recording at {path}; make one with `workbench view`")
    try:
        reader = RrdReader(path)
        if not reader.blueprints():
            raise StoreError(f"{path} holds no layout; write it again with `workbench view`")
        chunks = list(reader.stream())
    except StoreError:
        raise
    except Exception as error:  # rerun raises bare exceptions for unreadable files
        raise StoreError(f"{path} cannot be read as a Rerun recording: {error}") from None
    return sorted({chunk.entity_path for chunk in chunks if chunk.num_rows})
