"""The same targets by blackbox_exporter and Prometheus: `blackbox`."""

import time
from collections.abc import Callable
from functools import partial

from harness import exporters
from harness.daemon import Daemon, check_cost, monitors, sound_counts
from harness.groups.common import Bench, Sides, interleaved, ratio
from harness.process import cpu_seconds
from harness.report import Row, Unsound
from harness.target import Target

BLACKBOX_BAR = 1 / 5

ROUNDS = 3
WARM_UP_SECONDS = 8  # by then Prometheus has scraped everything once, also what it scrapes each 5 s


def blackbox(bench: Bench) -> list[Row]:
    """The daemon with a Prometheus of its own by both of theirs, and by itself."""
    rate = bench.probed
    seconds = 5 * bench.window  # so many scrapes of the daemon as the window has seconds
    alone = f"daemon, {rate}/s"
    whole = f"daemon and Prometheus, {rate}/s"
    theirs = f"blackbox_exporter and Prometheus, {rate}/s"
    target = bench.target
    sides: Sides = {
        theirs: partial(probe_cost, target, rate, seconds),
        whole: partial(whole_cost, bench, rate, seconds),
        alone: partial(check_cost, bench.binary, target, target.http, rate, seconds),
    }
    samples = interleaved(min(ROUNDS, bench.rounds), sides)
    rows = [Row(name, "µs", samples[name]) for name in sides]
    return [
        *rows,
        ratio(samples, whole, theirs, BLACKBOX_BAR),
        ratio(samples, alone, theirs),
    ]


def probe_cost(target: Target, rate: int, seconds: float) -> float:
    """CPU microseconds of blackbox_exporter and Prometheus for a probe."""
    with exporters.blackbox(target) as (exporter, address):
        settings = exporters.prometheus_of_probes(address, target, rate)
        with exporters.prometheus(target, settings) as (prometheus, asked):
            time.sleep(WARM_UP_SECONDS)

            def cpu() -> float:
                return cpu_seconds(exporter) + cpu_seconds(prometheus)

            found = cost(target, rate, seconds, cpu)
            check_known(asked, "sum(probe_success)", rate)
    return found


def whole_cost(bench: Bench, rate: int, seconds: float) -> float:
    """CPU microseconds of the daemon, and a Prometheus that scrapes it each 5 s, for a check."""
    target = bench.target
    with Daemon(bench.binary, target, monitors([target.http], rate, 1)) as daemon:
        settings = exporters.prometheus_of_daemon(daemon.address)
        with exporters.prometheus(target, settings) as (prometheus, asked):
            time.sleep(WARM_UP_SECONDS)

            def cpu() -> float:
                return daemon.cpu_seconds() + cpu_seconds(prometheus)

            found = cost(target, rate, seconds, cpu)
            check_known(asked, "sum(monitor_up)", rate)
        sound_counts(daemon.page())
    return found


def cost(target: Target, rate: int, seconds: float, cpu: Callable[[], float]) -> float:
    """What `cpu` counts for each of the requests that the server had meanwhile."""
    before, requests, begin = cpu(), target.requests(), time.monotonic()
    time.sleep(seconds)
    taken, requests = cpu() - before, target.requests() - requests - 1
    achieved = requests / (time.monotonic() - begin)
    if abs(achieved / rate - 1) > 0.05:
        raise Unsound(f"{achieved:.0f} requests/s instead of {rate}")
    return taken / requests * 1e6


def check_known(prometheus: str, query: str, expected: int) -> None:
    """That Prometheus has heard of a success of every target."""
    known = exporters.ask(prometheus, query)
    if known != expected:
        raise Unsound(f"{query} is {known:.0f} instead of {expected}")
