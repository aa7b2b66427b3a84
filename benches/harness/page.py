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


def counts(page: bytes) -> dict[str, float]:
    """What the daemon counted since its start."""
    completed = failed = 0.0
    for labels, value in series(page, "monitor_checks_total"):
        completed += value
        failed += value if 'outcome="failure"' in labels else 0
    skipped = sum(value for _, value in series(page, "monitor_checks_skipped_total"))
    dropped = sum(value for _, value in series(page, "monitoringdaemon_log_lines_dropped_total"))
    return {"completed": completed} | dict(zip(LOSSES, (failed, skipped, dropped), strict=True))


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


def start_lag(page: bytes) -> Histogram:
    """How late checks started, since the start of the daemon."""
    buckets = [
        (float(labels.split('le="')[1].rstrip('"}')), value)
        for labels, value in series(page, LAG)
        if labels.startswith(f"{LAG}_bucket")
    ]
    bounds, counts = (list(column) for column in zip(*sorted(buckets), strict=True))
    return Histogram(bounds, counts)
