"""Checks a second on one core, the server on the other: `sustained`."""

import dataclasses

from harness.daemon import check_cost
from harness.exporters import BLACKBOX_EXPORTER
from harness.groups.common import Bench, ratio
from harness.groups.probes import most_probes
from harness.process import on_core, pinned, two_cores
from harness.report import CannotMeasure, Row, Unsound, progress, shout
from harness.target import nginx

BLACKBOX_BAR = 5

STEP = 1.25
SHARE = 0.98  # of the checks that were due, within the window
FINER_STEPS = 2
GREATEST = 60_000


def sustained(bench: Bench) -> list[Row]:
    """The daemon, then blackbox_exporter as fast as wrk can ask it."""
    server, measured = two_cores()
    with on_core(server), nginx() as target:
        # Also the log is read, and wrk runs, beside the server.
        here = dataclasses.replace(bench, target=target)
        ours, theirs = "checks/s on one core", "blackbox_exporter's probes/s"
        samples = {ours: [float(most_checks(here, measured))], theirs: [most_probes(here, measured, BLACKBOX_EXPORTER)]}
    rows = [Row(name, "/s", values) for name, values in samples.items()]
    return [*rows, ratio(samples, ours, theirs, least=BLACKBOX_BAR)]


def most_checks(bench: Bench, core: int) -> int:
    """The highest rate at which every slot is run: by steps, then by halves of the last one."""
    rate, held, failed = bench.sustained_from, 0, 0
    while not (held and failed):
        if holds(bench, core, rate):
            held, rate = rate, round(rate * STEP)
        else:
            failed, rate = rate, round(rate / STEP)
        if not 10 < rate < GREATEST:
            raise CannotMeasure(f"the daemon's highest rate is not found; {held}/s was held")
    for _ in range(FINER_STEPS):
        rate = round((held * failed) ** 0.5)
        if holds(bench, core, rate):
            held = rate
        else:
            failed = rate
    return held


def holds(bench: Bench, core: int, rate: int) -> bool:
    progress(f"sustained: {rate} checks/s")
    target = bench.target
    try:
        check_cost(
            bench.binary,
            target,
            target.http,
            rate,
            bench.window,
            prefix=pinned(core),
            least=SHARE,
        )
    except Unsound as reason:
        shout(f"{rate}/s was not held: {reason}")
        return False
    return True
