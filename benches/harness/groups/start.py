"""What a deployment meets first: `start` has the size of the program, its start, and its memory."""

import json
import time
import urllib.request

from harness.daemon import SETTLE_SECONDS, Daemon, monitors
from harness.groups.common import Bench
from harness.page import LOSSES, counts
from harness.report import Row, progress, shout

START_BAR_MS, SIZE_BAR_MB = 100, 15
FIRST_TLS_BAR = 1.5  # its code and data are not in the caches yet
MEMORY_BARS_MB = {2: 15, 1000: 40}

STARTS = 10
SCRAPES = 10
FIRST_TLS_RUNS = 5
MEMORY_RUNS = 3
CHECK_EVERY = 5


def start(bench: Bench) -> list[Row]:
    urls = [bench.target.http, bench.target.https]
    samples = []
    for index in range(1, STARTS + 1):
        progress(f"start {index} of {STARTS}")
        with Daemon(bench.binary, bench.target, monitors(urls, 2, CHECK_EVERY), "bundle.pem") as daemon:
            samples.append((daemon.first_check - daemon.started) * 1000)
    rows = [
        Row("size of the program", "MB", [bench.binary.stat().st_size / 1e6], SIZE_BAR_MB),
        Row("start to first check", "ms", samples, START_BAR_MS),
    ]
    samples = [first_tls_check(bench, index) for index in range(1, FIRST_TLS_RUNS + 1)]
    rows.append(Row("first check over TLS / later ones", "", samples, FIRST_TLS_BAR))
    for count, bar in MEMORY_BARS_MB.items():
        name = f"memory, {count} monitors"
        sizes = []
        for index in range(1, MEMORY_RUNS + 1):
            progress(f"{name}: {index} of {MEMORY_RUNS}")
            sizes.append(memory(bench, urls, count))
        resident, peak = (list(values) for values in zip(*sizes, strict=True))
        rows += [Row(name, "MB", resident, bar), Row(f"{name}, peak", "MB", peak)]
    return rows


def first_tls_check(bench: Bench, index: int) -> float:
    """Latency of the first check over TLS in a process, by the median of the next four."""
    progress(f"first check over TLS, {index} of {FIRST_TLS_RUNS}")
    with Daemon(bench.binary, bench.target, monitors([bench.target.https], 1, 1)) as daemon:
        time.sleep(5.5)
        url = f"http://{daemon.address}/api/v1/monitors/m0"
        with urllib.request.urlopen(url, timeout=10) as response:
            checks = json.load(response)["checks"]
    first, *later = [check["seconds"] for check in sorted(checks, key=lambda check: check["ended_at"])]
    return first / sorted(later)[len(later) // 2]


def memory(bench: Bench, urls: list[str], count: int) -> tuple[float, float]:
    """Resident memory and its peak, after every monitor was checked and some scrapes."""
    lines = monitors(urls, count, CHECK_EVERY)
    with Daemon(bench.binary, bench.target, lines, "bundle.pem") as daemon:
        time.sleep(CHECK_EVERY + 1)
        for _ in range(SCRAPES):
            daemon.scrape("gzip")
            time.sleep(SETTLE_SECONDS)
        sizes = daemon.memory_mb("VmRSS"), daemon.memory_mb("VmHWM")
        counted = counts(daemon.page())
    if counted["completed"] < count or any(counted[loss] for loss in LOSSES):
        shout(f"memory: not every check of {count} monitors was run and succeeded: {counted}")
    return sizes
