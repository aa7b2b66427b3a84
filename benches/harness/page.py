"""What the daemon's page of metrics says."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

LOSSES = ("checks failed", "slots were skipped", "log lines were dropped")
LAG = "monitoringdaemon_check_start_lag_seconds"


def series(page: bytes, name: str) -> Iterator[tuple[str, float]]:
    """The samples of the family `name`, each with what stands before its value."""
    begin = page.find(f"# TYPE {name} ".encode())
    if begin < 0:
        return
    end = page.find(b"\n# ", begin)
    for line in page[begin : end if end > 0 else len(page)].decode().splitlines()[1:]:
        labels, _, value = line.rpartition(" ")
        yield labels, float(value)


def total(page: bytes, name: str, *labels: str) -> float:
    """The sum of the samples of the family `name` that have all of `labels`."""
    found = series(page, name)
    return sum(value for labels_found, value in found if all(label in labels_found for label in labels))


def counts(page: bytes) -> dict[str, float]:
    """What the daemon counted since its start."""
    completed = failed = 0.0
    for labels, value in series(page, "monitor_checks_total"):
        completed += value
        failed += value if 'outcome="failure"' in labels else 0
    skipped = total(page, "monitor_checks_skipped_total")
    dropped = total(page, "monitoringdaemon_log_lines_dropped_total")
    return {"completed": completed} | dict(zip(LOSSES, (failed, skipped, dropped), strict=True))


def unaccounted_slots(page: bytes) -> float:
    """Slots that came due, less those that were checked, skipped, or are being checked."""
    due = total(page, "monitor_checks_scheduled_total")
    checked, skipped = total(page, "monitor_checks_total"), total(page, "monitor_checks_skipped_total")
    return due - checked - skipped - total(page, "monitoringdaemon_checks_in_flight")


def reasons(page: bytes) -> str:
    """Why checks failed, each with how often."""
    found: dict[str, float] = {}
    for labels, value in series(page, "monitor_check_failures_total"):
        why = " in ".join(re.findall(r'(?:reason|phase)="(\w+)"', labels)[::-1])
        found[why] = found.get(why, 0) + value
    return ", ".join(f"{value:.0f} {why}" for why, value in found.items() if value)


def samples(page: bytes) -> int:
    """How many lines of the page are no comments."""
    return page.count(b"\n") - page.count(b"\n#") - page.startswith(b"#")


@dataclass
class Histogram:
    """How many were at most as large as each bound."""

    bounds: list[float]
    counts: list[float]

    @property
    def total(self) -> float:
        return self.counts[-1]

    def __sub__(self, earlier: "Histogram") -> "Histogram":
        counts = [a - b for a, b in zip(self.counts, earlier.counts, strict=True)]
        return Histogram(self.bounds, counts)

    def quantile(self, share: float) -> float:
        """As Prometheus' histogram_quantile does: linear within a bucket."""
        rank = share * self.total
        # A difference of differences may fall by a few where nothing happened.
        counts = list(itertools.accumulate(self.counts, max))
        lower = below = 0.0
        for bound, count in zip(self.bounds, counts, strict=True):
            if count >= rank and count > below:
                if bound == float("inf"):
                    return lower
                return lower + (bound - lower) * (rank - below) / (count - below)
            lower, below = bound, count
        return lower


def histogram(page: bytes, name: str, *labels: str) -> Histogram:
    """The sum of the histograms of the family `name` that have all of `labels`."""
    found: dict[float, float] = {}
    for series_name, value in series(page, name):
        if series_name.startswith(f"{name}_bucket") and all(label in series_name for label in labels):
            bound = float(series_name.split('le="')[1].partition('"')[0])
            found[bound] = found.get(bound, 0) + value
    bounds = sorted(found)
    return Histogram(bounds, [found[bound] for bound in bounds])


def start_lag(page: bytes) -> Histogram:
    """How late checks started, since the start of the daemon."""
    return histogram(page, LAG)
