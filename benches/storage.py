#!/usr/bin/env python3
"""What a store costs: CPU time, bytes written and size, against the same monitors without a store.

Needs Linux, nginx and openssl, and a directory on a real disk (--directory). Exit code 0 when it ran, also where a target
was missed; 1 when it could not run.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from harness.daemon import Daemon, monitors, sound_counts
from harness.report import REPOSITORY, shout
from harness.script import ready_program, run_script
from harness.target import Target, nginx

# Long enough for the journal of 10,000 monitors to be folded once.
SECONDS = 660
MAX_CPU_SHARE = 0.02
MAX_WRITTEN = 1e6  # bytes a second


@dataclass
class Run:
    cpu: float  # seconds for each second
    written: float  # bytes for each second
    size: int


def written_bytes(daemon: Daemon) -> float:
    """Bytes that the process had the disk write, by proc_pid_io(5)."""
    lines = Path(f"/proc/{daemon.process.pid}/io").read_text().splitlines()
    values = dict(line.split(": ") for line in lines)
    return float(values["write_bytes"])


def run(binary: Path, target: Target, store: Path | None, count: int, every: float, seconds: float) -> Run:
    prefix = ["env", f"STATE_DIRECTORY={store}"] if store else None
    lines = monitors([target.http], count)
    with Daemon(binary, target, lines, prefix=prefix, every=every) as daemon:
        time.sleep(every + 2)
        cpu, written, begin = daemon.cpu_seconds(), written_bytes(daemon), time.monotonic()
        time.sleep(seconds)
        cpu, written = daemon.cpu_seconds() - cpu, written_bytes(daemon) - written
        span = time.monotonic() - begin
        sound_counts(daemon.page())
    size = sum(file.stat().st_size for file in store.iterdir()) if store else 0
    return Run(cpu / span, written / span, size)


def measure(binary: Path, directory: Path, count: int, every: float, seconds: float) -> None:
    with nginx() as target:
        without = run(binary, target, None, count, every, seconds)
        with tempfile.TemporaryDirectory(dir=directory) as store:
            stored = run(binary, target, Path(store), count, every, seconds)
    share = stored.cpu / without.cpu - 1
    print(f"{count} monitors every {every:g} s, for {seconds:.0f} s each")
    print(f"CPU time without a store  {without.cpu * 100:8.2f} %")
    print(f"CPU time with a store     {stored.cpu * 100:8.2f} %  ({share * 100:+.1f} %)")
    print(f"written per second        {stored.written / 1e3:8.1f} KB")
    print(f"size at the end           {stored.size / 1e6:8.2f} MB  ({stored.size / count:.0f} bytes a monitor)")
    if share > MAX_CPU_SHARE:
        shout(f"more than {MAX_CPU_SHARE:.0%} of CPU time")
    if stored.written > MAX_WRITTEN:
        shout(f"more than {MAX_WRITTEN / 1e6:g} MB written per second")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    default = REPOSITORY / "target/release/monitoringdaemon"
    parser.add_argument("--binary", type=Path, default=default, metavar="FILE", help="what to run")
    parser.add_argument("--directory", type=Path, default=REPOSITORY / "target", help="where the store is")
    parser.add_argument("--monitors", type=int, default=10_000, help="number of monitors (10000)")
    parser.add_argument("--every", type=float, default=10, help="seconds between checks (10)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"length of a run ({SECONDS})")
    return parser.parse_args()


def main() -> int:
    options = parse_arguments()

    def script() -> bool:
        program = ready_program(options.binary)
        measure(program, options.directory, options.monitors, options.every, options.seconds)
        return True

    return run_script(script)


if __name__ == "__main__":
    sys.exit(main())
