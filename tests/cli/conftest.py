"""A daemon that answers what a test tells it to, on a real Unix socket, and `peerctl` run against it."""

from __future__ import annotations

import io
import json
import os
import pty
import shutil
import signal
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

from peerd.cli.main import main


class Asked(NamedTuple):
    """One request as the daemon got it; `path` is not unquoted."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


class Reply(NamedTuple):
    """`lines` makes it a stream, which breaks off without an end if `cut`, and waits for ever if `held`."""

    status: int = 200
    body: Any = None
    lines: tuple[Any, ...] | None = None
    cut: bool = False
    held: bool = False


class FakeDaemon:
    """Answers by method and path; a function gets the request and gives a reply or a body."""

    def __init__(self, socket_path: str) -> None:
        self.socket = socket_path
        self.asked: list[Asked] = []
        self.connections = 0
        self._replies: dict[tuple[str, str], Reply | Callable[[Asked], Any]] = {}
        self._lock = threading.Lock()
        self.released = threading.Event()

    def on(self, method: str, path: str, body: Any = None, *, status: int = 200) -> None:
        self._replies[method, path] = Reply(status, body)

    def on_stream(self, method: str, path: str, *lines: Any, cut: bool = False, held: bool = False) -> None:
        self._replies[method, path] = Reply(lines=lines, cut=cut, held=held)

    def on_call(self, method: str, path: str, function: Callable[[Asked], Any]) -> None:
        self._replies[method, path] = function

    def problem(
        self, method: str, path: str, status: int, *, code: str, detail: str = "it is so", next_step: str = ""
    ) -> None:
        body = {"type": f"about:{code}", "title": code, "status": status}
        self.on(method, path, {**body, "detail": detail, "code": code, "next_step": next_step}, status=status)

    def reply(self, asked: Asked) -> Reply:
        with self._lock:
            self.asked.append(asked)
        found = self._replies.get((asked.method, asked.path))
        if callable(found):
            found = found(asked)
        if found is None:
            return Reply(404, {"status": 404, "code": "not-found", "detail": f"{asked.method} {asked.path}"})
        return found if isinstance(found, Reply) else Reply(200, found)

    def bodies(self, method: str) -> list[Any]:
        return [asked.body for asked in self.asked if asked.method == method]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeDaemon

    def setup(self) -> None:
        super().setup()
        self.fake = self.server.fake  # type: ignore[attr-defined] # set where the server is made
        self.fake.connections += 1

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass

    def address_string(self) -> str:
        return "unix"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        body = json.loads(raw) if raw else None
        reply = self.fake.reply(Asked(self.command, parts.path, query, headers, body))
        self.send_response(reply.status)
        if reply.lines is not None:
            self._stream(reply)
            return
        text = b"" if reply.body is None else json.dumps(reply.body).encode()
        kind = "application/problem+json" if reply.status >= 400 else "application/json"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _stream(self, reply: Reply) -> None:
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in reply.lines or ():
            text = json.dumps(line).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))
            self.wfile.flush()
        if reply.held:
            self.fake.released.wait()
        if not reply.cut:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64
    fake: FakeDaemon


@pytest.fixture
def daemon() -> Iterator[FakeDaemon]:
    """A running fake daemon that knows no address yet."""
    folder = tempfile.mkdtemp(prefix="peerctl-", dir="/tmp")  # a socket's path has 108 bytes at most
    fake = FakeDaemon(f"{folder}/s")
    server = _Server(fake.socket, _Handler)
    server.fake = fake
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield fake
    fake.released.set()
    server.shutdown()
    thread.join()
    server.server_close()
    shutil.rmtree(folder)


@pytest.fixture
def peerctl(
    daemon: FakeDaemon, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """Run a command in this process, its output no terminal: `peerctl("get", "home", …, stdin="…")`."""
    monkeypatch.setenv("TZ", "UTC")

    def run(*argv: str, stdin: str | bytes = "") -> Outcome:
        raw = stdin if isinstance(stdin, bytes) else stdin.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8"))
        monkeypatch.setenv("PEERD_SOCKET", daemon.socket)
        capsys.readouterr()
        try:
            code = main(argv)
        except SystemExit as left:
            code = int(left.code or 0)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


def _environment(daemon: FakeDaemon, **more: str) -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    kept = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "XDG_RUNTIME_DIR"}}
    return {**kept, "PEERD_SOCKET": daemon.socket, "PYTHONPATH": root, "TZ": "UTC", "TERM": "xterm", **more}


@pytest.fixture
def start(daemon: FakeDaemon) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start `peerctl` as a process of its own; what is left of it at the end is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(*argv: str, **options: Any) -> subprocess.Popen[bytes]:
        environ = _environment(daemon, **options.pop("env", {}))
        pipes = {name: options.pop(name, subprocess.PIPE) for name in ("stdin", "stdout", "stderr")}
        # Where the tests run in the background nobody's interrupt is heard, and what they start would inherit that.
        ours = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            process = subprocess.Popen([sys.executable, "-m", "peerd.cli.main", *argv], env=environ, **pipes, **options)
        finally:
            signal.signal(signal.SIGINT, ours)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def on_terminal(start: Callable[..., subprocess.Popen[bytes]]) -> Callable[..., Outcome]:
    """Run a command on a pseudo-terminal that types `typed`; both streams come back as `out`."""

    def run(*argv: str, typed: str = "", env: dict[str, str] | None = None) -> Outcome:
        ours, theirs = pty.openpty()
        process = start(*argv, stdin=theirs, stdout=theirs, stderr=theirs, env=env or {})
        os.close(theirs)
        if typed:
            os.write(ours, typed.encode())
        pieces = []
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the last descriptor of the other end is closed
                break
            if not piece:
                break
            pieces.append(piece)
        os.close(ours)
        code = process.wait()
        return Outcome(code, b"".join(pieces).decode().replace("\r\n", "\n"), "")

    return run


@pytest.fixture
def unquoted() -> Callable[[str], list[str]]:
    """The parts of an address, as the daemon understands them."""
    return lambda path: [unquote(part) for part in path.split("/")]


IGMP = """Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter
1\tlo        :     1      V3
\t\t\t\t010000E0     1 0:00000000\t\t0
2\teth0      :     2      V3
\t\t\t\tFB0000E0     1 0:00000000\t\t0
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Write a file of /proc, /sys or /run; the machine that doctor looks at has only these."""
    monkeypatch.setattr("peerd.cli.machine.ROOT", tmp_path)
    monkeypatch.setattr("peerd.clock.kernel_is_synchronised", lambda: True)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)

    def write(name: str, text: str = "") -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    write("sys/class/net/lo/flags", "0x1009\n")
    write("sys/class/net/eth0/flags", "0x1003\n")
    write("sys/class/net/wlan0/flags", "0x1002\n")
    write("proc/net/igmp", IGMP)
    return write
