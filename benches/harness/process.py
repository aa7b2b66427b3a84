"""Programs that are started, waited for, measured and stopped."""

import os
import re
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.report import BENCHES, CannotMeasure


def tool(*command: str, directory: Path | None = None) -> tuple[str, float]:
    """What a tool printed, and the CPU seconds that it took from its start to its end."""
    environment = os.environ | {"OPENSSL_CONF": str(BENCHES / "openssl.cnf")}
    with tempfile.TemporaryFile() as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, cwd=directory, env=environment
        )
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        _, status, usage = os.wait4(process.pid, 0)
        watchdog.cancel()
        file.seek(0)
        output = file.read().decode(errors="replace")
    if status != 0:
        raise CannotMeasure(f"{' '.join(command)}: {output.strip()}")
    return output, usage.ru_utime + usage.ru_stime


def number(pattern: str, text: str) -> float:
    match = re.search(pattern, text)
    if match is None or float(match[1]) == 0:
        raise CannotMeasure(f"no {pattern} in: {text.strip()}")
    return float(match[1])


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """CPU time of all of its threads, those included that ended: clock_getcpuclockid(3)."""
    return time.clock_gettime((~process.pid << 3) | 2)


def free_addresses(count: int) -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{it.getsockname()[1]}" for it in sockets]
    for it in sockets:
        it.close()
    return addresses


@contextmanager
def service(command: list[str], address: str, directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server that listens at `address`, run in `directory`, where what it says is kept."""
    log = directory / f"{Path(command[0]).name}.output"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        wait_for(process, address, log)
        yield process
    finally:
        stop(process)


def wait_for(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    host, _, port = address.partition(":")
    end = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < end:
        try:
            return socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            time.sleep(0.02)
    raise CannotMeasure(f"{log.stem} does not start: {log.read_text()}")


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def two_cores() -> tuple[int, int]:
    """The first and the last core that there are for us."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise CannotMeasure("it takes two cores: one for the server, one for what is measured")
    return cores[0], cores[-1]


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """This thread, and all that it starts meanwhile, stay on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def pinned(core: int) -> list[str]:
    """What to put before a command that is to stay on another core than its parent."""
    return ["taskset", "-c", str(core)]
