#!/usr/bin/env python3
"""What a check costs, how late it starts, and what many monitors take: ratios to yardsticks of the same run.

Needs Linux and Debian's packages that benches/README.md names, which also says what each number is,
and what was left out. All of it runs on loopback.
Exit code 0 when it measured, also where a bar is missed; 1 when it could not measure.
"""

import argparse
import resource
import subprocess
import sys
from pathlib import Path

from harness.groups import ALWAYS, GROUPS
from harness.groups.common import Bench
from harness.report import (
    REPOSITORY,
    CannotMeasure,
    Row,
    Unsound,
    environment,
    shout,
    show_facts,
    show_rows,
    write_json,
)
from harness.script import executable, missing, require_always, run_script
from harness.target import Target, nginx
from harness.yardsticks import build_bare


def measurable(names: list[str]) -> list[str]:
    """Those groups whose tools there are; says loudly what the others lack."""
    require_always()
    found = []
    for name in names:
        if lacking := missing(GROUPS[name].tools):
            shout(f"{name}: cannot measure without Debian's {', '.join(lacking)}: apt-get install them")
        else:
            found.append(name)
    return found


def measure(options: argparse.Namespace) -> bool:
    """Measures, reports, and says whether there is every number."""
    groups = measurable(options.groups)
    binary = find_binary(options.binary)
    bare = options.bare
    if bare is None and any(GROUPS[name].needs_bare for name in groups):
        bare = build_bare()
    facts = environment(binary, ALWAYS.union(*(GROUPS[name].tools for name in groups)))
    show_facts(facts)
    rows: list[Row] = []
    is_complete = len(groups) == len(options.groups)
    for name in groups:
        try:
            # Each with a server of its own, whose counts and logs are of this group only.
            with nginx() as target:
                found = GROUPS[name].measure(bench(options, binary, bare, target))
        except (CannotMeasure, Unsound, OSError, subprocess.SubprocessError) as reason:
            shout(f"{name}: cannot measure: {reason}")
            is_complete = False
        else:
            show_rows(found)
            rows += found
    if options.json:
        write_json(options.json, facts, rows)
    return is_complete


def bench(options: argparse.Namespace, binary: Path, bare: Path | None, target: Target) -> Bench:
    taken = vars(options) | {"binary": binary, "bare": bare, "target": target}
    return Bench(**{name: taken[name] for name in Bench.__dataclass_fields__})


def find_binary(given: Path | None) -> Path:
    binary = given or REPOSITORY / "target/release/monitoringdaemon"
    if given is None and not binary.exists():
        subprocess.run(["cargo", "build", "--release", "--locked"], cwd=REPOSITORY, check=True)
    return executable(binary)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add, rates, counts = parser.add_argument, range(10, 10_001), range(10, 200_001)
    default = [name for name, group in GROUPS.items() if group.is_default]
    choices = [*GROUPS, "all"]
    add(
        "groups",
        nargs="*",
        default=default,
        metavar="GROUP",
        help=f"what to measure ({' '.join(default)}; of {' '.join(choices)})",
    )
    add("--binary", type=Path, metavar="FILE", help="what to measure (target/release/monitoringdaemon)")
    add("--bare", type=Path, metavar="FILE", help="the program of benches/bare.rs (built by cargo bench)")
    add("--json", type=Path, metavar="FILE", help="where to write all samples")
    add("--rounds", type=int, choices=range(1, 21), default=5, metavar="N")
    add("--window", type=int, choices=range(1, 31), default=3, metavar="SECONDS")
    add("--rates", type=int, choices=rates, nargs="+", default=[5000, 2000, 1000], metavar="N")
    add("--https-rate", type=int, choices=rates, default=500, metavar="N")
    # Smaller numbers are for trying the script out.
    add(
        "--many",
        type=int,
        choices=counts,
        nargs="+",
        default=[10_000, 100_000],
        metavar="MONITORS",
        help="memory",
    )
    add("--many-every", type=int, choices=range(1, 3601), default=60, metavar="SECONDS", help="memory")
    add(
        "--sizes",
        type=int,
        choices=counts,
        nargs="+",
        default=[100, 1000, 10_000, 100_000],
        metavar="MONITORS",
        help="growth",
    )
    add("--growth-rate", type=int, choices=rates, default=1000, metavar="N", help="growth")
    add("--scraped", type=int, choices=counts, default=10_000, metavar="MONITORS", help="scrape")
    add("--probed", type=int, choices=rates, default=1000, metavar="N", help="blackbox")
    add("--series-targets", type=int, choices=counts, default=10_000, metavar="N", help="series")
    add("--series-minutes", type=float, default=4, metavar="MINUTES", help="series; for each side")
    add("--sustained-from", type=int, choices=rates, default=5000, metavar="N", help="sustained")
    options = parser.parse_args()
    for name in options.groups:
        if name not in choices:
            parser.error(f"no group {name} (of {' '.join(choices)})")
    if "all" in options.groups:
        options.groups = list(GROUPS)
    return options


def main() -> int:
    options = parse_arguments()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return run_script(lambda: measure(options))


if __name__ == "__main__":
    sys.exit(main())
