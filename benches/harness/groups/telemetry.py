"""What telemetry takes of a check, off and on: `telemetry`."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from harness.daemon import check_cost
from harness.groups.common import Bench, Sides, interleaved
from harness.report import CannotMeasure, Row

RATE = 1000


class Collector(BaseHTTPRequestHandler):
    """Accepts everything that it is sent."""

    protocol_version = "HTTP/1.1"
    signals: set[str] = set()

    def do_POST(self) -> None:
        if not self.rfile.read(int(self.headers["Content-Length"])):
            raise ValueError("nothing is exported")
        self.signals.add(self.path)
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def collector() -> Iterator[str]:
    """The URL of a collector in this process, whose CPU time is not the daemon's."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def telemetry(bench: Bench) -> list[Row]:
    """The same checks with each signal on; by default, one in a hundred checks that succeed has a trace."""
    with collector() as url:
        check = partial(check_cost, bench.binary, bench.target, bench.target.http, RATE, bench.window)
        off = f"HTTP check, {RATE}/s, telemetry off"
        kinds = {
            "traces of 1 %": f"traces: {{endpoint: '{url}'}}",
            "traces of all": f"traces: {{endpoint: '{url}', sample: {{successes: 1}}}}",
            "logs": f"logs: {{endpoint: '{url}'}}",
            "metrics every second": f"metrics: {{endpoint: '{url}', every: 1s}}",
        }
        sides: Sides = {off: check}
        for name, section in kinds.items():
            sides[name] = partial(check, sections=[f"telemetry: {{{section}}}"])
        samples = interleaved(bench.rounds, sides)
    if missing := {"/v1/traces", "/v1/logs", "/v1/metrics"} - Collector.signals:
        raise CannotMeasure(f"nothing came to {', '.join(sorted(missing))}")
    rows = [Row(off, "µs", samples[off])]
    for name in kinds:
        pairs = zip(samples[name], samples[off], strict=True)
        rows.append(Row(f"added by {name}", "µs", [on - off for on, off in pairs]))
    return rows
