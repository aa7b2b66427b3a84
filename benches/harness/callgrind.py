"""Instructions that callgrind counts, by file and function."""

import re
from collections.abc import Iterator
from pathlib import Path

BUILD = "cargo build --release --config 'profile.release.debug=\"line-tables-only\"' --config 'profile.release.strip=false'"


def command(profile: Path) -> list[str]:
    """What to put before a command whose instructions are written to `profile`."""
    return ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={profile}"]


def costs(profile: Path) -> Iterator[tuple[str, str, int]]:
    """The instructions of each line of the profile with the file of its source and the function.

    https://valgrind.org/docs/manual/cl-format.html
    """
    names: dict[str, str] = {}
    file = function = ""
    is_call = False
    with profile.open() as lines:
        for line in lines:
            if named := re.match(r"(fl|fi|fe|fn|cfi|cfl|cfn)=(\(\d+\))(?: (.*))?", line):
                kind, number, name = named.groups()
                # Files and functions are numbered by themselves.
                key = ("f" if kind.endswith("n") else "") + number
                if name is not None:
                    names[key] = name
                if kind == "fn":
                    function = names[key]
                elif not kind.startswith("c"):
                    file = names[key]
            elif line.startswith("calls="):
                is_call = True
            elif cost := re.match(r"(?:[+-]?\d+|\*)(?: (\d+))?$", line):
                if not is_call:
                    yield file, function, int(cost[1] or 0)
                is_call = False
