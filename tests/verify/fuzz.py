"""Is whatever comes from files and servers read, or refused in one line?  Mutated inputs, by the hundred thousand.

Subjects are the modules of ``tests/fuzzing`` (``tests/fuzzing/runner.py`` says what one is).  Each attempt mutates one
valid input at random and reads it through the public door.  The claims, over all attempts:

- it ends with a value or with a WorkbenchError of one line, within 10 s and 1 GB;
- nothing is written outside its folder, and nothing that was read is executed (an audit hook watches).

Run: make verify WHAT=fuzz ARGS="--attempts 100000 --seed 0 [--only records wire ...]"
One attempt again, with its traceback: make verify WHAT=fuzz ARGS="--seed 0 --only records --repeat 123"
"""

from __future__ import annotations

import argparse

from tests.fuzzing.runner import FAULTS, repeat, run, subjects
from tests.verify.claims import table, verdict
from workbench.execution.progress import console


def main() -> int:
    options = arguments()
    names = options.only or subjects()
    if options.repeat is not None:
        for name in names:
            repeat(name, options.seed, options.repeat)
        return verdict(True, f"attempt {options.repeat} of {', '.join(names)} is read")
    tallies = run(names, -(-options.attempts // len(names)), options.seed, options.workers)
    shown = table("", "subject", "attempts", "a second", "returned", "refused", *FAULTS)
    for name, tally in tallies.items():
        speed = f"{tally.attempts / max(tally.seconds / options.workers, 1e-9):,.0f}"
        counts = [tally.attempts, speed, tally.returned, tally.refused, *(tally.faults[kind] for kind in FAULTS)]
        shown.add_row(name, *map(str, counts))
    console.print(shown)
    for tally in tallies.values():
        for line in tally.shown:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    attempts = sum(tally.attempts for tally in tallies.values())
    faults = sum(tally.faults.total() for tally in tallies.values())
    said = f"{attempts:,} mutated inputs of {len(names)} kinds are read or refused in one line; {faults} are not"
    return verdict(not faults, said)


def arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--attempts", type=int, default=100_000, help="in all, shared equally by the subjects")
    options.add_argument("--seed", type=int, default=0, help="decides what is drawn")
    options.add_argument("--only", nargs="+", choices=subjects(), metavar="SUBJECT", help=", ".join(subjects()))
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--repeat", type=int, metavar="NUMBER", help="one attempt again, here")
    return options.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
