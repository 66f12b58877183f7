"""What `doctor` looks at: the daemon through its socket, and what this machine says without it (`machine`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from peerd import __version__
from peerd.cli import exits
from peerd.cli.causes import once
from peerd.cli.machine import CLOCKS, DISK, NOTE, OK, PROBLEM, Finding, of_machine
from peerd.cli.text import span
from peerd.control.client import NotRunning, path
from peerd.errors import PeerdError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from peerd.control.client import Client

# What is wrong with a place in these states is not wrong with it alone: it may be meant so, or end by itself.
_MAY_BE: Final = frozenset({"offline", "connecting", "receiving", "syncing", "relayed", "paused", "waiting"})
_MIB: Final = 1 << 20
FULL_BYTES: Final = 64 * _MIB
LOW_BYTES: Final = 1024 * _MIB


def examine(client: Client, *, deep: bool = False) -> tuple[list[Finding], int]:
    """All findings, each cause once, and the exit code that belongs to them: notes do not count."""
    findings = []
    code = exits.OK
    machine: dict[str, Any] = {}
    try:
        status = client.call("GET", path("status")).body
    except PeerdError as error:
        findings.append(Finding(PROBLEM, "socket", str(error), error.next_step))
        code = exits.NOT_RUNNING if isinstance(error, NotRunning) else error.exit_code
    else:
        findings.append(Finding(OK, "socket", client.socket_path))
        findings += _of_daemon(client, status)
        if deep:
            findings += _of_databases(client)
        machine = status.get("machine") or {}
    findings += of_machine(client.socket_path, machine.get("mdns"), machine.get("mdns_interfaces", ()))
    findings = once(findings)
    if code == exits.OK and any(finding.state == PROBLEM for finding in findings):
        code = exits.DEGRADED
    return findings, code


def _of_daemon(client: Client, status: dict[str, Any]) -> Iterator[Finding]:
    version = str(status.get("version") or "")
    if version and version != __version__:
        yield Finding(
            NOTE, "version", f"the daemon is {version}, peerctl {__version__}", "restart the daemon after an upgrade"
        )
    else:
        yield Finding(OK, "version", version or __version__)
    device = status["device"]
    yield _of_place("device", device)
    for one in device.get("further", ()):
        yield _because(PROBLEM, "device", "degraded", one["reason"], one.get("next_step") or "")
    yield from _of_clocks(status)
    try:
        client.call("GET", path("health", "ready"))
        yield Finding(OK, "ready", "all spaces are open")
    except PeerdError as error:
        yield Finding(PROBLEM, "ready", str(error), error.next_step, cause=str(error))
    if machine := status.get("machine"):
        yield _of_port(machine)
        yield _of_disk(machine)
    for space in status["spaces"]:
        yield _of_place(f"space {space['name']}", space)
        for peer in space["peers"]:
            yield _of_place(f"{space['name']}: {peer['name']}", peer)
    yield from _of_addresses(client)
    try:
        relays = client.call("GET", path("relays")).body["relays"]
    except PeerdError as error:
        yield Finding(PROBLEM, "relays", str(error), error.next_step)
    else:
        yield from (_of_relay(relay) for relay in relays)


def _of_addresses(client: Client) -> Iterator[Finding]:
    """Of a laptop that is away from home none may lead anywhere."""
    try:
        astray = client.call("GET", path("peers")).body.get("astray", ())
    except PeerdError:
        return  # what is wrong with the daemon itself is said elsewhere
    for one in astray:
        said = f"{one['address']} leads to no member: {one['reason']}"
        yield Finding(NOTE, "network.peers", said, one.get("next_step") or "", cause=one["reason"], word=one["address"])


def _of_databases(client: Client) -> Iterator[Finding]:
    try:
        for check in client.stream("POST", path("checks")):
            if error := check.get("error"):
                yield Finding(PROBLEM, "database", str(error["detail"]), error.get("next_step") or "")
            elif problem := check.get("problem"):
                step = check.get("next_step") or ""
                yield Finding(PROBLEM, f"database {check['space']}", problem, step, cause=problem)
            else:
                yield Finding(OK, f"database {check['space']}", "every page is as it was written")
    except PeerdError as error:
        yield Finding(PROBLEM, "database", str(error), error.next_step)


def _of_clocks(status: dict[str, Any]) -> Iterator[Finding]:
    """Beside the clocks of the devices that are linked."""
    off_ms = status["device"].get("clock_off_ms")
    spaces = status["spaces"]
    linked = {one["device"] for space in spaces for one in space["peers"] if one.get("clock_off_ms") is not None}
    if off_ms is not None:
        way = "ahead of" if off_ms > 0 else "behind"
        said = f"{span(abs(off_ms) / 1000)} {way} those of the others: nothing is lost by it"
        yield Finding(PROBLEM, CLOCKS, said, "set it right: timedatectl set-ntp true")
    elif linked:
        yield Finding(OK, CLOCKS, "not found wrong beside those of linked devices")


def _of_relay(relay: dict[str, Any]) -> Finding:
    check = f"{relay['relay']} relay: {relay['space']}"
    if reason := relay.get("reason"):
        state = PROBLEM if relay["state"] == "trouble" else NOTE
        return _because(state, check, relay["state"], reason, relay.get("next_step") or "")
    if found := relay.get("findings"):
        called = found[0].get("name") or found[0].get("device") or ""
        return Finding(NOTE, check, f"{called}: {found[0]['text']}", "`peerctl relay status` shows all of it")
    return Finding(OK, check, relay["state"])


def _of_place(check: str, place: dict[str, Any]) -> Finding:
    if reason := place.get("reason"):
        state = NOTE if place["state"] in _MAY_BE else PROBLEM
        return _because(state, check, place["state"], reason, place.get("next_step") or "")
    return Finding(OK, check, place["state"])


def _because(state: str, check: str, word: str, reason: str, next_step: str) -> Finding:
    return Finding(state, check, f"{word}: {reason}", next_step, cause=reason, word=word)


def _of_port(machine: dict[str, Any]) -> Finding:
    bound = ", ".join(machine["listen"])
    if not bound:
        return Finding(NOTE, "port", "none is bound, as configured: this device dials others and cannot be dialled")
    if all(address.startswith(("127.", "[::1]")) for address in machine["listen"]):
        return Finding(
            NOTE, "port", f"{bound}: only this machine can reach it", "put other addresses into [network] listen"
        )
    return Finding(OK, "port", f"bound: {bound}; a firewall must let TCP in there, and UDP 5353 for mDNS")


def _of_disk(machine: dict[str, Any]) -> Finding:
    free, where = machine.get("free_bytes"), machine["state_dir"]
    if free is None:
        return Finding(PROBLEM, DISK, f"the room in {where} cannot be told", "is that directory still there?")
    said = f"{free // _MIB:,} MiB are free in {where}"
    if free < FULL_BYTES:
        return Finding(PROBLEM, DISK, f"{said}: writes are about to be refused", "make room")
    if free < LOW_BYTES:
        return Finding(NOTE, DISK, said, "make room before it is full: then nothing can be written")
    return Finding(OK, DISK, said)
