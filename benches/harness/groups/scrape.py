"""What a scrape takes: `scrape`."""

import gzip
import time
from functools import partial

from harness.daemon import SETTLE_SECONDS, Daemon, monitors, sound_counts
from harness.groups.common import Bench
from harness.groups.lag import p99_ms
from harness.page import samples, start_lag
from harness.report import Row, progress

IDENTITY_BAR_MS, GZIP_BAR_MS = 100, 200
LAG_BAR = 1.2

CHECK_EVERY = 60  # what checks take is subtracted, and varies by more than a scrape takes if there are many
PAUSE_SECONDS = 1  # from one scrape to the next

OPEN_METRICS = "application/openmetrics-text;version=1.0.0"
PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"


def scrape(bench: Bench) -> list[Row]:
    """CPU time of the daemon with scrapes less that without, in windows next to each other."""
    count, scrapes = bench.scraped, 3 * bench.window
    with Daemon(bench.binary, bench.target, monitors([bench.target.http], count, CHECK_EVERY)) as daemon:
        progress(f"scrape: {count} monitors are checked once")
        time.sleep(1.5 * CHECK_EVERY + 1)
        progress("scrape: nobody scrapes")
        before = start_lag(daemon.page())
        time.sleep(SETTLE_SECONDS)
        opened = start_lag(daemon.page())
        time.sleep(SETTLE_SECONDS)
        cpu, begin = daemon.cpu_seconds(), time.monotonic()
        time.sleep(scrapes * PAUSE_SECONDS)
        background = (daemon.cpu_seconds() - cpu) / (time.monotonic() - begin)
        closed = start_lag(daemon.page())
        quiet = (closed - opened) - (opened - before)
        cost = partial(cost_ms, daemon, scrapes, background)
        plain_ms, plain = cost("identity")
        first = start_lag(daemon.page())
        gzip_ms, packed = cost("gzip")
        open_metrics_ms, _ = cost("identity", accept=OPEN_METRICS)
        protobuf_ms, messages = cost("identity", accept=PROTOBUF)
        last = start_lag(daemon.page())
        sound_counts(plain)
    compact_ms, compact = compact_cost(bench, count, scrapes)
    name = f"{count} monitors"
    lags = [p99_ms(quiet), p99_ms(last - first)]
    return [
        Row(f"scrape of {name}", "ms", plain_ms, IDENTITY_BAR_MS),
        Row(f"scrape of {name}, gzip", "ms", gzip_ms, GZIP_BAR_MS),
        Row(f"scrape of {name}, OpenMetrics", "ms", open_metrics_ms, IDENTITY_BAR_MS),
        Row(f"scrape of {name}, protobuf", "ms", protobuf_ms, IDENTITY_BAR_MS),
        Row(f"scrape of {name}, compact, protobuf", "ms", compact_ms, IDENTITY_BAR_MS),
        Row(f"samples of {name}", "", [samples(plain)]),
        Row(f"page of {name}", "MB", [len(plain) / 1e6]),
        Row(f"page of {name}, gzip", "MB", [len(packed) / 1e6]),
        Row(f"page of {name}, protobuf", "MB", [len(messages) / 1e6]),
        Row(f"page of {name}, compact, protobuf", "MB", [len(compact) / 1e6]),
        Row("start lag p99, nobody scrapes", "ms", [lags[0]]),
        Row("start lag p99, scraped each second", "ms", [lags[1]]),
        Row("start lag p99, scraped / not", "", [lags[1] / lags[0]], LAG_BAR),
    ]


def compact_cost(bench: Bench, count: int, scrapes: int) -> tuple[list[float], bytes]:
    """The same of a daemon with the compact profile, whose histograms are native."""
    lines, sections = monitors([bench.target.http], count, CHECK_EVERY), ["metrics: {profile: compact}"]
    with Daemon(bench.binary, bench.target, lines, sections=sections) as daemon:
        progress(f"scrape: {count} monitors are checked once, compact")
        time.sleep(1.5 * CHECK_EVERY + 1)
        cpu, begin = daemon.cpu_seconds(), time.monotonic()
        time.sleep(scrapes * PAUSE_SECONDS)
        background = (daemon.cpu_seconds() - cpu) / (time.monotonic() - begin)
        return cost_ms(daemon, scrapes, background, "identity", accept=PROTOBUF)


def cost_ms(
    daemon: Daemon, scrapes: int, background: float, encoding: str, accept: str = "*/*"
) -> tuple[list[float], bytes]:
    """What each scrape takes above what checks take in its second, and the last page."""
    found = []
    for index in range(1, scrapes + 1):
        progress(f"scrape {index} of {scrapes}, {encoding}")
        cpu, begin = daemon.cpu_seconds(), time.monotonic()
        page = daemon.scrape(encoding, accept)
        time.sleep(max(0, begin + PAUSE_SECONDS - time.monotonic()))
        span = time.monotonic() - begin
        found.append((daemon.cpu_seconds() - cpu - background * span) * 1000)
    if encoding == "gzip":
        gzip.decompress(page)  # it is what it should be
    return found, page
