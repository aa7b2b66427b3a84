"""How late checks start: `lag` and `hanging`."""

import os
import time
from functools import partial

from harness.daemon import WARM_UP_SECONDS, Daemon, monitors, sound_counts
from harness.groups.common import Bench, Sides, interleaved, ratio
from harness.load import spinners
from harness.page import Histogram, series
from harness.report import Row, Unsound
from harness.target import Silent

IDLE_BAR_MS, BUSY_BAR_MS = 5, 20
HANGING_BAR = 1.2

RATE = 1000
HEALTHY, HANGING = 100, 1000
HANGING_EVERY = 5  # as long as their timeout, so that each of them hangs all the time
PLACES = 2000  # for all at once; by default there are fewer than there are monitors
LAG_ROUNDS = 2


def p99_ms(lag: Histogram) -> float:
    return lag.quantile(0.99) * 1000


def lag(bench: Bench) -> list[Row]:
    """On a machine that is idle, and on one half of whose cores' time others take."""
    idle, busy = f"start lag p99, {RATE}/s, idle", f"start lag p99, {RATE}/s, cores half busy"
    sides: Sides = {idle: partial(idle_lag, bench), busy: partial(busy_lag, bench)}
    samples = interleaved(min(LAG_ROUNDS, bench.rounds), sides)
    bars = ((idle, IDLE_BAR_MS), (busy, BUSY_BAR_MS))
    return [Row(name, "ms", samples[name], bar) for name, bar in bars]


def idle_lag(bench: Bench) -> float:
    with Daemon(bench.binary, bench.target, monitors([bench.target.http], RATE, 1)) as daemon:
        time.sleep(WARM_UP_SECONDS)
        lag = daemon.lag(3 * bench.window)
        sound_counts(daemon.page())
    return p99_ms(lag)


def busy_lag(bench: Bench) -> float:
    with spinners(sorted(os.sched_getaffinity(0))) as load:
        time.sleep(0.5)
        begin, before = time.monotonic(), load.cpu_seconds()
        found = idle_lag(bench)
        load.check(before, time.monotonic() - begin)
    return found


def hanging(bench: Bench) -> list[Row]:
    """Healthy targets alone, then beside many that never answer."""
    alone, beside = f"start lag p99, {HEALTHY} healthy", f"the same beside {HANGING} that hang"
    roomy = f"the same, max_concurrent_checks: {PLACES}"
    bound = "the healthy ones' at most"
    bounds: dict[str, list[float]] = {f"{bound}, beside {HANGING}": [], f"{bound}, {PLACES} at once": []}
    defaults, more = bounds.values()
    sides: Sides = {
        alone: partial(alone_lag, bench),
        beside: partial(hanging_lag, bench, defaults),
        roomy: partial(hanging_lag, bench, more, PLACES),
    }
    samples = interleaved(min(LAG_ROUNDS, bench.rounds), sides)
    rows = [Row(name, "ms", samples[name]) for name in sides]
    rows += [Row(name, "ms", values) for name, values in bounds.items() if values]
    return [*rows, ratio(samples, beside, alone, HANGING_BAR), ratio(samples, roomy, alone)]


def alone_lag(bench: Bench) -> float:
    healthy = monitors([bench.target.http], HEALTHY, 1, "healthy-")
    with Daemon(bench.binary, bench.target, healthy) as daemon:
        time.sleep(WARM_UP_SECONDS)
        lag = daemon.lag(3 * bench.window)
        sound_counts(daemon.page())
    return p99_ms(lag)


def hanging_lag(bench: Bench, bounds: list[float], places: int | None = None) -> float:
    """The lag of all, as there is no other; but all that is late could be the healthy ones'."""
    healthy = monitors([bench.target.http], HEALTHY, 1, "healthy-")
    with Silent() as silent:
        lines = healthy + monitors([silent.url], HANGING, HANGING_EVERY, "hanging-")
        with Daemon(bench.binary, bench.target, lines, places=places) as daemon:
            time.sleep(1.5 * HANGING_EVERY + 1)
            seconds = 3 * bench.window
            lag = daemon.lag(seconds)
            held = silent.held()
            check_healthy(daemon.page())
    if held < 0.9 * HANGING:
        raise Unsound(f"{held} connections hang instead of {HANGING}")
    bounds.append(lag.quantile(1 - 0.01 * HEALTHY * seconds / lag.total) * 1000)
    return p99_ms(lag)


def check_healthy(page: bytes) -> None:
    """That nothing became of the healthy ones but successes."""
    for labels, value in series(page, "monitor_checks_total"):
        if 'monitor="healthy-' in labels and 'outcome="failure"' in labels and value:
            raise Unsound(f"a healthy target's check failed: {labels}")
    for labels, value in series(page, "monitor_checks_skipped_total"):
        if 'monitor="healthy-' in labels and value:
            raise Unsound(f"{value:.0f} slots of a healthy target were skipped: {labels}")
