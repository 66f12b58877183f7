"""The whole daemon in this process, on loopback: what its parts are to each other."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from peerd.config import load
from peerd.core.device_id import format_device_id
from peerd.daemon import Daemon
from peerd.errors import ConfigError, PeerdError, StoreBusy, UserError
from peerd.net.link import INTRODUCE, PAIR, SYNC
from peerd.protocol.control.messages import ChangeRequest
from peerd.protocol.control.reports import NewJoin

PATIENCE_S = 20.0
STOP_S = 5.0


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - there is no event for whatever a test may ask
            await asyncio.sleep(0.01)


class House:
    """One daemon with its folder; `write` changes its configuration."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True)
        self.folder, self.name = folder, name
        self.config = folder / "peerd.toml"
        self.socket = folder / "s"
        self.environ: dict[str, str] = {}
        self.write()
        self.daemon: Daemon | None = None
        self.task: asyncio.Task[None] | None = None

    def write(self, *, device: str = "", network: str = "", control: str = "", more: str = "") -> None:
        listen = "" if "listen" in network else 'listen = ["127.0.0.1:0"]\n'
        named = "" if "name" in device else f'name = "{self.name}"\n'
        self.config.write_text(
            f'[device]\n{named}state_dir = "{self.folder / "state"}"\n{device}\n'
            f"[network]\nmdns = false\n{listen}{network}\n"
            f'[control]\nsocket = "{self.socket}"\n{control}\n{more}\n'
        )

    def make(self) -> Daemon:
        return Daemon(load(self.config, self.environ), lambda: load(self.config, self.environ), self.environ)

    async def start(self, before: Callable[[Daemon], None] = lambda _: None) -> None:
        self.daemon = self.make()
        before(self.daemon)
        self.task = asyncio.create_task(self.daemon.run())
        await until(lambda: self.socket.exists() or (self.task is not None and self.task.done()))
        if self.task.done():
            await self.task
        await until(lambda: self.here.parts.listener.addresses)

    @property
    def here(self) -> Daemon:
        assert self.daemon is not None
        return self.daemon

    @property
    def service(self) -> Any:
        return self.here.parts.service

    @property
    def host(self) -> str:
        host, port = self.here.parts.listener.addresses[0]
        return f"{host}:{port}"

    async def stop(self) -> None:
        if self.task is not None:
            self.here.parts.supervisor.stop()
            task, self.task = self.task, None
            await asyncio.wait_for(task, STOP_S)

    async def get(self, path: str) -> str:
        """What the socket answers."""
        reader, writer = await asyncio.open_unix_connection(str(self.socket))
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        text = (await reader.read()).decode()
        writer.close()
        await writer.wait_closed()
        return text

    async def put(self, key: str, value: dict[str, Any]) -> None:
        await self.service.write("home", [ChangeRequest(kind="put", collection="notes", key=key, value=value)])

    def peer(self) -> Any:
        (space,) = self.here.parts.spaces.by_id.values()
        (peer,) = self.here.parts.statuses.peers.of(space)
        return peer


Build = Callable[[str], Awaitable[House]]


@pytest.fixture
async def build(tmp_path: Path) -> AsyncIterator[Build]:
    """Call it with a name for a running daemon."""
    houses: list[House] = []

    async def build(name: str) -> House:
        house = House(tmp_path / name, name)
        houses.append(house)
        await house.start()
        return house

    yield build
    for house in houses:
        await house.stop()


async def pair(inviter: House, joiner: House) -> None:
    async with aclosing(await inviter.service.invite("home", assume_yes=True)) as events:
        code = (await anext(events)).code
        await joiner.service.join(NewJoin(code=code, host=inviter.host))


@pytest.fixture
async def two(build: Build) -> tuple[House, House]:
    """Two daemons that share `home`, in sync."""
    desk, laptop = await build("desk"), await build("laptop")
    await desk.service.create_space("home")
    await pair(desk, laptop)
    await until(lambda: desk.peer().state == laptop.peer().state == "in sync")
    return desk, laptop


# --- from start to end ----------------------------------------------------------------------------------


async def test_it_starts_serves_and_stops(build: Build) -> None:
    desk = await build("desk")
    assert '"live":true' in (await desk.get("/v1/health/live")).replace(" ", "")
    assert '"name":"desk"' in (await desk.get("/v1/status")).replace(" ", "")
    await desk.stop()
    assert not desk.socket.exists()


async def test_it_finds_everything_again(two: tuple[House, House]) -> None:
    """Spaces, records, and without discovery the addresses of its peers."""
    desk, laptop = two
    await desk.put("a", {"x": 1})
    await until(lambda: laptop.peer().behind == 0 and laptop.here.parts.spaces.named("home").copy.visible == 1)
    await laptop.stop()
    await until(lambda: desk.peer().state == "offline")
    assert desk.peer().reason
    await desk.put("b", {"x": 1})
    await laptop.start()
    await until(lambda: desk.peer().state == laptop.peer().state == "in sync")
    assert (await laptop.service.read_record("home", "notes", "b")).value == {"x": 1}


async def test_a_stop_waits_for_nobody(two: tuple[House, House]) -> None:
    """An open invitation, a follower of the feed and a linked peer end with it, within five seconds."""
    desk, _ = two
    reader, writer = await asyncio.open_unix_connection(str(desk.socket))
    writer.write(b"GET /v1/spaces/home/changes?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"200" in await reader.readline()
    body = b'{"space":"home"}'
    inviting, also = await asyncio.open_unix_connection(str(desk.socket))
    also.write(b"POST /v1/invitations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
               b"Content-Length: %d\r\n\r\n%s" % (len(body), body))  # fmt: skip
    await inviting.readuntil(b'"code"')
    await desk.stop()
    assert desk.here.parts._inviting.open is None
    for one in (writer, also):
        one.close()
        await one.wait_closed()


async def test_what_was_in_progress_is_committed(build: Build) -> None:
    desk = await build("desk")
    await desk.service.create_space("home")
    writes = [asyncio.create_task(desk.put(f"k{number}", {})) for number in range(50)]
    await asyncio.sleep(0)
    await desk.stop()
    done = await asyncio.gather(*writes, return_exceptions=True)
    written = [number for number, one in enumerate(done) if one is None]
    assert all(one is None or (isinstance(one, UserError) and one.code == "stopping") for one in done)
    await desk.start()
    page = await desk.service.list_records("home", "notes", "k", 100, None)
    assert sorted(int(view.key[1:]) for view in page.records) == written


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signals_stop_it(build: Build, number: signal.Signals) -> None:
    desk = await build("desk")
    os.kill(os.getpid(), number)
    assert desk.task is not None
    await asyncio.wait_for(desk.task, STOP_S)
    desk.task = None


async def test_a_stop_that_fails_on_the_way_closes_everything_all_the_same(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads of a database that stays open would keep the process, and its lock, for ever."""
    desk = await build("desk")
    await desk.service.create_space("home")
    await desk.put("a", {"x": 1})
    before = {thread for thread in threading.enumerate() if not thread.daemon}

    async def fail() -> None:
        raise RuntimeError("no more")

    monkeypatch.setattr(desk.here.parts.lookout, "stop", fail)
    monkeypatch.setattr(desk.here.parts.housekeeping, "note_time", fail)
    with pytest.raises(RuntimeError, match="no more"):
        await desk.stop()
    assert not any(thread.is_alive() for thread in before if "worker" in thread.name)
    await desk.start()
    assert (await desk.service.read_record("home", "notes", "a")).value == {"x": 1}


async def test_a_state_directory_that_cannot_be_made_is_told_with_a_next_step(tmp_path: Path) -> None:
    desk = House(tmp_path / "desk", "desk")
    (desk.folder / "state").write_text("a file")
    with pytest.raises(ConfigError, match="peerd's user may make and write in"):
        desk.make()


async def test_two_daemons_never_share_a_state_directory(build: Build) -> None:
    desk = await build("desk")
    with pytest.raises(StoreBusy, match="Another peerd") as refused:
        desk.make()
    assert "state directory" in refused.value.next_step
    await desk.stop()
    await desk.start()


async def test_a_start_that_fails_leaves_nothing_behind(build: Build, tmp_path: Path) -> None:
    """The socket is somebody else's; what was opened before is closed, and the next start works."""
    desk = await build("desk")
    other = House(tmp_path / "other", "other")
    real, other.socket = other.socket, desk.socket
    other.write()
    with pytest.raises(PeerdError):
        await asyncio.wait_for(other.make().run(), STOP_S)
    assert '"name":"desk"' in (await desk.get("/v1/status")).replace(" ", "")
    other.socket = real
    other.write()
    await other.start()
    await other.stop()


# --- who is let in --------------------------------------------------------------------------------------


def said(house: House, device: bytes, subprotocol: str) -> str | None:
    refusal = house.here.parts._authorise(device, subprotocol, ("192.0.2.1", 1))
    return refusal.code if refusal is not None else None


async def test_strangers_learn_nothing(build: Build) -> None:
    desk = await build("desk")
    await desk.service.create_space("home")
    stranger = bytes(32)
    assert said(desk, stranger, INTRODUCE) is None, "it may say who it is, and hears nothing"
    assert said(desk, stranger, SYNC) == "unknown-device"
    assert said(desk, stranger, PAIR) == "unknown-device"
    async with aclosing(await desk.service.invite("home", assume_yes=True)) as events:
        await anext(events)
        assert said(desk, stranger, PAIR) is None
        assert said(desk, stranger, SYNC) == "unknown-device"
    assert said(desk, stranger, PAIR) == "unknown-device"
    await desk.service.admit("home", format_device_id(stranger), "admin")
    assert said(desk, stranger, PAIR) is None


async def test_a_removed_device_is_told_so_and_by_whom(two: tuple[House, House]) -> None:
    desk, laptop = two
    await desk.service.remove("home", "laptop")
    home = laptop.here.parts.spaces.named("home")
    await until(lambda: not home.roster.is_member(laptop.here.parts.switchboard._keys.device))
    view = await laptop.service.space("home")
    assert view.state == "removed"
    assert "by desk" in view.reason
    await until(lambda: not desk.here.parts.switchboard.links)
    assert said(desk, laptop.here.parts.switchboard._keys.device, SYNC) == "removed"
    with pytest.raises(UserError) as refused:
        await laptop.put("a", {})
    assert refused.value.code == "removed"


async def test_whoever_was_removed_may_join_again(two: tuple[House, House]) -> None:
    desk, laptop = two
    await laptop.put("old", {})
    await until(lambda: desk.here.parts.spaces.named("home").copy.visible == 1)
    await desk.service.remove("home", "laptop")
    await pair(desk, laptop)
    await until(lambda: desk.peer().state == laptop.peer().state == "in sync")
    await laptop.put("new", {})
    await until(lambda: desk.here.parts.spaces.named("home").copy.visible == 2)
    assert list((laptop.folder / "state" / "spaces").glob("*.aside-1"))


async def test_a_pause_is_no_refusal(two: tuple[House, House]) -> None:
    """The other side is told that it may come back, not that nobody knows it."""
    desk, laptop = two
    await desk.service.pause()
    await until(lambda: not laptop.here.parts.switchboard.links)
    laptop.here.parts.dialing.nudge_all()
    await until(lambda: "paused" in laptop.peer().reason)
    assert laptop.peer().state == "offline"
    assert said(laptop, desk.here.parts.switchboard._keys.device, SYNC) is None
    await desk.service.resume()
    laptop.here.parts.dialing.nudge_all()
    await until(lambda: desk.peer().state == laptop.peer().state == "in sync")


# --- settings -------------------------------------------------------------------------------------------


async def test_a_reload_applies_what_it_can_and_names_the_rest(two: tuple[House, House]) -> None:
    desk, laptop = two
    desk.write(
        device='name = "attic"',
        network='peers = ["127.0.0.1:1"]',
        more='[log]\nlevel = "error"\n[spaces.home]\nhistory_days = 3',
    )
    told = await desk.service.reload()
    assert sorted(told.changed) == ["log.level", "network.peers", "spaces.home.history_days"]
    assert told.needs_restart == ["device.name"]
    assert desk.here.parts.housekeeping.history_days("home") == 3
    assert ("127.0.0.1", 1) in desk.here.parts.dialing._static
    device = (await desk.service.status()).device
    assert (device.name, device.state) == ("desk", "degraded")
    assert "device.name" in device.reason
    assert laptop.peer().state == "in sync", "links stay"


async def test_a_setting_that_is_taken_back_waits_for_no_restart(build: Build) -> None:
    desk = await build("desk")
    desk.write(device='name = "attic"', more='[log]\nlevel = "error"')
    await desk.service.reload()
    again = await desk.service.reload()
    assert (again.changed, again.needs_restart) == ([], ["device.name"]), "it still waits"
    desk.write()
    taken_back = await desk.service.reload()
    assert (taken_back.changed, taken_back.needs_restart) == (["log.level"], [])
    assert (await desk.service.status()).device.state == "running"


async def test_a_bad_file_keeps_the_running_settings(build: Build, log_events: Any) -> None:
    desk = await build("desk")
    desk.write(network="mdns = 7", more='[log]\nlevel = "loud"')
    desk.config.write_text(desk.config.read_text().replace("mdns = false\n", ""))
    with pytest.raises(ConfigError) as refused:
        await desk.service.reload()
    assert len(refused.value.problems) == 2
    assert "`peerctl reload`" in refused.value.next_step
    assert desk.here._live.now.log.level == "info"
    assert [one["cause"] for one in log_events() if one["event"] == "setting refused"] == refused.value.problems
    assert "mdns = 7" in await refusal(desk)
    desk.write()
    await desk.service.reload()
    assert (await desk.service.status()).device.state == "running"


async def refusal(house: House) -> str:
    """What `status` says of a configuration that was not taken over."""
    device = (await house.service.status()).device
    assert device.state == "degraded"
    assert "`peerctl reload`" in device.next_step
    assert device.reason.startswith(f"the new configuration was refused, and the one before stays: {house.config}: ")
    return str(device.reason)


async def test_sighup_reloads(build: Build, log_lines: Any) -> None:
    """Whether the file is good or not, it goes on."""
    desk = await build("desk")
    desk.write(more="[spaces.home]\nhistory_days = 3")
    os.kill(os.getpid(), signal.SIGHUP)
    await until(lambda: desk.here.parts.housekeeping.history_days("home") == 3)
    desk.write(more='[log]\nlevel = "loud"')
    os.kill(os.getpid(), signal.SIGHUP)
    await until(lambda: desk.here.parts.statuses.refused_settings and not desk.here._spawned)
    assert desk.here._live.now.log.level == "info"
    assert 'log.level = "loud"' in await refusal(desk)


async def test_the_log_names_the_device_and_where_it_listens(build: Build, log_events: Any) -> None:
    desk = await build("desk")

    def of(phrase: str) -> list[dict[str, Any]]:
        return [line for line in log_events() if line["event"] == phrase]

    await until(lambda: of("daemon ready"))
    (ready,) = of("daemon ready")
    assert ready["address"] == desk.host
    assert (await desk.service.status()).device.id.replace("-", "").startswith(ready["device"])
    await desk.stop()
    assert len(of("daemon stopped")) == 1


# --- what is wrong --------------------------------------------------------------------------------------


async def test_a_port_that_is_taken_ends_the_start_with_a_sentence(
    build: Build, tmp_path: Path, log_events: Any
) -> None:
    """And with nothing about a daemon that stopped: there was none."""
    desk = await build("desk")
    other = House(tmp_path / "other", "other")
    other.write(network=f'listen = ["{desk.host}"]')
    with pytest.raises(PeerdError, match="in use"):
        await asyncio.wait_for(other.make().run(), STOP_S)
    assert "daemon stopped" not in [line["event"] for line in log_events()]
    other.write()
    await other.start()
    await other.stop()


async def test_an_address_that_this_machine_lacks_is_a_problem(build: Build) -> None:
    """One of several: it goes on with the others and says so."""
    desk = await build("desk")
    desk.here.parts.listener.problems.append("network.listen: there is no IPv6 here")
    device = (await desk.service.status()).device
    assert (device.state, device.reason, device.next_step) == (
        "degraded", "network.listen: there is no IPv6 here", "Check network.listen.",
    )  # fmt: skip


async def test_what_it_has_of_its_machine_is_told(build: Build) -> None:
    """The address that is really bound, mDNS as configured, and the room for data; `doctor` judges them."""
    desk = await build("desk")
    machine = (await desk.service.status()).machine
    assert (machine.listen, machine.mdns, machine.state_dir) == ([desk.host], "off", str(desk.folder / "state"))
    assert machine.free_bytes > 0
    shutil.rmtree(desk.folder / "state")
    assert (await desk.service.status()).machine.free_bytes is None


async def test_discovery_that_fails_is_a_problem(build: Build) -> None:
    class Failed:
        state, problem, interfaces = "failed", "no socket on any interface", ()

        async def stop(self) -> None:
            return

    desk = await build("desk")
    desk.here.parts.mdns = Failed()  # type: ignore[assignment] # it only has to look like it
    device = (await desk.service.status()).device
    assert device.state == "degraded"
    assert device.reason == "discovery does not work: no socket on any interface"
    assert "network.peers" in device.next_step


async def test_a_part_that_fails_is_a_problem(tmp_path: Path) -> None:
    async def broken() -> None:
        raise ValueError("no such thing")

    desk = House(tmp_path / "desk", "desk")
    await desk.start(lambda daemon: setattr(daemon.parts.housekeeping, "tend_secrets", broken))
    try:
        await until(desk.here.parts.machine.problems)
        ((cause, step),) = desk.here.parts.machine.problems()
        assert cause.startswith("secrets failed")
        assert "log" in step
        assert (await desk.service.status()).device.state == "degraded"
    finally:
        await desk.stop()


async def test_a_host_is_read_before_anybody_is_asked(build: Build) -> None:
    desk = await build("desk")
    for host in ("nowhere", "host:0", "host:99999", "[::1"):
        with pytest.raises(PeerdError):
            await desk.service.join(NewJoin(code="12345678", host=host))


async def test_after_a_change_of_the_network_it_looks_around(two: tuple[House, House]) -> None:
    """Links that answer stay."""
    desk, laptop = two
    link = next(iter(desk.here.parts.switchboard.links.values()))
    desk.here._on_network_change()
    desk.here._on_wake(100.0)
    await until(lambda: not desk.here._spawned)
    assert next(iter(desk.here.parts.switchboard.links.values())) is link
    assert laptop.peer().state == "in sync"


async def test_looking_around_does_not_outlive_a_stop(two: tuple[House, House]) -> None:
    desk, _ = two
    desk.here._on_wake(100.0)
    assert desk.here._spawned
    await desk.stop()
    assert not desk.here._spawned
