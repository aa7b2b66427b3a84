"""How much longer checks take beside peers that flood: `floods`."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from harness.daemon import SETTLE_SECONDS, WARM_UP_SECONDS, Daemon, monitors
from harness.floods import FLOODS, Flood, flooding
from harness.groups.common import Bench, Sides, interleaved
from harness.page import Histogram, histogram, total
from harness.report import Row, Unsound

DELAY_BAR_MS = 5

HEALTHY = 20
CHECK_EVERY = 0.1  # and as long as a flood may last, so that it begins again at once
ROUNDS = 3

# Those of the six at once.
SIX = ("PRIORITY", "PING", "SETTINGS", "empty DATA", "interim responses, HTTP/1", "chunks of a byte, HTTP/1")

HEALTHY_ONES, HOSTILE_ONES = 'monitor="healthy-', 'monitor="flood-'

# In milliseconds, and fine enough for differences.
BUCKETS_MS = [step / 4 for step in range(1, 81)] + [25, 50, 100]


def floods(bench: Bench) -> list[Row]:
    """The time that 99 of 100 healthy checks take at most: alone, beside each flood, beside six."""
    alone = f"check p99, {HEALTHY} healthy"
    sides: Sides = {alone: partial(p99_ms, bench, ())}
    for flood in FLOODS:
        sides[f"added by {flood.name}"] = partial(p99_ms, bench, (flood,))
    six = tuple(flood for flood in FLOODS if flood.name in SIX)
    sides["added by six at once"] = partial(p99_ms, bench, six)
    samples = interleaved(min(ROUNDS, bench.rounds), sides)
    rows = [Row(alone, "ms", samples[alone])]
    for name in [name for name in sides if name != alone]:
        pairs = zip(samples[name], samples[alone], strict=True)
        rows.append(Row(name, "ms", [beside - by_itself for beside, by_itself in pairs], DELAY_BAR_MS))
    return rows


def p99_ms(bench: Bench, beside: tuple[Flood, ...]) -> float:
    healthy = monitors([bench.target.http], HEALTHY, CHECK_EVERY, "healthy-")
    with flooded(bench, beside) as urls:
        lines = healthy + monitors(urls, len(urls), CHECK_EVERY, "flood-")
        bounds = ", ".join(f"{bound / 1000:g}" for bound in BUCKETS_MS)
        sections = [f"metrics: {{duration_buckets: [{bounds}]}}"]
        with Daemon(bench.binary, bench.target, lines, sections=sections) as daemon:
            time.sleep(WARM_UP_SECONDS)
            before = daemon.page()
            time.sleep(SETTLE_SECONDS + 2 * bench.window)
            after = daemon.page()
    check(before, after, len(urls))
    return (durations(after) - durations(before)).quantile(0.99) * 1000


@contextmanager
def flooded(bench: Bench, beside: tuple[Flood, ...]) -> Iterator[list[str]]:
    with ExitStack() as stack:
        yield [stack.enter_context(flooding(flood, bench.target.directory)) for flood in beside]


def durations(page: bytes) -> Histogram:
    """How long the checks of the healthy ones took; a slot that was skipped counts as longer than all."""
    found = histogram(page, "monitor_check_duration_seconds", HEALTHY_ONES)
    skipped = total(page, "monitor_checks_skipped_total", HEALTHY_ONES)
    return Histogram(found.bounds, [*found.counts[:-1], found.counts[-1] + skipped])


def check(before: bytes, after: bytes, hostile: int) -> None:
    """That the others flooded, and were not taken for healthy."""
    if total(after, "monitor_checks_total", HOSTILE_ONES, 'outcome="success"'):
        raise Unsound("a check of a flood succeeded")
    failed = [total(page, "monitor_checks_total", HOSTILE_ONES) for page in (before, after)]
    if hostile and failed[0] == failed[1]:
        raise Unsound("no flood was checked")
