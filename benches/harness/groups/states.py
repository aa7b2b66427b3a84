"""What states cost a check: `states` counts instructions of a daemon, by lines of the sources."""

import json
import os
import subprocess
import threading
from pathlib import Path

from harness import callgrind
from harness.groups.common import Bench
from harness.process import stop
from harness.report import CannotMeasure, Row, progress

# Where states are made: by lines in a release build, whose code is inlined, and by functions in others.
STATES_FOLDER, STATES_MODULE = "src/state/", "monitoringdaemon::state::"
# The share of a check that this may take if no key of states is used.
SHARE_BAR = 0.001

# A check's instructions are the difference of two runs, so that the start and the end are not counted.
COUNTS = 50, 150
# Everything takes fifty times as long, and no check may be late.
MONITORS, EVERY_SECONDS = 5, 2

USED = {
    "confirm": {"failures": 3, "of": 5, "successes": 2, "retry_every": "500ms", "hold": "3m"},
    "degraded_if_slower_than": "1500ms",
    "depends_on": "gateway",
}


def states(bench: Bench) -> list[Row]:
    unused, of_unused = instructions(bench, {}, {})
    gateway = {"url": bench.target.http, "check_every": "1h"}
    used, of_used = instructions(bench, USED, {"gateway": gateway})
    return [
        Row("HTTP check, no states", "instructions", [unused]),
        Row("HTTP check, with states", "instructions", [used]),
        Row("of states, unused", "instructions", [of_unused]),
        Row("of states, used", "instructions", [of_used]),
        Row("states, unused / the check", "", [of_unused / unused], SHARE_BAR),
    ]


def instructions(bench: Bench, keys: dict, others: dict) -> tuple[float, float]:
    """The instructions of a check of monitors with `keys`, and those of them in lines of states."""
    few, many = (run(bench, count, keys, others) for count in COUNTS)
    checks = many[0] - few[0]
    return (many[1] - few[1]) / checks, (many[2] - few[2]) / checks


def run(bench: Bench, count: int, keys: dict, others: dict) -> tuple[int, int, int]:
    """The number of checks, at least `count`, and the instructions of a daemon that ran them."""
    progress(f"{count} checks with {', '.join(keys) or 'no states'}")
    config = bench.target.directory / "states.yml"
    timing = {"check_every": EVERY_SECONDS, "timeout": EVERY_SECONDS}
    monitors = {f"m{index}": {"url": bench.target.http} | timing | keys for index in range(MONITORS)}
    config.write_text(json.dumps({"server": {"listen": "off"}, "monitors": monitors | others}))
    profile = bench.target.directory / "callgrind.out"
    checks = daemon(bench.binary, config, profile, count)
    total = states = 0
    has_names = False
    for file, function, cost in callgrind.costs(profile):
        total += cost
        has_names |= STATES_FOLDER in file or "monitoringdaemon::" in function
        if STATES_FOLDER in file or STATES_MODULE in function:
            states += cost
    if not has_names:
        raise CannotMeasure(f"the program has no names and line numbers: {callgrind.BUILD}")
    return checks, total, states


def daemon(binary: Path, config: Path, profile: Path, count: int) -> int:
    """Runs a daemon until it has logged `count` checks, and returns the number that it logged to its end."""
    command = [*callgrind.command(profile), str(binary), "--config", str(config)]
    environment = {k: v for k, v in os.environ.items() if k != "RUST_LOG"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    watchdog = threading.Timer(300, process.kill)
    watchdog.start()
    checks = 0
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if b"Check failed" in line or b"tainted" in line:
                raise CannotMeasure(f"a check failed: {line.decode(errors='replace').strip()}")
            if b"Check succeeded" not in line:
                continue
            checks += 1
            # Once: the second signal would end it at once.
            if checks == count:
                process.terminate()
        if process.wait(timeout=60) != 0 or checks < count:
            raise CannotMeasure(f"the daemon ended with {process.returncode} after {checks} checks")
    finally:
        watchdog.cancel()
        stop(process)
    return checks
