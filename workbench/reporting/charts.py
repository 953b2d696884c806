"""Small figures as SVG text: sharp at any size, readable in light and dark, no script and no drawing library.

Colours are classes (``s0``, ``s1``, ...) that the page's style sheet defines; series also differ by dash and marker.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

WIDTH, HEIGHT = 520, 230
LEFT, RIGHT, TOP, BOTTOM = 48, 18, 12, 38
ROW = 15
MARKERS = ("●", "■", "▲", "◆", "▼", "○", "□", "△")


@dataclasses.dataclass(frozen=True)
class Line:
    """One series of a line chart.

    Attributes
    ----------
    name : shown in the legend.
    x, y : the points; a point that is None or not finite breaks the line.
    quiet : drawn grey and dashed, for baselines.
    marked : whether every point has a marker.
    bounds : interval (low, high) of each point, drawn as a whisker; empty for none.
    dots : points (x, y) drawn large, such as alarms.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    quiet: bool = False
    marked: bool = False
    bounds: Sequence[tuple[float, float]] = ()
    dots: Sequence[tuple[float, float]] = ()


@dataclasses.dataclass(frozen=True)
class Point:
    """One point of a scatter chart.

    Attributes
    ----------
    name, words : what it is called, and what is told of it where the pointer rests on it.
    x, y : where it is.
    group : number of the group it belongs to, which decides colour and marker; -1 for quiet ones.
    named : whether its name is written beside it, where there is room.
    """

    name: str
    x: float
    y: float
    group: int
    words: str = ""
    named: bool = False


@dataclasses.dataclass(frozen=True)
class Axes:
    """A drawing area and the data ranges that it spans; ``log`` spaces y by its logarithm."""

    x: tuple[float, float]
    y: tuple[float, float]
    x_label: str
    y_label: str
    top: int = TOP
    height: int = HEIGHT
    log: bool = False

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Position of a data point in the drawing."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        low, high, y = (math.log(value) if self.log else value for value in (*self.y, y))
        up = (y - low) / (high - low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), self.height - BOTTOM - up * (self.height - self.top - BOTTOM)


def line_chart(
    lines: Sequence[Line],
    *,
    label: str,
    x_label: str,
    y_label: str,
    x_ticks: Sequence[float] | None = None,
    y_range: tuple[float, float] | None = None,
    level: tuple[float, str] | None = None,
    events: Mapping[str, float] | None = None,
    log: bool = False,
) -> Markup:
    """Lines over a common axis.

    ``label`` says in words what is seen, for those who cannot; ``level`` is a horizontal line with a name; ``events``
    are upright lines with names; ``log`` spaces y by its logarithm, for positive numbers over several powers of ten.
    """
    points = [point for line in lines for point in _points(line)]
    xs = [x for x, _ in points] + list(x_ticks or ()) + list((events or {}).values())
    ys = [y for _, y in points] + ([level[0]] if level else [])
    ys += [bound for line in lines for bounds in line.bounds for bound in bounds]
    head = ROW * len(events or {})
    margin = 0.0 if log else 0.06
    axes = Axes(_range(xs), y_range or _range(ys, margin), x_label, y_label, TOP + head, HEIGHT + head, log)
    parts = [_frame(axes, x_ticks)]
    parts += [_event(axes, number, name, x) for number, (name, x) in enumerate((events or {}).items())]
    parts += [_line(axes, line, number) for number, line in enumerate(lines)]
    if level:
        parts.append(_level(axes, *level))  # last, or a line would cross out its name
    return _figure(parts, axes.height, label) + _legend(lines)


def histogram(groups: Mapping[str, Sequence[float]], *, label: str, x_label: str, bins: int = 16) -> Markup:
    """Counts of each group side by side, in common bins of whole numbers."""
    values = [value for group in groups.values() for value in group]
    low, high = math.floor(min(values)), math.ceil(max(values)) + 1
    width = max(1, math.ceil((high - low) / bins))
    bins = math.ceil((high - low) / width)
    counts = {name: [0] * bins for name in groups}
    for name, group in groups.items():
        for value in group:
            counts[name][int((value - low) // width)] += 1
    top = max(max(row) for row in counts.values())
    axes = Axes((low, low + bins * width), (0, top * 1.08), x_label, "episodes")
    parts = [_frame(axes, None)]
    for number, row in enumerate(counts.values()):
        for index, count in enumerate(row):
            if count:
                share = width / len(counts)
                x, y = axes.at(low + index * width + number * share, count)
                right, base = axes.at(low + index * width + (number + 1) * share, 0)
                box = f'x="{x + 0.5:.1f}" y="{y:.1f}" width="{right - x - 1:.1f}" height="{base - y:.1f}"'
                parts.append(Markup(f'<rect class="bar s{number}{" hollow" if number else ""}" {box}/>'))
    names = "".join(
        f'<li><span class="key s{number}" aria-hidden="true">{"■□"[number % 2]}</span> {Markup.escape(name)}</li>'
        for number, name in enumerate(groups)
    )
    return _figure(parts, HEIGHT, label) + Markup(f'<ul class="legend">{names}</ul>')


def interval_bar(share: float, bounds: tuple[float, float], label: str) -> Markup:
    """A bar from 0 to 1 with its interval as a whisker; as wide as the cell that holds it."""
    percent = [f"{100 * min(max(value, 0.0), 1.0):.1f}%" for value in (share, *bounds)]
    return Markup(
        '<svg class="meter" role="img" aria-label="{label}" width="100%" height="16">'
        '<rect class="track" x="0" y="4" width="100%" height="8"/>'
        '<rect class="bar s0" x="0" y="4" width="{0}" height="8"/>'
        '<line class="whisker" x1="{1}" x2="{2}" y1="8" y2="8"/>'
        '<line class="whisker" x1="{1}" x2="{1}" y1="4" y2="12"/>'
        '<line class="whisker" x1="{2}" x2="{2}" y1="4" y2="12"/></svg>'
    ).format(*percent, label=label)


def interval_strip(
    value: float,
    bounds: tuple[float, float],
    span: tuple[float, float],
    label: str,
    style: str,
    at: Sequence[float] = (),
) -> Markup:
    """A point with its interval on an axis from ``span[0]`` to ``span[1]``; as wide as the cell that holds it.

    ``style`` is the class of a series; upright lines stand at ``at``, the first one solid.
    """
    low, high, middle = (_share(each, span) for each in (*bounds, value))
    lines = "".join(
        f'<line class="{mark}" x1="{_share(x, span)}" x2="{_share(x, span)}" y1="0" y2="18"/>'
        for mark, x in zip(["axis", *["level"] * len(at)], at, strict=False)
    )
    drawn = (
        f'{lines}<line class="reach {style}" x1="{low}" x2="{high}" y1="9" y2="9"/>'
        f'<circle class="bar {style}" cx="{middle}" cy="9" r="4"/>'
    )
    head = Markup('<svg class="strip" role="img" aria-label="{}" width="100%" height="18">').format(label)
    return head + Markup(drawn) + Markup("</svg>")


def strip_axis(span: tuple[float, float], numbers: Sequence[float]) -> Markup:
    """Numbers of the axis of :func:`interval_strip`, for the head of its column."""
    words = "".join(
        f'<text x="{_share(x, span)}" y="12" text-anchor="{_anchor(x, span)}">{_short(x)}</text>' for x in numbers
    )
    return Markup(f'<svg class="strip" aria-hidden="true" width="100%" height="16">{words}</svg>')


def scatter(
    points: Sequence[Point],
    groups: Sequence[str],
    *,
    label: str,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    upright: tuple[float, str],
) -> Markup:
    """Points of several groups, with an upright line that has a name; names of points never overprint one another."""
    axes = Axes(x_range, y_range, x_label, y_label)
    parts = [_frame(axes, None), _upright(axes, *upright)]
    for point in points:
        style = "quiet" if point.group < 0 else f"s{point.group}"
        sign = MARKERS[point.group % len(MARKERS)] if point.group >= 0 else "○"
        mark = Markup(_mark(axes, point.x, point.y, sign, style, 11))
        parts.append(Markup("<g><title>{}</title>{}</g>").format(point.words, mark))
    parts += _names(axes, points)
    keys = [Markup('<span class="key s{}" aria-hidden="true">{}</span> {}').format(i, MARKERS[i], name)
            for i, name in enumerate(groups)]  # fmt: skip
    keys += [Markup('<span class="key quiet" aria-hidden="true">○</span> baseline')]
    legend = Markup("").join(Markup("<li>{}</li>").format(key) for key in keys)
    return _figure(parts, HEIGHT, label) + Markup('<ul class="legend">{}</ul>').format(legend)


def caterpillar(
    intervals: Sequence[tuple[float, float, float, bool]],
    *,
    label: str,
    level: tuple[float, str],
    y_range: tuple[float, float],
) -> Markup:
    """Intervals side by side in ascending order, against a level; (value, low, high, whether it is marked)."""
    axes = Axes((0.0, float(len(intervals))), y_range, "", "")
    parts: list[str] = [_frame(axes, ())]
    width = min(3.0, 0.5 * (WIDTH - LEFT - RIGHT) / max(len(intervals), 1))
    for number, (value, low, high, marked) in enumerate(sorted(intervals)):
        (x, bottom), (_, top) = axes.at(number + 0.5, low), axes.at(number + 0.5, min(high, y_range[1]))
        middle = axes.at(0, min(value, y_range[1]))[1]
        style = "marked" if marked else "s0"
        parts.append(f'<line class="reach {style}" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom:.1f}" y2="{top:.1f}"/>')
        parts.append(f'<circle class="bar {style}" cx="{x:.1f}" cy="{middle:.1f}" r="{max(width, 1.2):.1f}"/>')
    parts.append(_level(axes, *level))
    return _figure(parts, axes.height - BOTTOM + 8, label)


def _share(value: float, span: tuple[float, float]) -> str:
    """Position on an axis in percent, with room for a marker at both ends."""
    across = (min(max(value, span[0]), span[1]) - span[0]) / (span[1] - span[0])
    return f"{3 + 94 * across:.1f}%"


def _anchor(value: float, span: tuple[float, float]) -> str:
    return "start" if value <= span[0] else "end" if value >= span[1] else "middle"


def _upright(axes: Axes, value: float, name: str) -> Markup:
    x = axes.at(value, axes.y[0])[0]
    line = f'<line class="level" x1="{x:.1f}" x2="{x:.1f}" y1="{axes.top}" y2="{axes.height - BOTTOM}"/>'
    return Markup(line) + Markup('<text x="{:.1f}" y="{}">{}</text>').format(x + 4, axes.top + 10, name)


def _names(axes: Axes, points: Sequence[Point]) -> list[Markup]:
    """Names of the points that want one, each on the side where it covers least; left out where it would cover one."""
    places = [axes.at(point.x, point.y) for point in points]
    taken: list[tuple[float, float, float, float]] = [(x - 5, y - 5, x + 5, y + 5) for x, y in places]
    names = []
    for point, (x, y) in zip(points, places, strict=True):
        width = 6.4 * len(point.name)
        sides = {"start": (x + 7, y + 4), "end": (x - 7, y + 4), "middle": (x, y - 8), "below": (x, y + 17)}
        for side, (across, down) in sides.items() if point.named else ():
            anchor = "middle" if side == "below" else side
            left = across - width * {"start": 0.0, "end": 1.0, "middle": 0.5}[anchor]
            box = (left, down - 10, left + width, down + 2)
            inside = box[0] > LEFT and box[2] < WIDTH and box[1] > 0 and box[3] < axes.height - BOTTOM
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                words = '<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>'
                names.append(Markup(words).format(across, down, anchor, point.name))
                break
    return names


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _points(line: Line) -> list[tuple[float, float]]:
    return [(x, y) for x, y in zip(line.x, line.y, strict=True) if y is not None and math.isfinite(y)]


def _range(values: Sequence[float], margin: float = 0.0) -> tuple[float, float]:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high <= low:
        return low - 0.5, high + 0.5
    return low - margin * (high - low), high + margin * (high - low)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers between two bounds, one, two or five times a power of ten apart."""
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two positive bounds: powers of ten, with their double and fivefold where those are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if math.log10(high / low) < 2.5 else (1,)
    return [factor * 10.0**power for power in powers for factor in factors if low <= factor * 10.0**power <= high]


def _frame(axes: Axes, x_ticks: Sequence[float] | None) -> Markup:
    base = axes.height - BOTTOM
    parts = []
    for value in log_ticks(*axes.y) if axes.log else ticks(*axes.y):
        y = axes.at(axes.x[0], value)[1]
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_short(value)}</text>')
    for value in ticks(*axes.x) if x_ticks is None else x_ticks:
        x = axes.at(value, axes.y[0])[0]
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 4}"/>')
        anchor = "end" if x > WIDTH - RIGHT - 8 and value >= 1000 else "middle"  # long numbers would be cut off
        parts.append(f'<text x="{x:.1f}" y="{base + 16}" text-anchor="{anchor}">{_short(value)}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    words = '<text class="name" x="{}" y="{}" text-anchor="middle">{}</text>'
    parts.append(Markup(words).format(middle, axes.height - 4, axes.x_label))
    turned = '<text class="name" transform="translate(11 {}) rotate(-90)" text-anchor="middle">{}</text>'
    parts.append(Markup(turned).format((axes.top + base) / 2, axes.y_label))
    return Markup("".join(parts))


def _short(value: float) -> str:
    return f"{value:,.0f}".replace(",", "\u2009") if abs(value) >= 1000 else f"{value:.4g}"


def _level(axes: Axes, value: float, name: str) -> Markup:
    x, y = axes.at(axes.x[1], value)
    line = f'<line class="level" x1="{LEFT}" x2="{x:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
    words = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="end">{}</text>').format(x - 2, y + 14, name)
    return Markup(line) + words


def _event(axes: Axes, number: int, name: str, value: float) -> Markup:
    """An upright line; names stand in rows of their own, so that near events do not overprint."""
    x = axes.at(value, axes.y[0])[0]
    y = TOP + ROW * number
    anchor, shift = ("end", -4) if x > WIDTH * 0.6 else ("start", 4)
    base = axes.height - BOTTOM
    line = f'<line class="event e{number}" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 8}" y2="{base}"/>'
    words = '<text x="{:.1f}" y="{}" text-anchor="{}">{}</text>'
    return Markup(line) + Markup(words).format(x + shift, y, anchor, name)


def _line(axes: Axes, line: Line, number: int) -> Markup:
    style = "quiet" if line.quiet else f"s{number}"
    runs: list[list[str]] = [[]]
    for x, y in zip(line.x, line.y, strict=True):
        if y is None or not math.isfinite(y):
            runs.append([])
            continue
        runs[-1].append("{:.1f},{:.1f}".format(*axes.at(x, min(max(y, axes.y[0]), axes.y[1]))))
    parts = [f'<polyline class="line {style}" points="{" ".join(run)}"/>' for run in runs if len(run) > 1]
    sign = MARKERS[number % len(MARKERS)]
    parts += [_whisker(axes, x, bounds) for x, bounds in zip(line.x, line.bounds, strict=False)]
    parts += [_mark(axes, x, y, sign, style, 10) for x, y in (_points(line) if line.marked else [])]
    parts += [_mark(axes, x, y, "◆", style, 17) for x, y in line.dots]
    return Markup("".join(parts))


def _whisker(axes: Axes, x: float, bounds: tuple[float, float]) -> str:
    (across, low), (_, high) = axes.at(x, bounds[0]), axes.at(x, bounds[1])
    ends = "".join(f"M{across - 3:.1f} {y:.1f}h6" for y in (low, high))
    return f'<path class="whisker" d="M{across:.1f} {low:.1f}V{high:.1f}{ends}"/>'


def _mark(axes: Axes, x: float, y: float, sign: str, style: str, size: int) -> str:
    across, down = axes.at(x, y)
    place = f'x="{across:.1f}" y="{down + 0.36 * size:.1f}" style="font-size:{size}px" text-anchor="middle"'
    return f'<text class="mark {style}" {place}>{sign}</text>'


def _legend(lines: Sequence[Line]) -> Markup:
    drawn = Markup(
        '<svg class="key" width="30" height="10" aria-hidden="true"><line class="line {}" x2="30" {}/></svg>'
    )
    signed = Markup('<span class="key {}" aria-hidden="true">{}</span>')
    names = []
    for number, line in enumerate(lines):
        style = "quiet" if line.quiet else f"s{number}"
        sign = MARKERS[number % len(MARKERS)]
        key = signed.format(style, sign) if line.marked else drawn.format(style, Markup('y1="5" y2="5"'))
        names.append(Markup("<li>{} {}</li>").format(key, line.name))
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(names))


def _figure(parts: Sequence[str], height: int, label: str) -> Markup:
    head = Markup('<svg class="chart" role="img" aria-label="{}" viewBox="0 0 {} {}">').format(label, WIDTH, height)
    return head + Markup("").join(Markup(part) for part in parts) + Markup("</svg>")
