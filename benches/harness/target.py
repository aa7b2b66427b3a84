"""What is checked: an nginx of our own, and a listener that never answers."""

import os
import selectors
import socket
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.process import free_addresses, number, service, tool
from harness.report import BENCHES, CannotMeasure

# Version, cipher suite and key exchange of every handshake, and a dot for none that is resumed.
HANDSHAKE = "TLSv1.3 TLS_AES_256_GCM_SHA384 X25519 ."


@dataclass
class Target:
    """A running nginx, and the directory with all that belongs to it."""

    directory: Path
    http: str
    https: str

    def requests(self) -> int:
        """How many requests it had, this one included."""
        with urllib.request.urlopen(f"{self.http}status", timeout=10) as response:
            return int(number(r"requests\s+\d+ \d+ (\d+)", response.read().decode()))


@contextmanager
def nginx() -> Iterator[Target]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        make_certificates(directory)
        http, https = free_addresses(2)
        conf = (BENCHES / "nginx.conf").read_text()
        conf = conf.replace("HTTP_ADDRESS", http).replace("HTTPS_ADDRESS", https)
        (directory / "nginx.conf").write_text(conf)
        command = ["nginx", "-e", "stderr", "-p", name, "-c", f"{name}/nginx.conf"]
        with service(command, https, directory):
            yield Target(directory, f"http://{http}/", f"https://{https}/")


def make_certificates(directory: Path) -> None:
    """An authority and a leaf for 127.0.0.1 that it vouches for, P-256 both."""
    request = "openssl req -x509 -days 2 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
    authority = "-subj /CN=CA -keyout ca.key -out ca.pem -addext basicConstraints=critical,CA:TRUE"
    leaf = "-subj /CN=Leaf -keyout leaf.key -out leaf.pem -addext basicConstraints=critical,CA:FALSE"
    issuer = "-CA ca.pem -CAkey ca.key -addext subjectAltName=IP:127.0.0.1"
    verify = "openssl verify -CAfile ca.pem -verify_ip 127.0.0.1 leaf.pem"  # s_time would not tell
    for command in (f"{request} {authority}", f"{request} {leaf} {issuer}", verify):
        tool(*command.split(), directory=directory)
    # What a deployed daemon reads at its start: the system's authorities.
    system = Path("/etc/ssl/certs/ca-certificates.crt")
    others = system.read_text() if system.exists() else ""
    (directory / "bundle.pem").write_text((directory / "ca.pem").read_text() + others)


def check_handshakes(target: Target) -> None:
    """All clients agreed with nginx, by its log, on the same, and resumed nothing."""
    lines = (target.directory / "handshakes.log").read_text().splitlines()
    handshakes, _, clients = zip(*(line.rpartition(" ") for line in lines), strict=True)
    expected = {"monitoringdaemon", "bare", "-"}
    if {client.partition("/")[0] for client in clients} != expected:
        raise CannotMeasure(f"handshakes of {set(clients)} instead of the daemon and both yardsticks")
    if set(handshakes) != {HANDSHAKE}:
        raise CannotMeasure(f"handshakes with {set(handshakes)} instead of {HANDSHAKE}")


class Silent:
    """A listener that takes every connection and what comes on it, and never says anything."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.listener.setblocking(False)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/"
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.is_over = False
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def serve(self) -> None:
        while not self.is_over:
            for key, _ in self.selector.select(timeout=0.2):
                if key.fileobj is self.listener:
                    connection, _ = self.listener.accept()
                    self.selector.register(connection, selectors.EVENT_READ)
                else:
                    self.hear(key.fd, key.fileobj)

    def hear(self, descriptor: int, connection: object) -> None:
        assert isinstance(connection, socket.socket)
        try:
            said = os.read(descriptor, 1 << 16)
        except ConnectionError:
            said = b""
        if not said:
            self.selector.unregister(connection)
            connection.close()

    def held(self) -> int:
        """How many connections wait for an answer."""
        return len(self.selector.get_map()) - 1

    def __enter__(self) -> "Silent":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_over = True
        self.thread.join(timeout=5)
        for key in list(self.selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self.selector.close()
