"""What the groups share: what they are given, and how sides take turns."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.report import CannotMeasure, Row, Unsound, progress, shout
from harness.target import Target

Sides = dict[str, Callable[[], float]]


@dataclass
class Bench:
    """What is measured, against what, and how long."""

    binary: Path
    target: Target
    bare: Path
    rounds: int
    window: int
    rates: list[int]
    https_rate: int
    many: list[int]
    many_every: int
    sizes: list[int]
    growth_rate: int
    scraped: int
    probed: int
    series_targets: int
    series_minutes: float
    sustained_from: int


def interleaved(rounds: int, sides: Sides) -> dict[str, list[float]]:
    """A B C A B C …; a round in which one of them is unsound is left out."""
    sound = []
    for index in range(1, rounds + 1):
        measured = {}
        try:
            for name, side in sides.items():
                progress(f"round {index} of {rounds}: {name}")
                measured[name] = side()
        except Unsound as reason:
            shout(f"round {index} is left out, at {name}: {reason}")
        else:
            sound.append(measured)
    if not sound:
        raise CannotMeasure("no round was sound")
    return {name: [measured[name] for measured in sound] for name in sides}


def ratio(
    samples: dict[str, list[float]],
    ours: str,
    yardstick: str,
    most: float | None = None,
    least: float | None = None,
) -> Row:
    """Ours by theirs, round by round."""
    pairs = zip(samples[ours], samples[yardstick], strict=True)
    return Row(f"{ours} / {yardstick}", "", [a / b for a, b in pairs], most, least)
