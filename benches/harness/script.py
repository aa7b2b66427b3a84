"""The start and the end of each script: signals, PATH, missing packages, the exit code."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from .groups import ALWAYS, PACKAGES
from .report import CannotMeasure, Unsound, environment, shout, show_facts


def run_script(measure: Callable[[], bool]) -> int:
    """Runs `measure`, which returns True if there is every number, and returns the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    os.environ["PATH"] += ":/usr/sbin:/sbin"  # where Debian has nginx, and not every user looks
    try:
        return 0 if measure() else 1
    except (CannotMeasure, Unsound, OSError, subprocess.SubprocessError) as error:
        shout(f"cannot measure: {error}")
        return 1


def missing(tools: set[str]) -> list[str]:
    """Debian's packages of those tools that are not installed."""
    return [PACKAGES[tool] for tool in sorted(tools) if shutil.which(tool) is None]


def require_always() -> None:
    """Fails without the tools that every measurement needs."""
    if lacking := missing(ALWAYS):
        raise CannotMeasure(f"not installed: Debian's {', '.join(lacking)}")


def executable(binary: Path) -> Path:
    """The absolute path of the program, if it is one."""
    if not os.access(binary, os.X_OK):
        raise CannotMeasure(f"{binary} is no program: cargo build --release")
    return binary.resolve()


def ready_program(binary: Path) -> Path:
    """The program that a script without groups measures, after all that it needs was found and shown."""
    require_always()
    program = executable(binary)
    show_facts(environment(program, ALWAYS))
    return program
