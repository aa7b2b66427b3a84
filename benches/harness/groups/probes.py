"""Probes a second on one core, the server on the other, and their latency: `probes`."""

import dataclasses
import re

from harness.exporters import BLACKBOX_EXPORTER, blackbox, probe_url
from harness.groups.common import Bench, interleaved, ratio
from harness.process import number, on_core, pinned, tool, two_cores
from harness.report import CannotMeasure, Row, Unsound, progress
from harness.target import nginx

RATE_BAR = 3
LATENCY_BAR = 1

CONNECTIONS = (10, 50)


def probes(bench: Bench) -> list[Row]:
    """`/probe` of this program and of blackbox_exporter, asked by wrk."""
    server, measured = two_cores()
    programs = {
        "monitoringdaemon": [str(bench.binary), "blackbox"],
        "blackbox_exporter": BLACKBOX_EXPORTER,
    }
    with on_core(server), nginx() as target:
        # wrk runs beside the server.
        here = dataclasses.replace(bench, target=target)
        sides = {}
        for name, program in programs.items():
            sides[f"probes/s of {name}"] = lambda it=program: most_probes(here, measured, it)
            sides[f"latency of {name}"] = lambda it=program: latency(here, measured, it)
        samples = interleaved(bench.rounds, sides)
    units = {name: "/s" if name.startswith("probes") else "ms" for name in sides}
    rows = [Row(name, units[name], values) for name, values in samples.items()]
    ours, theirs = programs
    return [
        *rows,
        ratio(samples, f"probes/s of {ours}", f"probes/s of {theirs}", least=RATE_BAR),
        ratio(samples, f"latency of {ours}", f"latency of {theirs}", most=LATENCY_BAR),
    ]


def most_probes(bench: Bench, core: int, program: list[str]) -> float:
    """The most of what wrk gets with few and with many connections, probes a second."""
    return max(asked(bench, core, program, connections)[0] for connections in CONNECTIONS)


def latency(bench: Bench, core: int, program: list[str]) -> float:
    """The median of one probe after the other, in milliseconds."""
    return asked(bench, core, program, 1)[1]


def asked(bench: Bench, core: int, program: list[str], connections: int) -> tuple[float, float]:
    """Probes a second, and their median latency in milliseconds, with so many at once."""
    with blackbox(bench.target, pinned(core), program) as (_, address):
        progress(f"{program[0]}, {connections} probes at once")
        before = bench.target.requests()
        options = ("-t1", f"-c{connections}", f"-d{bench.window}s", "--timeout", "10s", "--latency")
        output, _ = tool("wrk", *options, probe_url(address, bench.target))
        if "Socket errors" in output or "Non-2xx" in output:
            raise Unsound(output)
        completed = number(r"(\d+) requests in", output)
        served = bench.target.requests() - before - 1
        # Those under way when wrk stops are the server's only.
        if not completed <= served <= completed + 2 * connections:
            raise CannotMeasure(f"{completed:.0f} probes, but {served} requests")
        return number(r"Requests/sec:\s+([\d.]+)", output), milliseconds(output)


def milliseconds(output: str) -> float:
    """The median that wrk prints."""
    match = re.search(r"50%\s+([\d.]+)(us|ms|s)\n", output)
    if match is None:
        raise CannotMeasure(f"no median in: {output}")
    return float(match[1]) * {"us": 0.001, "ms": 1, "s": 1000}[match[2]]
