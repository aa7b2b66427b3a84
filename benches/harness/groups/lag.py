"""How late checks start: `lag` and `hanging`."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
PLACES = 2000  # for all at once, and more; by default there are fewer than there are monitors
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
    alone = f"start lag p99, {HEALTHY} healthy"
    beside = f"the same beside {HANGING} that hang, {PLACES} places"
    skipped = f"slots of the healthy skipped beside {HANGING}, default places"
    bounds: list[float] = []
    sides: Sides = {
        alone: partial(alone_lag, bench),
        beside: partial(hanging_lag, bench, bounds),
        skipped: partial(hanging_skips, bench),
    }
    samples = interleaved(min(LAG_ROUNDS, bench.rounds), sides)
    return [
        Row(alone, "ms", samples[alone]),
        Row(beside, "ms", samples[beside]),
        Row(f"the healthy ones' at most, {PLACES} places", "ms", bounds),
        ratio(samples, beside, alone, HANGING_BAR),
        Row(skipped, "", samples[skipped], 0),
    ]


def alone_lag(bench: Bench) -> float:
    healthy = monitors([bench.target.http], HEALTHY, 1, "healthy-")
    with Daemon(bench.binary, bench.target, healthy) as daemon:
        time.sleep(WARM_UP_SECONDS)
        lag = daemon.lag(3 * bench.window)
        sound_counts(daemon.page())
    return p99_ms(lag)


@contextmanager
def beside_hanging(bench: Bench, places: int | None, least: float) -> Iterator[Daemon]:
    """A daemon with healthy targets and, once it yields, at least so many that hang in flight."""
    healthy = monitors([bench.target.http], HEALTHY, 1, "healthy-")
    with Silent() as silent:
        lines = healthy + monitors([silent.url], HANGING, HANGING_EVERY, "hanging-")
        with Daemon(bench.binary, bench.target, lines, places=places) as daemon:
            time.sleep(2.5 * HANGING_EVERY + 1)
            yield daemon
            held = silent.held()
    if held < least * HANGING:
        raise Unsound(f"{held} connections hang instead of {HANGING}")


def hanging_lag(bench: Bench, bounds: list[float]) -> float:
    """The lag of all, as there is no other; but all that is late could be the healthy ones'."""
    with beside_hanging(bench, PLACES, 0.9) as daemon:
        seconds = 3 * bench.window
        lag = daemon.lag(seconds)
        if skips := healthy_skips(daemon.page()):
            raise Unsound(f"{skips:.0f} slots of healthy targets were skipped")
    bounds.append(lag.quantile(1 - 0.01 * HEALTHY * seconds / lag.total) * 1000)
    return p99_ms(lag)


def hanging_skips(bench: Bench) -> float:
    """Slots that the healthy ones lost once those that hang were known to.

    Where there are fewer places than monitors, those that hang wait for one, and then run over
    their next slot: fewer of them are in flight than there are places.
    """
    with beside_hanging(bench, None, 0.3) as daemon:
        before = healthy_skips(daemon.page())
        time.sleep(3 * bench.window)
        return healthy_skips(daemon.page()) - before


def healthy_skips(page: bytes) -> float:
    """Slots of healthy targets that were skipped, none of whose checks failed."""
    for labels, value in series(page, "monitor_checks_total"):
        if 'monitor="healthy-' in labels and 'outcome="failure"' in labels and value:
            raise Unsound(f"a healthy target's check failed: {labels}")
    skips = series(page, "monitor_checks_skipped_total")
    return sum(value for labels, value in skips if 'monitor="healthy-' in labels)
