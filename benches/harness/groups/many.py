"""Many monitors: `memory` and `growth`."""

import gzip
import time
from functools import partial

from harness.daemon import Daemon, check_cost, monitors
from harness.groups.common import Bench, Sides, interleaved, ratio
from harness.page import LOSSES, counts
from harness.report import Row, progress, shout

KILOBYTES_BAR = 6
NATIVE_KILOBYTES_BAR = 6.5
LINEAR_BAR = 1.1
GROWTH_MOST, GROWTH_LEAST = 1.15, 0.85

SCRAPES = 2
SETTLE_SECONDS = 1
ROUNDS = 2


def memory(bench: Bench) -> list[Row]:
    """What a monitor takes above a daemon that has one: with none, it ends at once."""
    progress("memory, 1 monitor")
    one, one_peak = resident(bench, 1)
    rows = [Row("memory, 1 monitor", "MB", [one])]
    each = []
    for count in sorted(bench.many):
        progress(f"memory, {count} monitors")
        size, peak = resident(bench, count)
        each.append((size - one) * 1000 / (count - 1))
        peak_each = (peak - one_peak) * 1000 / (count - 1)
        rows += [
            Row(f"memory, {count} monitors", "MB", [size]),
            Row(f"memory, {count} monitors, peak", "MB", [peak]),
            Row(f"a monitor of {count}", "KB", [each[-1]], KILOBYTES_BAR),
            Row(f"a monitor of {count}, peak", "KB", [peak_each]),
        ]
    count = min(bench.many)
    progress(f"memory, {count} monitors with native histograms")
    size, _ = resident(bench, count, ["metrics: {native_histograms: {}}"])
    native = (size - one) * 1000 / (count - 1)
    rows.append(Row(f"a monitor of {count}, native histograms", "KB", [native], NATIVE_KILOBYTES_BAR))
    if len(each) > 1:
        name = f"a monitor of {max(bench.many)} / of {min(bench.many)}"
        rows.append(Row(name, "", [each[-1] / each[0]], LINEAR_BAR))
    return rows


def resident(bench: Bench, count: int, sections: list[str] | None = None) -> tuple[float, float]:
    """Resident memory and its peak, after every monitor was checked once, and two scrapes."""
    lines = monitors([bench.target.http], count)
    every = bench.many_every
    with Daemon(bench.binary, bench.target, lines, "bundle.pem", every=every, sections=sections) as daemon:
        # The first checks come right at the start; the last ones, where their places on the grid are.
        time.sleep(bench.many_every + 1 if count > 1 else SETTLE_SECONDS)
        for _ in range(SCRAPES):
            page = daemon.scrape("gzip")
            time.sleep(SETTLE_SECONDS)
        sizes = daemon.memory_mb("VmRSS"), daemon.memory_mb("VmHWM")
    counted = counts(gzip.decompress(page))
    if counted["completed"] < count or any(counted[loss] for loss in LOSSES):
        shout(f"memory: not every check of {count} monitors was run and succeeded: {counted}")
    return sizes


def growth(bench: Bench) -> list[Row]:
    """The same number of checks a second, of more and more monitors."""
    rate = bench.growth_rate
    check = partial(check_cost, bench.binary, bench.target, bench.target.http, rate, 3 * bench.window)
    names = {size: f"check, {size} monitors" for size in sorted(bench.sizes)}
    sides: Sides = {name: partial(check, count=size) for size, name in names.items()}
    samples = interleaved(min(ROUNDS, bench.rounds), sides)
    rows = [Row(name, "µs", samples[name]) for name in sides]
    first, *others = names.values()
    return rows + [ratio(samples, name, first, GROWTH_MOST, GROWTH_LEAST) for name in others]
