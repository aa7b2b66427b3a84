"""Peers that send without end what is no part of a response, each in a process of its own."""

import contextlib
import multiprocessing
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

CHUNK_BYTES = 16 << 10  # a record of TLS
START_SECONDS = 10

DATA, HEADERS, PRIORITY, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION, UNKNOWN = 0, 1, 2, 4, 6, 8, 9, 0xEE
END_HEADERS = 4


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of HTTP/2 (RFC 9113, section 4.1)."""
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + payload


@dataclass(frozen=True)
class Flood:
    """Sent once behind the request, and then without end."""

    name: str
    repeated: bytes
    start: bytes = b""
    is_http2: bool = True


RESPONSE = frame(HEADERS, END_HEADERS, 1, b"\x88")
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"

FLOODS = (
    Flood("PRIORITY", frame(PRIORITY, 0, 3, bytes(5))),
    Flood("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1")),
    Flood("unknown frames", frame(UNKNOWN, 0, 0, b"x")),
    Flood("PING", frame(PING, 0, 0, bytes(8))),
    Flood("SETTINGS", frame(SETTINGS, 0, 0, b"\0\3\0\0\0\x64")),
    Flood("interim responses", frame(HEADERS, END_HEADERS, 1, b"\x08\x03103")),
    Flood("empty CONTINUATION", frame(CONTINUATION, 0, 1, b""), frame(HEADERS, 0, 1, b"\x88")),
    Flood("empty DATA", frame(DATA, 0, 1, b""), RESPONSE),
    Flood("DATA of a byte", frame(DATA, 0, 1, b"x"), RESPONSE),
    Flood("interim responses, HTTP/1", b"HTTP/1.1 103 Early Hints\r\n\r\n", is_http2=False),
    Flood("headers, HTTP/1", b"x: y\r\n", b"HTTP/1.1 200 OK\r\n", is_http2=False),
    Flood("chunks of a byte, HTTP/1", b"1\r\nx\r\n", CHUNKED, is_http2=False),
)


@contextmanager
def flooding(flood: Flood, directory: Path) -> Iterator[str]:
    """A peer that floods whoever connects, with the certificate of `directory`; yields its URL."""
    ours, its = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve, args=(flood, directory, its), daemon=True)
    process.start()
    try:
        if not ours.poll(START_SECONDS):
            raise OSError(f"the flood of {flood.name} does not start")
        yield f"https://127.0.0.1:{ours.recv()}/"
    finally:
        process.terminate()
        process.join()


def serve(flood: Flood, directory: Path, parent: Connection) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "leaf.pem", directory / "leaf.key")
    context.set_alpn_protocols(["h2" if flood.is_http2 else "http/1.1"])
    many = flood.repeated * (CHUNK_BYTES // len(flood.repeated))
    start = (frame(SETTINGS, 0, 0, b"") if flood.is_http2 else b"") + flood.start
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        parent.send(listener.getsockname()[1])
        while True:
            connection, _ = listener.accept()
            arguments = (context, connection, start, many)
            threading.Thread(target=flood_one, args=arguments, daemon=True).start()


def flood_one(context: ssl.SSLContext, connection: socket.socket, start: bytes, many: bytes) -> None:
    # Whoever has heard enough closes.
    with contextlib.suppress(OSError), connection:
        with context.wrap_socket(connection, server_side=True) as session:
            session.recv(1 << 16)
            session.sendall(start)
            while True:
                session.sendall(many)
