"""Published rankings of failure detectors, compared again on the same episodes with intervals.

Reads the leaderboard of a benchmark, whose pairs are compared on the same resampled episodes and training seeds; it
computes nothing itself.  A ranking holds here where the whole interval of the difference is above zero, is turned
round where it is below, and is open otherwise.

Run: workbench benchmark +experiment=benchmark/seen          (first; the stores are of recipe monitors-v1)
     make verify WHAT=rankings ARGS="--leaderboard runs/benchmark-seen/leaderboard.json"
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from tests.verify.claims import table
from workbench.execution.progress import console
from workbench.types import Record


@dataclasses.dataclass(frozen=True)
class Claim:
    """A published ranking: ``first`` above ``second`` by a metric."""

    claim: str
    first: str
    second: str
    metric: str
    published: str


CLAIMS = (
    Claim("FIPER over its RND", "fiper", "rnd", "twa", "TWA 0.65 / 0.59 (Römer et al., NeurIPS 2025)"),
    Claim("FIPER over its entropy", "fiper", "entropy", "twa", "TWA 0.65 / 0.63 (the same)"),
    Claim("chunk entropy over STAC", "entropy", "stac", "twa", "TWA 0.63 / 0.57 (the same)"),
    Claim("kernel density over RND", "kernel_density", "rnd", "twa", "TWA 0.71 / 0.61 (third-party re-run of FIPER)"),
    Claim(
        "logpZO over RND of actions",
        "logpzo",
        "rnd_actions",
        "balanced_accuracy",
        "best in 10 / 5 of 16 settings (Xu et al., RSS 2025)",
    ),
    Claim(
        "STAC over sample variance",
        "stac",
        "sample_variance",
        "balanced_accuracy",
        "0.92 / 0.71 (Agia et al., CoRL 2024)",
    ),
    Claim(
        "SAFE-MLP over kNN",
        "safe_mlp",
        "knn_cosine",
        "matched_auroc@0.5",
        "AUROC 0.81 / 0.81 (Gu et al., NeurIPS 2025)",
    ),
    Claim("SAFE-LSTM over kNN", "safe_lstm", "knn_cosine", "matched_auroc@0.5", "AUROC 0.82 / 0.81 (the same)"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--leaderboard", type=Path, default=Path("runs/benchmark-seen/leaderboard.json"))
    options = parser.parse_args()
    if not options.leaderboard.exists():
        parser.error(f"there is no {options.leaderboard}: run workbench benchmark +experiment=benchmark/seen first")
    found: Record = json.loads(options.leaderboard.read_text(encoding="utf-8"))
    pairs = {(each["first"], each["second"], each["metric"]): each for each in found["pairs"]}
    missing = [claim.claim for claim in CLAIMS if (claim.first, claim.second, claim.metric) not in pairs]
    shown = table(
        f"published rankings on {', '.join(store['task'] for store in found['stores'])}",
        "claim",
        "published",
        "metric",
        "difference here",
        "95 %",
        "p",
        "episodes",
        "it",
    )
    for claim in CLAIMS:
        if claim.claim in missing:
            continue
        each = pairs[claim.first, claim.second, claim.metric]
        gain = each["difference"]
        shown.add_row(
            claim.claim,
            claim.published,
            claim.metric,
            f"{gain['value']:+.3f}",
            f"{gain['low']:+.3f} .. {gain['high']:+.3f}",
            f"{each['p_value']:.3f}",
            str(gain["n"]),
            verdict(gain["low"], gain["high"]),
        )
    console.print(shown)
    if missing:
        console.print(f"not in this leaderboard: {', '.join(missing)}; add them to job.pairs")
    return 1 if missing else 0


def verdict(low: float, high: float) -> str:
    """What the interval of a difference says of a ranking."""
    return "holds" if low > 0 else "is turned round" if high < 0 else "stays open"


if __name__ == "__main__":
    sys.exit(main())
