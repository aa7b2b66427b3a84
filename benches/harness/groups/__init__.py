"""The groups of numbers: what each is called, what it takes, and who measures it."""

from collections.abc import Callable
from dataclasses import dataclass

from harness.groups.blackbox import blackbox
from harness.groups.common import Bench
from harness.groups.cost import cost, floor, https
from harness.groups.floods import floods
from harness.groups.lag import hanging, lag
from harness.groups.many import growth, memory
from harness.groups.names import names
from harness.groups.probes import probes
from harness.groups.scrape import scrape
from harness.groups.series import series
from harness.groups.start import start
from harness.groups.states import states
from harness.groups.steps import steps
from harness.groups.sustained import sustained
from harness.groups.telemetry import telemetry
from harness.report import Row

# Where Debian has them, beside what every group takes.
PACKAGES = {
    "nginx": "nginx",
    "openssl": "openssl",
    "wrk": "wrk",
    "ab": "apache2-utils",
    "taskset": "util-linux",
    "dnsmasq": "dnsmasq-base",
    "unshare": "util-linux",
    "valgrind": "valgrind",
    "prometheus": "prometheus",
    "prometheus-blackbox-exporter": "prometheus-blackbox-exporter",
}
ALWAYS = {"nginx", "openssl"}


@dataclass
class Group:
    """Numbers that are measured together."""

    measure: Callable[[Bench], list[Row]]
    tools: set[str]
    needs_bare: bool = False
    is_default: bool = False


GROUPS = {
    "cost": Group(cost, {"wrk", "ab"}, needs_bare=True, is_default=True),
    "https": Group(https, set(), needs_bare=True, is_default=True),
    "start": Group(start, set(), is_default=True),
    "lag": Group(lag, {"taskset"}, is_default=True),
    "scrape": Group(scrape, set(), is_default=True),
    "names": Group(names, {"dnsmasq", "unshare"}),
    "steps": Group(steps, {"valgrind"}),
    "states": Group(states, {"valgrind"}),
    "hanging": Group(hanging, set()),
    "memory": Group(memory, set()),
    "growth": Group(growth, set()),
    "sustained": Group(sustained, {"taskset", "wrk", "prometheus-blackbox-exporter"}),
    "probes": Group(probes, {"taskset", "wrk", "prometheus-blackbox-exporter"}),
    "blackbox": Group(blackbox, {"prometheus", "prometheus-blackbox-exporter"}),
    "floods": Group(floods, set()),
    "series": Group(series, {"prometheus", "prometheus-blackbox-exporter"}),
    "telemetry": Group(telemetry, set()),
    "floor": Group(floor, set(), needs_bare=True),
}
