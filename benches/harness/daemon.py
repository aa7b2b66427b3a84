"""The daemon: how it is configured, run, read and measured."""

import gzip
import os
import re
import subprocess
import threading
import time
import urllib.request
from functools import partial
from pathlib import Path

from harness.page import LOSSES, Histogram, counts, reasons, start_lag
from harness.process import cpu_seconds, number, stop
from harness.report import CannotMeasure, Unsound
from harness.target import Target

WARM_UP_SECONDS = 2.5  # by then each monitor has left its early first slot for its place on the grid
SETTLE_SECONDS = 0.3  # by then nothing is left to do of a scrape
KNOWN_SECONDS = 60  # until it listens, and its first check succeeded


def monitors(urls: list[str], count: int, every: float | None = None, prefix: str = "m") -> list[str]:
    """`count` monitors that take turns at `urls`, without `every` as often as by default.

    In few bytes and values: there is a limit to both of a file.
    """
    own = "" if every is None else f", check_every: {every:g}"
    return [f" {prefix}{index}: {{url: {urls[index % len(urls)]}{own}}}" for index in range(count)]


def config(lines: list[str], every: float | None, places: int | None, others: list[str]) -> str:
    """A configuration with the monitors of `lines`; all else is as by default, unless it is given."""
    sections = ["server: {listen: '127.0.0.1:0'}", *others]
    if every is not None:
        sections.append(f"defaults: {{check_every: {every:g}}}")
    if places is not None:
        sections.append(f"dispatcher: {{max_concurrent_checks: {places}}}")
    return "\n".join([*sections, "monitors:", *lines, ""])


class Daemon:
    """A daemon whose log a thread reads and drops, as a container runtime does."""

    def __init__(
        self,
        binary: Path,
        target: Target,
        lines: list[str],
        authorities: str = "ca.pem",
        prefix: list[str] | None = None,
        every: float | None = None,
        places: int | None = None,
        sections: list[str] | None = None,
    ) -> None:
        self.file = target.directory / "config.yml"
        self.config = partial(config, every=every, places=places, others=sections or [])
        self.file.write_text(self.config(lines))
        environment = {k: v for k, v in os.environ.items() if k not in ("RUST_LOG", "SSL_CERT_DIR")}
        environment["SSL_CERT_FILE"] = str(target.directory / authorities)
        command = [*(prefix or []), str(binary), "--config", str(self.file)]
        self.started = time.monotonic()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0, env=environment)
        self.address = ""
        self.first_check = 0.0
        self.is_known = threading.Event()
        self.reader = threading.Thread(target=self.read_log, daemon=True)
        self.reader.start()

    def read_log(self) -> None:
        assert self.process.stdout is not None
        head = b""
        while chunk := self.process.stdout.read(1 << 16):
            if self.first_check:
                continue
            head += chunk
            # It need not be in one piece; all before it is the start of each monitor.
            if b"Check succeeded" in head[-len(chunk) - 100 :]:
                self.first_check = time.monotonic()
                listening = re.search(rb"Server is listening address=(\S+)", head)
                self.address = listening[1].decode() if listening else ""
                self.is_known.set()
        self.is_known.set()

    def __enter__(self) -> "Daemon":
        self.is_known.wait(timeout=KNOWN_SECONDS)
        if not self.address:
            stop(self.process)
            raise CannotMeasure("the daemon does not start, or no check of it succeeds")
        return self

    def __exit__(self, *_: object) -> None:
        stop(self.process)
        self.reader.join(timeout=5)

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.process)

    def memory_mb(self, key: str) -> float:
        """A line of proc_pid_status(5), in MB of 10^6 bytes."""
        return memory_mb(self.process, key)

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def scrape(self, encoding: str, accept: str = "*/*") -> bytes:
        """The page as it comes."""
        url = f"http://{self.address}/metrics"
        headers = {"Accept-Encoding": encoding, "Accept": accept}
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as response:
            return bytes(response.read())

    def reload(self, lines: list[str]) -> None:
        """Has it run the monitors of `lines` instead."""
        self.file.write_text(self.config(lines))
        request = urllib.request.Request(f"http://{self.address}/-/reload", method="POST")
        urllib.request.urlopen(request, timeout=60).close()

    def page(self) -> bytes:
        return gzip.decompress(self.scrape("gzip"))

    def lag(self, seconds: float) -> Histogram:
        """How late the checks of so many seconds started, in which nobody scrapes.

        A scrape ends after the moment that it tells of, and so each window begins with the rest of
        one. What happens in a window of no length is taken away.
        """
        pages = []
        for pause in (SETTLE_SECONDS, SETTLE_SECONDS + seconds, 0):
            pages.append(start_lag(self.page()))
            time.sleep(pause)
        first, second, third = pages
        return (third - second) - (second - first)


def memory_mb(process: subprocess.Popen[bytes], key: str) -> float:
    """A line of proc_pid_status(5), in MB of 10^6 bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return number(rf"\n{key}:\s+(\d+) kB", status) * 1024 / 1e6


def resident_mb(process: subprocess.Popen[bytes]) -> float:
    return memory_mb(process, "VmRSS")


def sound_counts(page: bytes) -> float:
    """Checks completed, if every check that was due was run, succeeded and wrote its line."""
    counted = counts(page)
    for loss in LOSSES:
        if counted[loss] > 0:
            raise Unsound(f"{counted[loss]:.0f} {loss} {reasons(page)}".rstrip())
    return counted["completed"]


def check_cost(
    binary: Path,
    target: Target,
    url: str,
    rate: int,
    window: float,
    count: int | None = None,
    prefix: list[str] | None = None,
    least: float = 0.95,
    sections: list[str] | None = None,
) -> float:
    """CPU microseconds of the daemon for a check, at `rate` checks a second.

    The server counts the requests of the window, so that nobody scrapes in it or before it. What
    the daemon counted is asked for afterwards, and must agree.
    """
    count = count or rate
    every = count / rate
    served = target.requests()
    lines = monitors([url], count)
    with Daemon(binary, target, lines, prefix=prefix, every=every, sections=sections) as daemon:
        time.sleep(max(WARM_UP_SECONDS, every + 1))
        cpu, before, begin = daemon.cpu_seconds(), target.requests(), time.monotonic()
        time.sleep(window)
        cpu, after = daemon.cpu_seconds() - cpu, target.requests()
        span = time.monotonic() - begin
        earliest = target.requests()
        completed = sound_counts(daemon.page())
        latest = target.requests()
    # Less our own questions and what was under way: few, or what comes in a moment.
    if not earliest - served - 50 - rate / 10 <= completed <= latest - served:
        raise Unsound(f"{completed:.0f} checks, but {earliest - served} to {latest - served} requests")
    requests = after - before - 1
    if not least <= requests / span / rate <= 1.05:
        raise Unsound(f"{requests / span:.0f} checks/s instead of {rate}")
    return cpu / requests * 1e6
