"""Numbers with all of their samples, how they compare with their bars, and how they are shown."""

import json
import os
import re
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

BENCHES = Path(__file__).resolve().parent.parent
REPOSITORY = BENCHES.parent

VERSIONS = {
    "nginx": "-v",
    "wrk": "-v",
    "ab": "-V",
    "openssl": "version",
    "prometheus": "--version",
    "prometheus-blackbox-exporter": "--version",
}


class CannotMeasure(Exception):
    """A measurement without a number, with the reason."""


class Unsound(Exception):
    """This round is no measurement of what it should be, and why."""


@dataclass
class Row:
    """A number with all of its samples, and the most and the least that their median may be."""

    name: str
    unit: str
    samples: list[float]
    most: float | None = None
    least: float | None = None

    def summary(self) -> dict[str, float]:
        ends = {"min": min(self.samples), "max": max(self.samples)}
        return {"median": statistics.median(self.samples)} | ends

    def bar(self) -> str:
        most = "" if self.most is None else f"<= {self.most:g}"
        least = "" if self.least is None else f">= {self.least:g}"
        return f"{least} {most}".strip()

    def verdict(self) -> str:
        if self.most is None and self.least is None:
            return ""
        median = self.summary()["median"]
        too_much = self.most is not None and median > self.most
        too_little = self.least is not None and median < self.least
        return "missed" if too_much or too_little else "met"


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def shout(text: str) -> None:
    progress("")
    print(f"!! {text}", file=sys.stderr, flush=True)


def environment(binary: Path, tools: set[str]) -> dict[str, str]:
    """What was measured, with what, on what."""

    def first_line(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=10)
        return (done.stdout + done.stderr).partition("\n")[0]

    model = re.search(r"\nmodel name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    cpu = model[1] if model else os.uname().machine
    facts = {
        "program": f"{binary}, {first_line(str(binary), '--version')}",
        "sources": first_line("git", "describe", "--always", "--dirty"),
        "machine": f"{os.cpu_count()} x {cpu}, Linux {os.uname().release}",
        "load": "{:.2f} {:.2f} {:.2f}".format(*os.getloadavg()),
    }
    used = {name: option for name, option in VERSIONS.items() if name in tools}
    return facts | {name.removeprefix("prometheus-"): first_line(name, used[name]) for name in used}


def show_facts(facts: dict[str, str]) -> None:
    for fact, value in facts.items():
        print(f"{fact + ':':<19}{value}")


def show_rows(rows: list[Row]) -> None:
    progress("")
    names = [f"{row.name} ({row.unit})" if row.unit else row.name for row in rows]
    width = max(map(len, names)) + 2
    print(f"\n{'':<{width}}{'median':>10}{'min':>10}{'max':>10}{'bar':>18}")
    for name, row in zip(names, rows, strict=True):
        values = "".join(f"{value:>10.2f}" for value in row.summary().values())
        print(f"{name:<{width}}{values}{row.bar():>18}  {row.verdict()}".rstrip(), flush=True)


def write_json(file: Path, facts: dict[str, str], rows: list[Row]) -> None:
    tables = [asdict(row) | row.summary() | {"verdict": row.verdict()} for row in rows]
    report = {"environment": facts, "rows": tables}
    file.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
