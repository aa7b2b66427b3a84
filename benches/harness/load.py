"""Other load on the machine."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from harness.process import cpu_seconds, stop
from harness.report import Unsound

PERIOD_SECONDS = 0.02
LONGEST_SECONDS = 120

# Takes half of each period, however late it gets it, and ends by itself should nobody stop it.
SPINNER = f"""
import time
end = time.monotonic() + {LONGEST_SECONDS}
while (now := time.monotonic()) < end:
    taken = time.process_time()
    while time.process_time() < taken + {PERIOD_SECONDS / 2} and time.monotonic() < end:
        pass
    time.sleep(max(0, now + {PERIOD_SECONDS} - time.monotonic()))
"""


class Spinners:
    """One program on each core that is busy for half of the time."""

    def __init__(self, processes: list[subprocess.Popen[bytes]]) -> None:
        self.processes = processes

    def cpu_seconds(self) -> list[float]:
        return [cpu_seconds(process) for process in self.processes]

    def check(self, before: list[float], seconds: float) -> None:
        """That they were as busy as they should be since `before`."""
        for now, then in zip(self.cpu_seconds(), before, strict=True):
            share = (now - then) / seconds
            if not 0.4 <= share <= 0.6:
                raise Unsound(f"the other load took {share:.0%} of its core instead of half")


@contextmanager
def spinners(cores: list[int]) -> Iterator[Spinners]:
    processes = []
    try:
        for core in cores:
            command = ["taskset", "-c", str(core), sys.executable, "-c", SPINNER]
            processes.append(subprocess.Popen(command))
        yield Spinners(processes)
    finally:
        for process in processes:
            stop(process)
