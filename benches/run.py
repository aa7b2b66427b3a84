#!/usr/bin/env python3
"""What a check costs: CPU against wrk, ab and openssl in the same run, start, size and memory.

Needs Linux, nginx, wrk, ab and openssl. All of it runs on loopback, for about three minutes.
Exit code 0 when it measured, also where a bar is missed; 1 when it could not measure.
What each number is, and what was left out: benches/README.md.
"""

import argparse
import itertools
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

BENCHES = Path(__file__).resolve().parent
REPOSITORY = BENCHES.parent
PACKAGES = {"nginx": "nginx", "wrk": "wrk", "ab": "apache2-utils", "openssl": "openssl"}

# The most that the medians may be.
HTTP_BAR, HTTPS_BAR = 2.2, 1.3
START_BAR_MS, SIZE_BAR_MB = 100, 12
IDLE_BAR_MB, LOADED_BAR_MB = 15, 40

STARTS = 10
SCRAPES = 10
LOADED_MONITORS = 1000
CHECK_EVERY = 5  # seconds, where memory and the start are measured
MEMORY_RUNS = 3
YARDSTICK_SECONDS = 2
WARM_UP_SECONDS = 2.5  # by then each monitor has left its early first slot for its place on the grid
SETTLE_SECONDS = 0.3  # by then nothing is left to do of a scrape

# Version, cipher suite and key exchange of every handshake, and a dot for none that is resumed.
HANDSHAKE = "TLSv1.3 TLS_AES_256_GCM_SHA384 X25519 ."


class CannotMeasure(Exception):
    """There is no number, and why."""


class Unsound(Exception):
    """This round is no measurement of what it should be, and why."""


@dataclass
class Row:
    """A number with all of its samples."""

    name: str
    unit: str
    samples: list[float]
    bar: float | None = None

    def summary(self) -> dict[str, float]:
        ends = {"min": min(self.samples), "max": max(self.samples)}
        return {"median": statistics.median(self.samples)} | ends

    def verdict(self) -> str:
        if self.bar is None:
            return ""
        return "met" if self.summary()["median"] <= self.bar else "missed"


# The target


@dataclass
class Target:
    """A running nginx, and the directory with all that belongs to it."""

    directory: Path
    http: str
    https: str


@contextmanager
def nginx() -> Iterator[Target]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        make_certificates(directory)
        http, https = free_addresses()
        conf = (BENCHES / "nginx.conf").read_text()
        conf = conf.replace("HTTP_ADDRESS", http).replace("HTTPS_ADDRESS", https)
        (directory / "nginx.conf").write_text(conf)
        command = ["nginx", "-e", "error.log", "-p", name, "-c", f"{name}/nginx.conf"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            wait_for(process, https, directory / "error.log")
            yield Target(directory, f"http://{http}/", f"https://{https}/")
        finally:
            stop(process)


def make_certificates(directory: Path) -> None:
    """An authority and a leaf for 127.0.0.1 that it vouches for, P-256 both."""
    request = "openssl req -x509 -days 2 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
    authority = "-subj /CN=CA -keyout ca.key -out ca.pem -addext basicConstraints=critical,CA:TRUE"
    leaf = "-subj /CN=Leaf -keyout leaf.key -out leaf.pem -addext basicConstraints=critical,CA:FALSE"
    issuer = "-CA ca.pem -CAkey ca.key -addext subjectAltName=IP:127.0.0.1"
    verify = "openssl verify -CAfile ca.pem -verify_ip 127.0.0.1 leaf.pem"  # s_time would not tell
    for command in (f"{request} {authority}", f"{request} {leaf} {issuer}", verify):
        tool(*command.split(), directory=directory)
    # What a deployed daemon reads at its start: the system's authorities.
    system = Path("/etc/ssl/certs/ca-certificates.crt")
    others = system.read_text() if system.exists() else ""
    (directory / "bundle.pem").write_text((directory / "ca.pem").read_text() + others)


def free_addresses() -> tuple[str, str]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        return f"127.0.0.1:{one.getsockname()[1]}", f"127.0.0.1:{two.getsockname()[1]}"


def wait_for(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    host, _, port = address.partition(":")
    end = time.monotonic() + 5
    while process.poll() is None and time.monotonic() < end:
        try:
            return socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            time.sleep(0.02)
    raise CannotMeasure(f"nginx does not start: {log.read_text() if log.exists() else ''}")


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# The daemon


def config(urls: list[str], count: int, every: int) -> str:
    """`count` monitors that take turns at `urls`; all else is as by default."""
    lines = ["server:", "  listen: 127.0.0.1:0", "monitors:"]
    for index in range(count):
        url = urls[index % len(urls)]
        lines.append(f"  target-{index}: {{url: '{url}', check_every: {every}}}")
    return "\n".join(lines) + "\n"


LOSSES = ("checks failed", "slots were skipped", "log lines were dropped")


class Daemon:
    """A daemon whose log a thread reads and drops, as a container runtime does."""

    def __init__(self, binary: Path, target: Target, settings: str, authorities: str) -> None:
        file = target.directory / "config.yml"
        file.write_text(settings)
        environment = {k: v for k, v in os.environ.items() if k not in ("RUST_LOG", "SSL_CERT_DIR")}
        environment["SSL_CERT_FILE"] = str(target.directory / authorities)
        command = [str(binary), "--config", str(file)]
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
            if b"Check succeeded" in head:
                self.first_check = time.monotonic()
                listening = re.search(rb"Server is listening address=(\S+)", head)
                self.address = listening[1].decode() if listening else ""
                self.is_known.set()
        self.is_known.set()

    def __enter__(self) -> "Daemon":
        self.is_known.wait(timeout=10)
        if not self.address:
            stop(self.process)
            raise CannotMeasure("the daemon does not start, or no check of it succeeds")
        return self

    def __exit__(self, *_: object) -> None:
        stop(self.process)
        self.reader.join(timeout=5)

    def cpu_seconds(self) -> float:
        """CPU time of all of its threads, those included that ended: clock_getcpuclockid(3)."""
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def memory_mb(self, key: str) -> float:
        """A line of proc_pid_status(5), in MB of 10^6 bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return number(rf"\n{key}:\s+(\d+) kB", status) * 1024 / 1e6

    def scrape(self, encoding: str) -> bytes:
        url = f"http://{self.address}/metrics"
        request = urllib.request.Request(url, headers={"Accept-Encoding": encoding})
        with urllib.request.urlopen(request, timeout=10) as response:
            return bytes(response.read())


def counts(page: bytes) -> dict[str, float]:
    """What the daemon counted since its start."""
    completed = failed = skipped = dropped = 0.0
    for line in page.decode().splitlines():
        series, _, value = line.rpartition(" ")
        if series.startswith("monitor_checks_total{"):
            completed += float(value)
            failed += float(value) if 'outcome="failure"' in series else 0
        elif series.startswith("monitor_checks_skipped_total{"):
            skipped += float(value)
        elif series == "monitoringdaemon_log_lines_dropped_total":
            dropped += float(value)
    return {"completed": completed} | dict(zip(LOSSES, (failed, skipped, dropped), strict=True))


def check_cost(binary: Path, target: Target, url: str, rate: int, window: int) -> float:
    """CPU microseconds of the daemon for a check, at `rate` checks a second.

    The monitors are spread evenly over the second. So the checks in the window are those between
    two scrapes around it, by its share of that time; the scrapes themselves stay outside.
    """
    with Daemon(binary, target, config([url], rate, 1), "ca.pem") as daemon:
        time.sleep(WARM_UP_SECONDS)
        earlier, before = time.monotonic(), daemon.scrape("identity")
        time.sleep(SETTLE_SECONDS)
        cpu, begin = daemon.cpu_seconds(), time.monotonic()
        time.sleep(window)
        cpu, span = daemon.cpu_seconds() - cpu, time.monotonic() - begin
        later, after = time.monotonic(), daemon.scrape("identity")
    measured = sound_rate(counts(before), counts(after), later - earlier, rate)
    return cpu / (measured * span) * 1e6


def sound_rate(before: dict[str, float], after: dict[str, float], span: float, wanted: int) -> float:
    """Checks a second, if every check that was due was run, succeeded and wrote its line."""
    for loss in LOSSES:
        if after[loss] > before[loss]:
            raise Unsound(f"{after[loss] - before[loss]:.0f} {loss}")
    rate = (after["completed"] - before["completed"]) / span
    if abs(rate / wanted - 1) > 0.05:
        raise Unsound(f"{rate:.0f} checks/s instead of {wanted}")
    return rate


# The yardsticks


def tool(*command: str, directory: Path | None = None) -> tuple[str, float]:
    """What a tool printed, and the CPU seconds that it took from its start to its end."""
    environment = os.environ | {"OPENSSL_CONF": str(BENCHES / "openssl.cnf")}
    with tempfile.TemporaryFile() as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, cwd=directory, env=environment
        )
        watchdog = threading.Timer(30, process.kill)
        watchdog.start()
        _, status, usage = os.wait4(process.pid, 0)
        watchdog.cancel()
        file.seek(0)
        output = file.read().decode(errors="replace")
    if status != 0:
        raise CannotMeasure(f"{' '.join(command)}: {output.strip()}")
    return output, usage.ru_utime + usage.ru_stime


def number(pattern: str, text: str) -> int:
    match = re.search(pattern, text)
    if match is None or int(match[1]) == 0:
        raise CannotMeasure(f"no {pattern} in: {text.strip()}")
    return int(match[1])


def wrk_cost(target: Target) -> float:
    """CPU microseconds of wrk for a request on a connection of its own."""
    options = ("-t1", "-c10", f"-d{YARDSTICK_SECONDS}s", "-H", "Connection: close")
    output, cpu = tool("wrk", *options, target.http)
    if "Socket errors" in output or "Non-2xx" in output:
        raise Unsound(output)
    return cpu / number(r"(\d+) requests in", output) * 1e6


def ab_cost(target: Target) -> float:
    """CPU microseconds of ab for a request on a connection of its own."""
    output, cpu = tool("ab", "-q", "-c10", "-t", str(YARDSTICK_SECONDS), target.http)
    if not re.search(r"Failed requests: +0\n", output) or "Non-2xx" in output:
        raise Unsound(output)
    return cpu / number(r"Complete requests: +(\d+)", output) * 1e6


def s_time_cost(target: Target) -> float:
    """CPU microseconds of openssl for a full, verified handshake and a request."""
    address = target.https.removeprefix("https://").rstrip("/")
    trust = ("-verify", "2", "-CAfile", str(target.directory / "ca.pem"))
    seconds = ("-time", str(YARDSTICK_SECONDS))
    output, cpu = tool("openssl", "s_time", "-new", "-connect", address, *trust, "-www", "/", *seconds)
    return cpu / number(r"(\d+) connections in \d+ real", output) * 1e6


def check_handshakes(target: Target) -> None:
    """Both clients agreed with nginx, by its log, on the same, and resumed nothing."""
    lines = (target.directory / "handshakes.log").read_text().splitlines()
    handshakes, _, clients = zip(*(line.rpartition(" ") for line in lines), strict=True)
    if {client.partition("/")[0] for client in clients} != {"monitoringdaemon", "-"}:
        raise CannotMeasure(f"handshakes of {set(clients)} instead of the daemon and openssl")
    if set(handshakes) != {HANDSHAKE}:
        raise CannotMeasure(f"handshakes with {set(handshakes)} instead of {HANDSHAKE}")


# The numbers


Sides = dict[str, Callable[[], float]]


def interleaved(rounds: int, sides: Sides) -> dict[str, list[float]]:
    """A B C A B C …; a round in which one of them is unsound is left out."""
    sound = []
    for index in range(1, rounds + 1):
        measured = {}
        try:
            for name, side in sides.items():
                progress(f"round {index} of {rounds}: {name}")
                measured[name] = side()
        except Unsound as reason:
            shout(f"round {index} is left out, at {name}: {reason}")
        else:
            sound.append(measured)
    if not sound:
        raise CannotMeasure("no round was sound")
    return {name: [measured[name] for measured in sound] for name in sides}


def cost_rows(rounds: int, checks: Sides, yardsticks: Sides, bar: float) -> list[Row]:
    """What everything cost, then each cost of ours by that of each yardstick, round by round."""
    # The yardsticks come between our turns, so that each has them close by.
    first, *others = checks.items()
    samples = interleaved(rounds, dict([first]) | yardsticks | dict(others))
    rows = [Row(name, "µs", samples[name]) for name in checks | yardsticks]
    for ours, yardstick in itertools.product(checks, yardsticks):
        pairs = zip(samples[ours], samples[yardstick], strict=True)
        rows.append(Row(f"{ours} / {yardstick}", "", [a / b for a, b in pairs], bar))
    return rows


def http_rows(binary: Path, target: Target, options: argparse.Namespace) -> list[Row]:
    check = partial(check_cost, binary, target, target.http, window=options.window)
    checks: Sides = {f"HTTP check, {rate}/s": partial(check, rate) for rate in options.rates}
    yardsticks: Sides = {"wrk": partial(wrk_cost, target), "ab": partial(ab_cost, target)}
    return cost_rows(options.rounds, checks, yardsticks, HTTP_BAR)


def https_rows(binary: Path, target: Target, options: argparse.Namespace) -> list[Row]:
    rate = options.https_rate
    check = partial(check_cost, binary, target, target.https, rate, options.window)
    checks: Sides = {f"HTTPS check, {rate}/s": check}
    rows = cost_rows(options.rounds, checks, {"openssl": partial(s_time_cost, target)}, HTTPS_BAR)
    check_handshakes(target)
    return rows


def start_rows(binary: Path, target: Target) -> list[Row]:
    samples = []
    settings = config([target.http, target.https], 2, CHECK_EVERY)
    for index in range(1, STARTS + 1):
        progress(f"start {index} of {STARTS}")
        with Daemon(binary, target, settings, "bundle.pem") as daemon:
            samples.append((daemon.first_check - daemon.started) * 1000)
    return [Row("start to first check", "ms", samples, START_BAR_MS)]


def memory_rows(binary: Path, target: Target, monitors: int, bar: float) -> list[Row]:
    name = f"memory, {monitors} monitors"
    samples = []
    for index in range(1, MEMORY_RUNS + 1):
        progress(f"{name}: {index} of {MEMORY_RUNS}")
        samples.append(memory(binary, target, monitors))
    resident, peak = (list(values) for values in zip(*samples, strict=True))
    return [Row(name, "MB", resident, bar), Row(f"{name}, peak", "MB", peak)]


def memory(binary: Path, target: Target, monitors: int) -> tuple[float, float]:
    """Resident memory and its peak, after every monitor was checked and some scrapes."""
    settings = config([target.http, target.https], monitors, CHECK_EVERY)
    with Daemon(binary, target, settings, "bundle.pem") as daemon:
        time.sleep(CHECK_EVERY + 1)
        for _ in range(SCRAPES):
            daemon.scrape("gzip")
            time.sleep(SETTLE_SECONDS)
        sizes = daemon.memory_mb("VmRSS"), daemon.memory_mb("VmHWM")
        counted = counts(daemon.scrape("identity"))
    if counted["completed"] < monitors or any(counted[loss] for loss in LOSSES):
        shout(f"memory: not every check of {monitors} monitors was run and succeeded: {counted}")
    return sizes


def measure(binary: Path, options: argparse.Namespace) -> bool:
    """Measures, reports, and says whether there is every number."""
    facts = environment(binary)
    rows = [Row("size of the program", "MB", [binary.stat().st_size / 1e6], SIZE_BAR_MB)]
    is_complete = True
    with nginx() as target:
        for measurement in (
            partial(http_rows, binary, target, options),
            partial(https_rows, binary, target, options),
            partial(start_rows, binary, target),
            partial(memory_rows, binary, target, 2, IDLE_BAR_MB),
            partial(memory_rows, binary, target, LOADED_MONITORS, LOADED_BAR_MB),
        ):
            try:
                rows += measurement()
            except CannotMeasure as reason:
                shout(f"cannot measure: {reason}")
                is_complete = False
    show(facts, rows)
    if options.json:
        tables = [asdict(row) | row.summary() | {"verdict": row.verdict()} for row in rows]
        report = {"environment": facts, "rows": tables}
        options.json.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    return is_complete


# The command


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def shout(text: str) -> None:
    progress("")
    print(f"!! {text}", file=sys.stderr, flush=True)


def environment(binary: Path) -> dict[str, str]:
    def first_line(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=10)
        return (done.stdout + done.stderr).partition("\n")[0]

    model = re.search(r"\nmodel name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    cpu = model[1] if model else os.uname().machine
    versions = [("nginx", "-v"), ("wrk", "-v"), ("ab", "-V"), ("openssl", "version")]
    return {
        "program": f"{binary}, {first_line(str(binary), '--version')}",
        "sources": first_line("git", "describe", "--always", "--dirty"),
        "machine": f"{os.cpu_count()} x {cpu}, Linux {os.uname().release}",
        "load": "{:.2f} {:.2f} {:.2f}".format(*os.getloadavg()),
    } | {name: first_line(name, option) for name, option in versions}


def show(facts: dict[str, str], rows: list[Row]) -> None:
    progress("")
    for fact, value in facts.items():
        print(f"{fact + ':':<12}{value}")
    print(f"\n{'':<36}{'median':>10}{'min':>10}{'max':>10}{'bar':>8}")
    for row in rows:
        name = f"{row.name} ({row.unit})" if row.unit else row.name
        values = "".join(f"{value:>10.2f}" for value in row.summary().values())
        bar = "" if row.bar is None else f"{row.bar:g}"
        print(f"{name:<36}{values}{bar:>8}  {row.verdict()}".rstrip())


def find_tools() -> None:
    os.environ["PATH"] += ":/usr/sbin:/sbin"  # where Debian has nginx, and not every user looks
    missing = [package for name, package in PACKAGES.items() if shutil.which(name) is None]
    if missing:
        raise CannotMeasure(f"not installed: {', '.join(missing)}")


def find_binary(given: Path | None) -> Path:
    binary = given or REPOSITORY / "target/release/monitoringdaemon"
    if given is None and not binary.exists():
        subprocess.run(["cargo", "build", "--release", "--locked"], cwd=REPOSITORY, check=True)
    if not os.access(binary, os.X_OK):
        raise CannotMeasure(f"{binary} is no program")
    return binary.resolve()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add, rates = parser.add_argument, range(10, 10_001)
    add("--binary", type=Path, metavar="FILE", help="what to measure (target/release/monitoringdaemon)")
    add("--json", type=Path, metavar="FILE", help="where to write all samples")
    add("--rounds", type=int, choices=range(1, 21), default=5, metavar="N")
    add("--window", type=int, choices=range(1, 31), default=3, metavar="SECONDS")
    add("--rates", type=int, choices=rates, nargs="+", default=[4000, 2000], metavar="N")
    add("--https-rate", type=int, choices=rates, default=500, metavar="N")
    return parser.parse_args()


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    options = parse_arguments()
    try:
        find_tools()
        return 0 if measure(find_binary(options.binary), options) else 1
    except (CannotMeasure, OSError, subprocess.SubprocessError) as error:
        shout(f"cannot measure: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
