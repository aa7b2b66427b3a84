"""What Prometheus takes for the series of many targets, by profile and by blackbox_exporter: `series`."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from harness import exporters
from harness.daemon import Daemon, monitors, resident_mb
from harness.groups.common import Bench, ratio
from harness.process import cpu_seconds
from harness.report import Row, Unsound, progress

COMPACT_BAR, FULL_BAR = 0.4, 0.81
EVERY = 15  # seconds from one check, and one scrape, to the next

ONLY_NATIVE = "native_histograms: {}, classic_histograms: false"
NATIVE = ["--enable-feature=native-histograms"]

Process = subprocess.Popen[bytes]


class Side:
    """The processes of one side, and what is known of them."""

    def __init__(self, processes: list[Process], prometheus: str) -> None:
        self.processes = processes
        self.prometheus = prometheus

    def cpu_seconds(self) -> float:
        return sum(cpu_seconds(process) for process in self.processes)

    def memory_mb(self) -> list[float]:
        return [resident_mb(process) for process in self.processes]


def series(bench: Bench) -> list[Row]:
    """One side after the other, each once: memory grows with time, and all have the same."""
    full, compact = "daemon and Prometheus, full", "daemon and Prometheus, compact"
    native = "daemon and Prometheus, full with native histograms"
    theirs = "blackbox_exporter and Prometheus"
    sides: dict[str, Callable[[], Iterator[Side]]] = {
        full: lambda: ours(bench, "profile: full", []),
        native: lambda: ours(bench, f"profile: full, {ONLY_NATIVE}", NATIVE),
        compact: lambda: ours(bench, "profile: compact", NATIVE),
        theirs: lambda: blackbox(bench),
    }
    rows, memory = [], {}
    for name, start in sides.items():
        progress(f"series, {bench.series_targets} targets: {name}")
        with contextmanager(start)() as side:
            found, total = measure(bench, name, side)
        rows += found
        memory[name] = [total]
    bars = {full: FULL_BAR, native: None, compact: COMPACT_BAR}
    return [*rows, *(ratio(memory, side, theirs, bar) for side, bar in bars.items())]


def measure(bench: Bench, name: str, side: Side) -> tuple[list[Row], float]:
    """Memory at the end, and CPU time in the second half."""
    seconds = bench.series_minutes * 60
    time.sleep(seconds / 2)
    cpu, begin = side.cpu_seconds(), time.monotonic()
    time.sleep(seconds / 2)
    cores = (side.cpu_seconds() - cpu) / (time.monotonic() - begin)
    exporter, prometheus = side.memory_mb()
    known = exporters.ask(side.prometheus, "sum(monitor_up) or sum(probe_success)")
    # A check that failed a moment ago changes no memory.
    if known < 0.99 * bench.series_targets:
        raise Unsound(f"{name}: {known:.0f} of {bench.series_targets} targets are known to be up")
    count = exporters.head_series(side.prometheus)
    rows = [
        Row(f"{name}, memory", "MB", [exporter + prometheus]),
        Row(f"{name}, memory of Prometheus", "MB", [prometheus]),
        Row(f"{name}, CPU time", "%", [cores * 100]),
        Row(f"{name}, series for a target", "", [count / bench.series_targets]),
    ]
    return rows, exporter + prometheus


def ours(bench: Bench, metrics: str, features: list[str]) -> Iterator[Side]:
    """The daemon, and a Prometheus that scrapes it."""
    lines = monitors([bench.target.http], bench.series_targets)
    sections = [f"metrics: {{{metrics}}}"]
    with Daemon(bench.binary, bench.target, lines, every=EVERY, sections=sections) as daemon:
        settings = exporters.prometheus_of_daemon(daemon.address, EVERY)
        with exporters.prometheus(bench.target, settings, features) as (prometheus, address):
            yield Side([daemon.process, prometheus], address)


def blackbox(bench: Bench) -> Iterator[Side]:
    """blackbox_exporter, and a Prometheus that has it probe."""
    with exporters.blackbox(bench.target) as (exporter, address):
        settings = exporters.prometheus_of_probes(address, bench.target, bench.series_targets, EVERY)
        with exporters.prometheus(bench.target, settings) as (prometheus, asked):
            yield Side([exporter, prometheus], asked)
