"""The page of published systems: all of them, each with what works here and no figure without a page that has it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "systems.md"
STATES = {"works", "partly", "not yet", "outside"}
SYSTEMS = """
AHA, FailGen | FailSafe | FIPER | SAFE | REFLECT | Coherent explanations | BTMG | Optimal decisions in assembly
GoBA, BadLIBERO | KAGE-Bench | VLS | Retrieve-then-Steer | SGAC | MCNN | VLASH | VLA-RAIL | AURA-Mem | Per-group error
T-MEE | AdaWAM | Large Reward Models | Adapt2Reward | MotIF | World-VLA-Loop | World-Env | QuantWM | Cable routing
GravMAD | Neural reachable tubes | Reachable set estimation | Bresa | SafeFlow | Silent failures in physical AI
Verified safety controllers | Symphony, ODICE | DROC | RePLan | SayPlan | ExploreVLM | CoMuRoS | PARTNR
EMMOE, HomieBot | ApexNav, FlySearch | CARIL | SCI | Diverse STL diffusion | TI-PREGO | NANO filter | MEDIDA
Patient-0 in MARL | MPTS | MetaBEV | Pseudo-simulation
NAVSIM, Hydra-NeXt, RAP, LMDrive, Bench2Drive-VL, RIFT, IRL-VLA, RaWMPC, AEF-OCL
M100, MM-CreativityBench, Ouroboros-Spatial, CP-Bench
A2P | FALAT | CDC-MAS | GraphTracer | VerifyMAS | CodeTracer | AgentDebug | AgentFail | TRAJEVAL | AgentProcessBench
FAMAS | CORAL | AEGIS (errors) | MAS-FIRE | Trace-based assurance | ToolGym, CLI-Gym | MultiMon | CORRECT
Mistake Notebook | Flaky jobs | Signals | TIDE | AgentForesight | Prediction is not prevention | Hell or High Water
Step-level cascade | SAGE-Agent | Hot mess | Diminishing returns | Silent failures in production
Safe, or simply incapable? | ProjLens | Representational geometry | SEA | SAGE (images) | Failure-prefix conditioning
AOI | InT, R3L, Agent-R and others | SEAL, SwS, FATE and others | CAAF, LACUNA, ADaPT and others
MAST and other taxonomies | LQR activation steering, STAR | Plan-RewardBench | Rankings that flip
"""
"""Every system that is taken up, by the name in the first column."""
NAMES = [name.strip() for line in SYSTEMS.strip().splitlines() for name in line.split(" | ")]
FIGURE = re.compile(r"[-+]?\d+(?:,\d{3})*(?:\.\d+)?")
WHOLE = re.compile(r"\d+(?:,\d{3})* of \d+(?:,\d{3})*|[-+]?\d[\d.]* \([-+]?[\d.]+(?:-| to )[-+]?[\d.]+\)")
"""Figures that mean something only together: a count of a count, an estimate with its interval."""


def rows():
    """Name -> its cells, of all tables of the page."""
    found = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and cells[0] not in ("system", "---"):
            assert len(cells) == 6, line
            assert cells[0] not in found, f"{cells[0]} stands twice"
            found[cells[0]] = cells
    return found


ROWS = rows()


def unfounded(cell):
    """Figures of a cell that stand in none of the pages that it links to."""
    pages = [PAGE.parent / target.partition("#")[0] for target in re.findall(r"\]\(([^)]+)\)", cell)]
    text = " ".join(" ".join(page.read_text(encoding="utf-8").split()) for page in pages)
    there = {*FIGURE.findall(text), *WHOLE.findall(text)}
    said = re.sub(r"`[^`]*`|\([^()]*\.md[^()]*\)", "", cell)
    return [figure for figure in [*FIGURE.findall(said), *WHOLE.findall(said)] if figure not in there]


def test_every_system_has_a_row():
    assert len(NAMES) > 90
    assert [name for name in NAMES if name not in ROWS] == []


@pytest.mark.parametrize("name", ROWS)
def test_a_row_says_how_far_it_goes(name):
    _, claim, command, here, state, _ = ROWS[name]
    assert state in STATES
    assert claim
    if state in ("works", "partly"):
        assert command or here
    if state == "works":
        assert command
        assert here
    if state == "outside":
        assert not command


@pytest.mark.parametrize("name", ROWS)
def test_no_figure_of_ours_without_a_page_that_has_it(name):
    assert unfounded(ROWS[name][3]) == []


def test_a_figure_that_stands_nowhere_would_be_noticed():
    assert unfounded("0.99 (0.98-1.00) ([monitors](monitors.md))") != []
    assert unfounded("12 of 13") == ["12", "13", "12 of 13"]
    assert unfounded("0.91 (0.88-0.92) ([monitors](monitors.md))") == ["0.91 (0.88-0.92)"]
    assert unfounded("0.91 (0.90-0.92) ([monitors](monitors.md))") == []


def test_published_figures_have_a_source_or_say_less():
    """A claim of a robotics row with a figure names author, venue or number, and year."""
    for name, (_, claim, *_) in ROWS.items():
        if "arXiv" in claim or re.search(r"\b(19|20)\d\d\)", claim):
            assert re.search(r"\([^()]*(19|20)\d\d\)$", claim), name
