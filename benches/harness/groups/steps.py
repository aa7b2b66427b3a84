"""What the steps of a check cost: `steps` counts instructions, by lines of the sources."""

import json
import os
import subprocess

from harness import callgrind
from harness.groups.common import Bench
from harness.report import CannotMeasure, Row, progress

# Where steps are recorded: by lines in a release build, whose code is inlined, and by functions in others.
RECORDER_FILE, RECORDER_MODULE = "src/check/steps.rs", "::check::steps::"
# The share of a check that this may take if nobody listens.
SHARE_BAR = 0.001

# A check's instructions are the difference of two runs, so that the start of the program is not counted.
COUNTS = 50, 150


def steps(bench: Bench) -> list[Row]:
    unheard, of_recorder = instructions(bench, [])
    heard, _ = instructions(bench, ["--verbose"])
    return [
        Row("HTTP check, nobody listens", "instructions", [unheard]),
        Row("HTTP check, with its steps", "instructions", [heard]),
        Row("of the recorder, nobody listens", "instructions", [of_recorder]),
        Row("the recorder / the check", "", [of_recorder / unheard], SHARE_BAR),
    ]


def instructions(bench: Bench, arguments: list[str]) -> tuple[float, float]:
    """The instructions of a check, and those of them in lines of the recorder."""
    few, many = (run(bench, count, arguments) for count in COUNTS)
    checks = COUNTS[1] - COUNTS[0]
    return (many[0] - few[0]) / checks, (many[1] - few[1]) / checks


def run(bench: Bench, count: int, arguments: list[str]) -> tuple[int, int]:
    progress(f"{count} checks {' '.join(arguments)}")
    config = bench.target.directory / "steps.yml"
    # Everything takes fifty times as long.
    timing = {"check_every": "10m", "timeout": "5m"}
    monitors = {f"m{index}": {"url": bench.target.http} | timing for index in range(count)}
    dispatcher = {"max_concurrent_checks": 10}
    config.write_text(json.dumps({"dispatcher": dispatcher, "monitors": monitors}))
    profile = bench.target.directory / "callgrind.out"
    command = [*callgrind.command(profile), bench.binary]
    command += ["once", "--output", "json", "--config", config, *arguments]
    done = subprocess.run(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"RUST_LOG": "off"},
        timeout=600,
    )
    if done.returncode != 0:
        raise CannotMeasure(done.stderr.decode(errors="replace").strip() or "a check failed")
    total = recorder = 0
    has_names = False
    for file, function, cost in callgrind.costs(profile):
        total += cost
        has_names |= "src/check/" in file or "monitoringdaemon::" in function
        if file.endswith(RECORDER_FILE) or RECORDER_MODULE in function:
            recorder += cost
    if not has_names:
        raise CannotMeasure(f"the program has no names and line numbers: {callgrind.BUILD}")
    return total, recorder
