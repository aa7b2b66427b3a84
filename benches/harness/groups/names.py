"""What a name adds to the CPU time of a check of an address."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from harness.daemon import check_cost
from harness.groups.common import Bench, Sides, interleaved
from harness.process import service
from harness.report import CannotMeasure, Row
from harness.target import Target

# The most microseconds that a lookup may take of the daemon's time.
BAR = 25
RATE = 2000

NAME = "target.bench.test"
# resolv.conf has no ports, and port 53 of 127.0.0.1 may be taken.
NAME_SERVER = "127.0.53.53"


def names(bench: Bench) -> list[Row]:
    """The same checks by address and by name, which a dnsmasq of our own answers."""
    if os.geteuid() != 0:
        raise CannotMeasure("it takes root: for port 53, and to put another /etc/resolv.conf in place")
    with dnsmasq(bench.target):
        return compare(bench)


def compare(bench: Bench) -> list[Row]:
    target = bench.target
    check = partial(check_cost, bench.binary, target, rate=RATE, window=bench.window)
    by_address, by_name = f"check of an address, {RATE}/s", f"check of a name, {RATE}/s"
    sides: Sides = {
        by_address: partial(check, target.http),
        by_name: partial(check, named(target), prefix=with_resolv_conf(target)),
    }
    samples = interleaved(bench.rounds, sides)
    pairs = zip(samples[by_name], samples[by_address], strict=True)
    added = Row("what a name adds", "µs", [name - address for name, address in pairs], BAR)
    return [*(Row(side, "µs", samples[side]) for side in sides), added]


def named(target: Target) -> str:
    return target.http.replace("127.0.0.1", NAME)


@contextmanager
def dnsmasq(target: Target) -> Iterator[None]:
    command = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file", "--user=root"]
    command += ["--no-resolv", "--no-hosts", f"--address=/{NAME}/127.0.0.1"]
    command += [f"--listen-address={NAME_SERVER}", "--bind-interfaces"]
    with service(command, f"{NAME_SERVER}:53", target.directory):
        yield


def with_resolv_conf(target: Target) -> list[str]:
    """What to put before a command that is to ask our name server: a mount that only it sees."""
    file = target.directory / "resolv.conf"
    file.write_text(f"nameserver {NAME_SERVER}\n")
    script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, str(file)]
