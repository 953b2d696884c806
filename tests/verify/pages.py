"""Do the pages do what they say, in a real browser?  Every page below --root, in headless Chromium.

At widths of 1280 and 400 pixels, in light and dark: nothing is loaded from outside, nothing complains on the console,
nothing sticks out sideways, every picture is there and says in words what it shows, and text stands out from its
ground.  Every sortable column sorts both ways, by an order that is computed here, and loses no row; the filters show
what they should.  Printed, nothing scrolls and no control is left.  Then the same is asked of pages in which one
defect each was planted: all must be found.  ``--screenshots FOLDER`` keeps what was seen.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.browser import REMEDY, Browser, chromium
from tests.verify.claims import parser, table, verdict
from workbench.execution.progress import console
from workbench.reporting.comparing import compare

WIDTHS = (1280, 400)
LEAST_CONTRAST = 4.5
"""Of text against its ground: WCAG 2.2, level AA."""

SCRIPT = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
PUNCTUATION = " _-–—,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$·▲"  # noqa: RUF001
"""In the order of the Unicode collation, before digits and letters."""


def main() -> int:
    """Look at every page, then at those with planted defects."""
    options = parser(__doc__)
    options.add_argument("--screenshots", type=Path, help="folder of what was seen")
    asked = options.parse_args()
    if chromium() is None:
        print(REMEDY, file=sys.stderr)
        return 2
    root = asked.root.resolve()
    pages = sorted(root.glob("runs/*/*.html"))
    if not pages:
        print(f"no page lies in {root / 'runs'}; make one first: make quickstart", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder, Browser() as browser:
        pages += compared(root, Path(folder))
        shown = table("pages in a browser", "page", "MB", "views", "columns sorted", "filters", "defects")
        wrong: dict[Path, list[str]] = {}
        for page in pages:
            wrong[page], columns, filters = looked_at(browser, page, asked.screenshots)
            size, name = page.stat().st_size / 1e6, f"{page.parent.name}/{page.name}"
            shown.add_row(name, f"{size:.2f}", str(2 * len(WIDTHS)), *map(str, (columns, filters, len(wrong[page]))))
            for words in wrong[page]:
                console.print(f"{name}: {words}", markup=False)
        whole = max(pages, key=lambda page: (page.name == "leaderboard.html", page.stat().st_size))
        spoiled = dict(planted(whole, Path(folder)))
        missed = [name for name, path in spoiled.items() if set(looked_at(browser, path, None)[0]) <= set(wrong[whole])]
    console.print(shown)
    console.print(f"defects planted in {whole.name} that were not found: {', '.join(missed) or 'none'}")
    held = not any(wrong.values()) and not missed
    return verdict(held, f"{len(pages)} pages do what they say, and {len(spoiled)} with a planted defect do not")


def compared(root: Path, into: Path) -> list[Path]:
    """A comparison of the root's runs, if it has any with numbers."""
    runs = [path.parent.name for path in sorted(root.glob("runs/*/metrics.json"))]
    return [compare(runs, root=root).write(into)] if runs else []


def looked_at(browser: Browser, page: Path, shots: Path | None) -> tuple[list[str], int, int]:
    """What is wrong with a page; how many columns and filters were tried."""
    wrong: list[str] = []
    grounds = set()
    for width in WIDTHS:
        for dark in (False, True):
            browser.open(page, width, dark)
            seen = browser.value(f"{SCRIPT}; asked.look()")
            where = f"at {width} pixels, {'dark' if dark else 'light'}"
            wrong += [f"{words} {where}" for words in complaints(browser, page, seen)]
            grounds.add(seen["ground"])
            if shots is not None:
                shots.mkdir(parents=True, exist_ok=True)
                browser.screenshot(shots / f"{page.parent.name}-{page.stem}-{width}-{'dark' if dark else 'light'}.png")
    wrong += [] if len(grounds) == 2 else ["light and dark have the same ground"]
    browser.open(page, WIDTHS[0])
    browser.value(SCRIPT)
    columns, filters = sort_all(browser, wrong), filter_all(browser, wrong)
    wrong += [f"complains: {said}" for said in browser.complaints]
    browser.open(page, WIDTHS[0])
    browser.print_media()
    left = browser.value(f"{SCRIPT}; asked.printed()")
    wrong += [f"printed, {left[key]} {key} are left" for key in left if left[key]]
    if not browser.printed().startswith(b"%PDF"):
        wrong.append("cannot be printed")
    return wrong, columns, filters


def complaints(browser: Browser, page: Path, seen: dict) -> Iterator[str]:
    """What is wrong with a page as it stands."""
    yield from (f"complains: {said}" for said in browser.complaints)
    yield from (f"loads {url[:80]}" for url in browser.loaded if not url.startswith(("data:", page.resolve().as_uri())))
    if seen["wide"] > 0:
        yield f"is {seen['wide']} pixels too wide"
    if seen["least"][0] < LEAST_CONTRAST:
        yield f"has a contrast of {seen['least'][0]:.1f} ({seen['least'][1]})"
    yield from ("a picture is not there" for there, _ in seen["pictures"] if not there)
    yield from ("a picture has no words" for _, worded in seen["pictures"] if not worded)
    if seen["charts"]:
        yield f"{seen['charts']} charts have no words"


def sort_all(browser: Browser, wrong: list[str]) -> int:
    """Click every heading twice, and compare with the order that it should be."""
    tried = browser.value("asked.sort()")
    for number, column, numeric, before, first, second in tried:
        for up, rows in ((not numeric, first), (numeric, second)):
            if sorted(row[2] for row in rows) != sorted(row[2] for row in before):
                wrong.append(f"table {number} loses rows when column {column} sorts")
            elif not in_order(rows, numeric, up):
                wrong.append(f"table {number} does not sort by column {column}")
    return len(tried)


def in_order(rows: list[list[str]], numeric: bool, up: bool) -> bool:
    """Whether rows stand in the order of a column: numbers by value and blanks last, words as a dictionary has them."""
    if not numeric:
        filled = [word_key(row[1]) for row in rows if row[1]]
        return [word_key(row[1]) for row in rows][: len(filled)] == sorted(filled, reverse=not up)
    values = [None if row[0] is None else float(row[0]) for row in rows]
    known = [value for value in values if value is not None]
    return values[: len(known)] == sorted(known, reverse=not up)


def word_key(text: str) -> list[int]:
    """Punctuation before digits before letters, whatever their case."""
    return [PUNCTUATION.find(sign) if sign in PUNCTUATION else 100 + ord(sign) for sign in text.lower()]


def filter_all(browser: Browser, wrong: list[str]) -> int:
    """Type words, and take off one kind after the other."""
    kinds = browser.value("asked.kinds()")
    if not kinds:
        return 0
    some = next(text for kind, text, _ in browser.value("asked.rows()") if kind != "baseline")
    searches = [some.split()[0][:4], f"{some.split()[0][:4]} no-row-has-this", ""]
    for words in searches:
        for kind, text, visible in browser.value(f"asked.search({json.dumps(words)})"):
            if visible != (kind == "baseline" or all(word in text for word in words.split())):
                wrong.append(f"searching for {words!r} shows or hides a {kind} row wrongly")
                break
    for wanted in kinds:
        off, on = (browser.value(f"asked.tick({json.dumps(wanted)})") for _ in range(2))
        if any(visible == (kind == wanted) for kind, _, visible in off):
            wrong.append(f"taking off {wanted} shows the wrong rows")
        if not all(visible for _, _, visible in on):
            wrong.append(f"rows stay hidden when {wanted} is shown again")
    return len(searches) + len(kinds)


def _inserted(at: str, what: str) -> Callable[[str], str]:
    return lambda text: text.replace(at, what + at, 1)


def _replaced(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new)


PLANTED: dict[str, Callable[[str], str]] = {
    "an error on the console": _inserted("</body>", "<script>throw new Error('planted')</script>"),
    "a picture from outside": _inserted("</body>", '<img src="http://127.0.0.1:9/x.png" alt="x">'),
    "a picture that is no picture": _inserted("</body>", '<img src="data:image/png;base64,AAAA" alt="x">'),
    "a picture without words": _inserted(
        "</body>", '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==">'
    ),
    "something too wide": _inserted("</main>", '<div style="width: 3000px">wide</div>'),
    "pale text": _inserted("</main>", '<p style="color: #888; background: #999">pale</p>'),
    "no dark scheme": _replaced("prefers-color-scheme: dark", "prefers-color-scheme: none"),
    "numbers sorted as words": _replaced("(numeric ? a - b : a.localeCompare(b))", "a.localeCompare(b)"),
    "blanks sorted first": _replaced('(a === "") - (b === "")', '(b === "") - (a === "")'),
    "a sort that loses a row": _replaced("body.append(...[", "body.rows[0].remove(); body.append(...["),
    "a search that finds any of the words": _replaced("words.every(", "!words.length || words.some("),
    "kinds that are not heeded": _replaced("kinds.has(row.dataset.kind) && ", ""),
    "tables that scroll in print": _replaced(".board { max-height: none; overflow: visible; }", ""),
    "controls in print": _replaced(".controls { display: none; }", ""),
}  # fmt: skip
"""Defect -> what makes it of a page."""


def planted(page: Path, into: Path) -> Iterator[tuple[str, Path]]:
    """Every defect that can be made of a page, each in a copy of it."""
    whole = page.read_text(encoding="utf-8")
    for name, spoil in PLANTED.items():
        if (spoiled := spoil(whole)) != whole:
            path = into / f"{name.replace(' ', '-')}.html"
            path.write_text(spoiled, encoding="utf-8")
            yield name, path


if __name__ == "__main__":
    sys.exit(main())
