"""blackbox_exporter and Prometheus, run side by side."""

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from harness.process import free_addresses, service
from harness.report import CannotMeasure
from harness.target import Target

BLACKBOX_EXPORTER = ["prometheus-blackbox-exporter"]

BLACKBOX = """\
modules:
  http_2xx:
    prober: http
    timeout: 5s
    http:
      preferred_ip_protocol: ip4
"""

PROMETHEUS = """\
global: {{scrape_interval: {every}s, scrape_timeout: {every}s}}
scrape_configs:
  - job_name: measured
    metrics_path: {path}
    params: {params}
    static_configs:
      - targets: {targets}
    relabel_configs: {relabel}
"""

# As blackbox_exporter's README has it.
RELABEL = """
      - {{source_labels: [__address__], target_label: __param_target}}
      - {{source_labels: [__param_target], target_label: instance}}
      - {{target_label: __address__, replacement: '{address}'}}"""

Process = subprocess.Popen[bytes]


@contextmanager
def blackbox(
    target: Target, prefix: list[str] | None = None, program: list[str] = BLACKBOX_EXPORTER
) -> Iterator[tuple[Process, str]]:
    """A blackbox_exporter, or a program with its command line, and its address."""
    (target.directory / "blackbox.yml").write_text(BLACKBOX)
    [address] = free_addresses(1)
    command = [*program, "--config.file=blackbox.yml", f"--web.listen-address={address}"]
    with service([*(prefix or []), *command], address, target.directory) as process:
        with urllib.request.urlopen(probe_url(address, target), timeout=10) as response:
            if b"\nprobe_success 1\n" not in response.read():
                raise CannotMeasure(f"a probe of {' '.join(program)} does not succeed")
        yield process, address


def probe_url(address: str, target: Target) -> str:
    query = urllib.parse.urlencode({"target": target.http, "module": "http_2xx"})
    return f"http://{address}/probe?{query}"


def prometheus_of_probes(blackbox: str, target: Target, count: int, every: int = 1) -> str:
    """Prometheus' configuration for `count` targets in so many seconds by way of blackbox_exporter."""
    # The same page under so many names.
    targets = [f"{target.http}?{index}" for index in range(count)]
    relabel = RELABEL.format(address=blackbox)
    params = "{module: [http_2xx]}"
    return PROMETHEUS.format(every=every, path="/probe", params=params, targets=targets, relabel=relabel)


def prometheus_of_daemon(daemon: str, every: int = 5) -> str:
    return PROMETHEUS.format(every=every, path="/metrics", params="{}", targets=[daemon], relabel="[]")


@contextmanager
def prometheus(
    target: Target, settings: str, arguments: list[str] | None = None
) -> Iterator[tuple[Process, str]]:
    """A Prometheus with an empty storage, and where it listens."""
    (target.directory / "prometheus.yml").write_text(settings)
    [address] = free_addresses(1)
    with_own_data = f"--storage.tsdb.path=data-{address.rpartition(':')[2]}"
    files = ["--config.file=prometheus.yml", with_own_data]
    command = ["prometheus", *files, f"--web.listen-address={address}", "--log.level=warn"]
    command += arguments or []
    with service(command, address, target.directory) as process:
        yield process, address


def ask(prometheus: str, query: str) -> float:
    """The one value that a query has."""
    url = f"http://{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    with urllib.request.urlopen(url, timeout=10) as response:
        result = json.load(response)["data"]["result"]
    return float(result[0]["value"][1]) if result else 0


def head_series(prometheus: str) -> int:
    """The number of series that Prometheus has in memory."""
    with urllib.request.urlopen(f"http://{prometheus}/api/v1/status/tsdb", timeout=60) as response:
        return int(json.load(response)["data"]["headStats"]["numSeries"])
