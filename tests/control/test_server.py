"""Starting, stopping, and what stands between a connection and the service."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import socket
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from peerd.control.listening import AlreadyRunning
from peerd.control.server import ControlServer
from peerd.errors import ConfigError


async def test_the_socket_comes_and_goes(serve: Any, connect: Any, tmp_path: Path) -> None:
    """Made tight, removed at the end; stopping twice is once."""
    server = await serve()
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o660
    talk = await connect()
    assert (await talk.ask("GET", "/v1/peers")).status == 200
    await server.stop()
    assert not (tmp_path / "s").exists()
    await server.stop()
    assert await talk.at_end()


async def test_a_second_daemon_is_refused(serve: Any, connect: Any) -> None:
    """And the first goes on."""
    await serve()
    with pytest.raises(AlreadyRunning):
        await serve()
    assert (await (await connect()).ask("GET", "/v1/peers")).status == 200


async def test_a_restart_takes_the_place_again(serve: Any, connect: Any) -> None:
    for _ in range(2):
        server = await serve()
        assert (await (await connect()).ask("GET", "/v1/peers")).status == 200
        await server.stop()


async def test_a_server_that_could_not_start_can_be_stopped(service: Any, tmp_path: Path) -> None:
    (tmp_path / "s").write_text("")
    server = ControlServer(service, tmp_path / "s")
    with pytest.raises(ConfigError):
        await server.start()
    await server.stop()
    assert (tmp_path / "s").exists()


async def test_a_supervisors_socket_is_served_and_left(serve: Any, connect: Any, tmp_path: Path) -> None:
    """Socket activation: the file belongs to the supervisor, before and after."""
    path = tmp_path / "given"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        server = await serve(inherited_fd=listener.fileno())
        assert (await (await connect(path)).ask("GET", "/v1/peers")).status == 200
        await server.stop()
        assert path.exists()
        assert not (tmp_path / "s").exists()
        waiting = socket.socket(socket.AF_UNIX)
        waiting.connect(str(path))
        waiting.close()


async def test_what_fails_here_is_logged_what_fails_there_is_not(talk: Any, service: Any, log_events: Any) -> None:
    """A bug with its trace, for whoever repairs it; a caller's mistake is the caller's business."""
    service.failure = ZeroDivisionError("division by zero")
    (await talk.ask("GET", "/v1/peers")).problem(500, "internal")
    (await talk.ask("GET", "/v1/nothing")).problem(404, "no-such-path")
    failed = [line for line in log_events() if line["event"] == "request failed"]
    assert len(failed) == 1
    assert "ZeroDivisionError" in failed[0]["exception"]


async def test_that_no_files_are_left_is_no_bug_wherever_it_is_met(talk: Any, service: Any, log_events: Any) -> None:
    """A library may want to read a file of its own, at the first use of a part of it."""
    service.failure = OSError(errno.EMFILE, "Too many open files", "/somewhere/module.py")
    problem = (await talk.ask("GET", "/v1/peers")).problem(503, "too-many-files")
    assert "LimitNOFILE=" in problem["next_step"]
    (line,) = [line for line in log_events() if line["event"] == "request failed"]
    assert (line["level"], line["code"], "exception" in line) == ("warning", "too-many-files", False)


async def test_many_clients_at_once(serve: Any, connect: Any, service: Any) -> None:
    """Each gets its own answers, in its own order."""
    await serve()

    async def one(number: int) -> None:
        talk = await connect()
        for turn in range(20):
            reply = await talk.ask("PUT", f"/v1/spaces/home/records/c/{number}-{turn}", {"n": turn})
            assert reply.status == 200

    await asyncio.gather(*(one(number) for number in range(16)))
    keys = [call[2][0].key for call in service.calls]
    assert len(keys) == 320
    for number in range(16):
        assert [key for key in keys if key.startswith(f"{number}-")] == [f"{number}-{turn}" for turn in range(20)]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_curl_can_use_it(serve: Any, service: Any, tmp_path: Path) -> None:
    """The client that everybody has: a write, a read, a refusal, a feed."""
    await serve()

    async def curl(*arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            "curl", "-sS", "--max-time", "10", "--unix-socket", str(tmp_path / "s"), *arguments,
            stdout=subprocess.PIPE, env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
        output, _ = await process.communicate()
        return output.decode()

    base = "http://localhost/v1/spaces/home"
    written = await curl("-X", "PUT", "--json", '{"title":"milk"}', f"{base}/records/todo/1")
    assert json.loads(written)["etag"] == "e2"
    assert json.loads(await curl(f"{base}/records/todo/a%2Fb"))["value"] == {"title": "milk", "n": 1}
    refused = json.loads(await curl("-X", "PUT", "-d", "{}", f"{base}/records/todo/1"))
    assert refused["code"] == "not-json"
    assert "--json" in refused["next_step"]
    large = tmp_path / "large.json"
    await asyncio.to_thread(large.write_text, json.dumps({"a": "x" * (3 << 20)}))
    assert json.loads(await curl("-X", "PUT", "--json", f"@{large}", f"{base}/records/todo/1"))["dot"] == "aa:4"
    service.events.put_nowait([service.feed_event])
    service.events.put_nowait([])
    assert json.loads(await curl(f"{base}/changes?since=now"))["kind"] == "put"
    assert service.calls[-1] == ("changes", "home", "now", False)
