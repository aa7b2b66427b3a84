"""What other clients take for a request on a connection of its own."""

import json
import re
import subprocess
from pathlib import Path

from harness.process import number, tool
from harness.report import REPOSITORY, CannotMeasure, Unsound
from harness.target import Target

SECONDS = 2


def wrk(target: Target, connections: int) -> float:
    """CPU microseconds of wrk for a request."""
    options = ("-t1", f"-c{connections}", f"-d{SECONDS}s", "-H", "Connection: close")
    output, cpu = tool("wrk", *options, target.http)
    if "Socket errors" in output or "Non-2xx" in output:
        raise Unsound(output)
    return cpu / number(r"(\d+) requests in", output) * 1e6


def ab(target: Target) -> float:
    """CPU microseconds of ab for a request."""
    output, cpu = tool("ab", "-q", "-c10", "-t", str(SECONDS), target.http)
    if not re.search(r"Failed requests: +0\n", output) or "Non-2xx" in output:
        raise Unsound(output)
    return cpu / number(r"Complete requests: +(\d+)", output) * 1e6


def s_time(target: Target) -> float:
    """CPU microseconds of openssl for a full, verified handshake and a request."""
    address = address_of(target.https)
    trust = ("-verify", "2", "-CAfile", str(target.directory / "ca.pem"))
    seconds = ("-time", str(SECONDS))
    output, cpu = tool("openssl", "s_time", "-new", "-connect", address, *trust, "-www", "/", *seconds)
    return cpu / number(r"(\d+) connections in \d+ real", output) * 1e6


def bare(program: Path, target: Target, mode: str, rate: int) -> float:
    """CPU microseconds of a client of benches/bare.rs for a request, at `rate` requests a second."""
    address = address_of(target.https if mode == "rustls" else target.http)
    workers = 1  # as many as the daemon has at such rates
    paced = (str(rate), str(SECONDS), str(workers))
    authorities = (str(target.directory / "ca.pem"),) if mode == "rustls" else ()
    output, _ = tool(str(program), mode, address, *paced, *authorities)
    if "failures: 0\n" not in output:
        raise Unsound(output)
    achieved = number(r"requests: (\d+)", output) / SECONDS
    if abs(achieved / rate - 1) > 0.05:
        raise Unsound(f"{achieved:.0f} requests/s instead of {rate}")
    return number(r"CPU µs a request: ([\d.]+)", output)


def address_of(url: str) -> str:
    return url.partition("://")[2].rstrip("/")


def build_bare() -> Path:
    """Builds benches/bare.rs as the daemon is built for a release."""
    command = ["cargo", "bench", "--locked", "--bench", "bare", "--no-run", "--message-format=json"]
    built = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, check=True)
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("target", {}).get("name") == "bare" and message.get("executable"):
            return Path(message["executable"])
    raise CannotMeasure("cargo names no program of benches/bare.rs")
