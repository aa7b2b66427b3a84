#!/usr/bin/env python3
"""Many checks and reloads for some time: whether memory, descriptors and start lag stay as they are.

Needs Linux, nginx and openssl. Exit code 0 when it ran, also where something grew; 1 when it could not run.
"""

import argparse
import gzip
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from harness.daemon import WARM_UP_SECONDS, Daemon, monitors
from harness.page import LOSSES, Histogram, counts, start_lag, unaccounted_slots
from harness.report import REPOSITORY, shout
from harness.script import ready_program, run_script
from harness.target import nginx

EVERY_SECONDS = 10
PARTS = 3
GROWTH = 1.1  # from the second third to the last one
# What is small may move by so much: an allocator's piece, the connections of a moment, a timer's tick.
SLACK = {"memory": 1.0, "descriptors": 20.0, "start lag p99": 1.0}


@dataclass
class Sample:
    """What there was at a moment, and the lag of all checks until then."""

    seconds: float
    counted: dict[str, float]
    memory: float
    descriptors: int
    lag: Histogram
    unaccounted: float


def take(daemon: Daemon, begin: float) -> Sample:
    # Before the page is made, which takes memory and a descriptor for a moment.
    memory, descriptors = daemon.memory_mb("VmRSS"), daemon.descriptors()
    page = gzip.decompress(daemon.scrape("gzip"))
    seconds = time.monotonic() - begin
    return Sample(
        seconds, counts(page), memory, descriptors, start_lag(page), unaccounted_slots(page)
    )


def soak(binary: Path, rate: int, seconds: int, reloads: bool) -> bool:
    """Runs and shows it, and says whether everything stayed flat."""
    print(
        f"\n{'s':>5}{'checks':>11}{'failed':>8}{'skipped':>9}{'MB':>9}{'descriptors':>13}{'lag p99, ms':>13}"
    )
    with nginx() as target, Daemon(binary, target, monitors([target.http], rate, 1)) as daemon:
        time.sleep(WARM_UP_SECONDS)
        begin = time.monotonic()
        samples = [take(daemon, begin)]
        for index in range(1, seconds // EVERY_SECONDS + 1):
            time.sleep(max(0, begin + index * EVERY_SECONDS - time.monotonic()))
            samples.append(take(daemon, begin))
            show(samples[-2], samples[-1])
            if reloads:
                daemon.reload(changed(monitors([target.http], rate, 1), index))
    # A monitor that is changed is checked at once.
    return verdict(samples, rate, tolerance=0.05 if reloads else 0.02)


def changed(lines: list[str], reload: int) -> list[str]:
    """The monitors of `lines`, one in a hundred of which differs from those of the reload before."""
    label = f", labels: {{reload: '{reload}'}}}}"
    return [
        line.removesuffix("}") + label if number % 100 == reload % 100 else line
        for number, line in enumerate(lines)
    ]


def show(before: Sample, now: Sample) -> None:
    completed, failed, skipped, _ = now.counted.values()
    lag = (now.lag - before.lag).quantile(0.99) * 1000
    print(
        f"{now.seconds:>5.0f}{completed:>11.0f}{failed:>8.0f}{skipped:>9.0f}{now.memory:>9.2f}"
        f"{now.descriptors:>13}{lag:>13.2f}",
        flush=True,
    )


def verdict(samples: list[Sample], rate: int, tolerance: float) -> bool:
    """Each third begins where the one before ends, so that no check is left out."""
    size = (len(samples) - 1) // PARTS
    starts = [len(samples) - 1 - size * (PARTS - part) for part in range(PARTS)]
    thirds = [samples[start : start + size + 1] for start in starts]
    values = {
        "memory": [statistics.mean(it.memory for it in third[1:]) for third in thirds],
        "descriptors": [statistics.mean(it.descriptors for it in third[1:]) for third in thirds],
        "start lag p99": [(third[-1].lag - third[0].lag).quantile(0.99) * 1000 for third in thirds],
    }
    print(f"\n{'':<16}{'1st third':>11}{'2nd':>11}{'last':>11}")
    is_flat = True
    for name, (first, second, last) in values.items():
        grows = last > second * GROWTH and last > second + SLACK[name]
        is_flat &= not grows
        print(f"{name:<16}{first:>11.2f}{second:>11.2f}{last:>11.2f}  {'grows' if grows else 'flat'}")
    begin, end = samples[0], samples[-1]
    # Not by monitor: one that is changed begins anew.
    done = (end.lag - begin.lag).total
    achieved = done / (end.seconds - begin.seconds)
    print(f"\n{done:.0f} checks started, {achieved:.0f} a second")
    for loss in LOSSES:
        if lost := end.counted[loss] - begin.counted[loss]:
            shout(f"{lost:.0f} {loss}")
    if lost := [it.unaccounted for it in samples if it.unaccounted]:
        shout(f"slots that are not accounted for: {lost}")
    if abs(achieved / rate - 1) > tolerance:
        shout(f"{achieved:.0f} checks/s instead of {rate}")
    print("flat" if is_flat else "not flat")
    return is_flat


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    default = REPOSITORY / "target/release/monitoringdaemon"
    parser.add_argument("--binary", type=Path, default=default, metavar="FILE", help="what to run")
    parser.add_argument("--seconds", type=int, default=120, help="how long (120, at least 60)")
    parser.add_argument("--rate", type=int, default=5000, help="checks a second (5000)")
    parser.add_argument("--reloads", action="store_true", help="reload another configuration every 10 s")
    options = parser.parse_args()
    if not 60 <= options.seconds <= 86_400 or not 10 <= options.rate <= 20_000:
        parser.error("--seconds is 60 to 86400, --rate 10 to 20000")
    return options


def main() -> int:
    options = parse_arguments()

    def measure() -> bool:
        soak(ready_program(options.binary), options.rate, options.seconds, options.reloads)
        return True

    return run_script(measure)


if __name__ == "__main__":
    sys.exit(main())
