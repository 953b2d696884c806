"""Every page: its commands compose, its Python names what there is, its links lead somewhere; the README is short."""

import ast
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

import workbench as wb
from workbench.config import compose
from workbench.config.checking import checked
from workbench.config.jobs import job_words, jobs
from workbench.config.moved import MOVED
from workbench.config.words import parse

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
WHERE = ("*.md", "docs/*.md", "datasets/README.md", "policies/zoo/*/card.md")
PAGES = sorted(page for pattern in WHERE for page in ROOT.glob(pattern))
MOST_LINES, MOST_LETTERS, MOST_WORDS = 130, 120, 16
ELSEWHERE = {
    "apt-get": "the system's", "eval": "the shell's", "git": "before there is a checkout", "pip": "the user's package",
    "python": "of this checkout, or of openpi's and OpenVLA's", "source": "the shell's", "ssh": "another machine",
    "uv": "a checkout of openpi", ".venv/bin/rerun": "the viewer", "export": "the shell's", "cd": "the shell's",
}  # fmt: skip
"""First words of commands that are not ours, and why they are not tried."""
PLACEHOLDERS = re.compile(r"\b(JOB|NAME|ENTRY|FILE)\b|\.\.\.|<[a-z]+>")
OWN_PARTS = re.compile(r"^(?!workbench new ).*(\bjerk\b|\bmy_\w+)")
"""Parts that a page tells how to write, and so are not here."""
LED_TO = (
    "start", "own-policy", "own-score", "own-task", "labels", "monitors", "faults", "recovery", "view", "data",
    "library",
)  # fmt: skip
"""Pages that the README has to lead to."""
SHOWS = {"--cfg", "--info"}
"""Flags that show something instead of running it."""


def blocks(text, *languages):
    """Contents of the fenced blocks in these languages."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [body for language, body in found if language in languages]


def prose(text):
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def shell_lines(page, *languages):
    """Lines of the blocks of a page in these languages, continued ones joined."""
    bodies = blocks(page.read_text(encoding="utf-8"), *languages)
    return [line.strip() for body in bodies for line in body.replace("\\\n", " ").splitlines()]


def quoted(page):
    """What stands in code quotes in a page's text."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(page.read_text(encoding="utf-8")))]


def our_commands():
    """Command of ours -> page, of all pages, placeholders left out."""
    found = {}
    for page in PAGES:
        for line in [*shell_lines(page, "sh", ""), *quoted(page)]:
            if re.match(r"workbench( [a-z]|$)", line) and not (PLACEHOLDERS.search(line) or OWN_PARTS.search(line)):
                found.setdefault(" ".join(shlex.quote(word) for word in shlex.split(line, comments=True)), page)
    return found


COMMANDS = our_commands()


@pytest.fixture(scope="module")
def composed():
    """Hydra set up once for all commands."""
    import hydra

    compose([])
    with hydra.initialize_config_module(config_module="workbench.conf", version_base="1.3"):
        yield


def tried(command):
    """Check a command as the command line does, without running it."""
    line = parse(shlex.split(command)[1:])
    if line.words and "--shell-completion" not in line.flags:
        checked(job_words(line.words), line.sweep, run=not SHOWS & set(line.flags))


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_every_page_composes(command, composed):
    tried(command)


@pytest.mark.parametrize(
    "command",
    [
        "workbench rollout policy=zoo/nothing",
        "workbench rol",
        "workbench label job.branchs=[8]",
        "workbench fit score=[rn]",
    ],
)
def test_a_wrong_command_would_be_noticed(command, composed):
    with pytest.raises(Exception, match=r"nothing|rol|branchs|rn"):
        tried(command)


def test_commands_are_found_on_the_pages():
    found = {shlex.split(command)[1] for command in COMMANDS if " " in command}
    assert set(jobs()) - found == set()
    assert len(COMMANDS) > 60


def test_other_commands_are_known():
    """`make` with targets that there are, scripts that there are, and what is not ours by its first word."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in PAGES:
        for line in [*shell_lines(page, "sh"), *(span for span in quoted(page) if span.startswith("make "))]:
            words = shlex.split(line, comments=True)
            if words and words[0] == "make":
                for target in [word for word in words[1:] if "=" not in word]:
                    assert re.search(rf"^{target}:", makefile, re.MULTILINE), (page.name, line)
                for claim in [word.removeprefix("WHAT=") for word in words if word.startswith("WHAT=")]:
                    assert (ROOT / "tests/verify" / f"{claim}.py").is_file(), (page.name, line)
            elif words and words[0] != "workbench":
                assert words[0] in ELSEWHERE, (page.name, line)
        for script in re.findall(r"python (docs/\w+\.py)", page.read_text(encoding="utf-8")):
            assert (ROOT / script).is_file(), (page.name, script)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text(encoding="utf-8"))):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def anchors(page):
    """Anchors of a page's headings, as they are made on a forge."""
    heads = re.findall(r"^#+ (.*)$", prose(page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_of_the_pages_names_what_there_is(page):
    for code in blocks(page.read_text(encoding="utf-8"), "python"):
        tree = ast.parse(code)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "wb":
                assert node.attr in wb.__all__, node.attr


def test_public_names_in_the_text_are_there():
    for page in PAGES:
        for name in re.findall(r"`wb\.(\w+)", prose(page.read_text(encoding="utf-8"))):
            assert name in wb.__all__, (page.name, name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_registry_and_no_machine_is_named(page):
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"pypi\.org|pythonhosted|download\.pytorch|conda\.anaconda|index-url", text)
    assert not re.search(r"(?<![\w.])/(home|root|work|tmp|Users|mnt)/", text)


def test_files_that_the_architecture_names_are_there():
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8") + (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    named = re.findall(r"`((?:workbench|envs|policies|detectors|conf|tests|docs)/[\w/]*(?:\.\w+)?)`", text)
    assert len(named) > 40
    assert [path for path in named if "NAME" not in path and not (ROOT / path).exists()] == []


def test_the_architecture_draws_the_layers_of_the_contract():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (layers,) = [each["layers"] for each in project["tool"]["importlinter"]["contracts"] if each["type"] == "layers"]
    (drawn,) = [body for body in blocks((ROOT / "docs/architecture.md").read_text("utf-8"), "") if "jobs" in body]
    lines = [re.split(r"\s{3,}", line.strip())[0] for line in drawn.splitlines() if line.strip(" -")]
    assert lines == list(layers)


def sentences(text):
    """Sentences of a page's text: no code, no tables, no headings, no pictures; an item of a list is one at least."""
    lines = [line for line in prose(text).splitlines() if not re.match(r"\s*(\||#|!\[|<!--)", line)]
    joined = re.sub(r"\n(?=\s*([-*]|\d+\.) )", "\n\n", "\n".join(lines))
    plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", re.sub(r"^[ \t]*([-*]|\d+\.) ", "", joined, flags=re.MULTILINE))
    paragraphs = [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", plain)]
    found = [part for paragraph in paragraphs for part in re.split(r"(?<=[.!?])\s+", paragraph)]
    return [part for part in found if re.search(r"\w", part)]


def mean_words(text):
    lengths = [len(sentence.split()) for sentence in sentences(text)]
    return sum(lengths) / len(lengths)


def test_the_readme_is_short():
    text = README.read_text(encoding="utf-8")
    lines = text.splitlines()
    assert len(lines) <= MOST_LINES
    assert [line for line in lines if len(line) > MOST_LETTERS] == []
    assert len(sentences(text)) > 30
    assert mean_words(text) <= MOST_WORDS


def test_length_of_sentences_is_measured():
    assert sentences("# Head\n\nOne two. Three\nfour five!\n\n| a b c |\n\n1. six\n2. seven eight\n") == [
        "One two.", "Three four five!", "six", "seven eight",
    ]  # fmt: skip
    assert mean_words("word " * 28 + ".") > MOST_WORDS


def test_the_readme_shows_the_picture_two_commands_and_the_way_on():
    text = README.read_text(encoding="utf-8")
    assert "(docs/quickstart.png)" in text
    (commands,) = [body for body in blocks(text, "sh") if "git clone" in body]
    assert len(commands.splitlines()) == 2
    assert [name for name in LED_TO if f"(docs/{name}.md)" not in text] == []
    assert "(CONTRIBUTING.md)" in text
    assert "(CITATION.cff)" in text


def test_every_page_is_on_the_map():
    text = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    pages = [page.name for page in (ROOT / "docs").glob("*.md") if page.name != "index.md"]
    assert [name for name in pages if f"({name})" not in text] == []


def test_every_task_is_in_the_table_of_tasks():
    text = (ROOT / "docs/tasks.md").read_text(encoding="utf-8")
    assert [path.stem for path in (ROOT / "conf/task").glob("*.yaml") if f"| `{path.stem}` |" not in text] == []


def test_every_strategy_is_in_the_table_of_strategies():
    text = (ROOT / "docs/recovery.md").read_text(encoding="utf-8")
    assert [path.stem for path in (ROOT / "conf/strategy").glob("*.yaml") if f"| `{path.stem}` |" not in text] == []


def test_every_shield_is_in_the_table_of_shields():
    text = (ROOT / "docs/shields.md").read_text(encoding="utf-8")
    assert [path.stem for path in (ROOT / "conf/shield").glob("*.yaml") if f"| `{path.stem}` |" not in text] == []


def test_every_claim_has_a_script_and_every_script_a_claim():
    text = (ROOT / "docs/claims.md").read_text(encoding="utf-8")
    scripts = {path.stem for path in (ROOT / "tests/verify").glob("*.py")} - {"claims", "golden"}
    assert set(re.findall(r"WHAT=(\w+)", text)) == scripts
    for path in re.findall(r"`(tests/[\w/.]+)`", text):
        assert (ROOT / path).exists(), path


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == wb.__version__
    assert cited["license"] == "Apache-2.0"
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    assert not {"doi", "url", "repository-code"} & set(cited)


def test_the_changelog_names_what_moved():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert [old for old, new in MOVED.items() if f"| `{old}` | `{new}` |" not in text] == []
