"""What `doctor` looks at: the daemon through its socket, and what this machine says without it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from peerd import __version__
from peerd.cli import exits
from peerd.control.client import NotRunning, path
from peerd.errors import PeerdError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from peerd.control.client import Client

ROOT = Path("/")
_UP: Final = 0x1
_LOOPBACK: Final = 0x8
_MULTICAST: Final = 0x1000
# 224.0.0.251, as /proc/net/igmp writes it on a little-endian and on a big-endian machine.
_MDNS_GROUP: Final = ("FB0000E0", "E00000FB")


class Finding(NamedTuple):
    """`state` is ok, look (worth a look) or bad (peerd cannot do its work)."""

    state: str
    check: str
    detail: str
    next_step: str = ""


def examine(client: Client) -> tuple[list[Finding], int]:
    """All findings and the exit code that belongs to them."""
    findings = []
    code = exits.OK
    try:
        status = client.call("GET", path("status")).body
    except PeerdError as error:
        findings.append(Finding("bad", "socket", str(error), error.next_step))
        code = exits.NOT_RUNNING if isinstance(error, NotRunning) else error.exit_code
    else:
        findings.append(Finding("ok", "socket", client.socket_path))
        findings += _of_daemon(client, status)
    findings += of_machine(client.socket_path)
    if code == exits.OK and any(finding.state != "ok" for finding in findings):
        code = exits.DEGRADED
    return findings, code


def _of_daemon(client: Client, status: dict[str, Any]) -> Iterator[Finding]:
    version = str(status.get("version") or "")
    if version and version != __version__:
        yield Finding(
            "look", "version", f"the daemon is {version}, peerctl {__version__}", "restart the daemon after an upgrade"
        )
    else:
        yield Finding("ok", "version", version or __version__)
    yield _of_place("device", status["device"])
    try:
        client.call("GET", path("health", "ready"))
        yield Finding("ok", "ready", "all spaces are open")
    except PeerdError as error:
        yield Finding("bad", "ready", str(error), error.next_step)
    for space in status["spaces"]:
        yield _of_place(f"space {space['name']}", space)
        for peer in space["peers"]:
            yield _of_place(f"{space['name']}: {peer['name']}", peer)


def _of_place(check: str, place: dict[str, Any]) -> Finding:
    if reason := place.get("reason"):
        return Finding("look", check, f"{place['state']}: {reason}", place.get("next_step") or "")
    return Finding("ok", check, place["state"])


def of_machine(socket_path: str) -> Iterator[Finding]:
    """What can be seen without the daemon."""
    yield _clock()
    yield _multicast(ROOT)
    if linger := _linger(socket_path, ROOT):
        yield linger


def _clock() -> Finding:
    # Only here: the module needs ctypes, which would slow every other command down.
    from peerd.clock import kernel_is_synchronised  # noqa: PLC0415 - as said above

    if kernel_is_synchronised():
        return Finding("ok", "clock", "kept by a time service")
    return Finding(
        "look",
        "clock",
        "no time service keeps it; edits made at the same time elsewhere win over those made here",
        "switch on a time service: timedatectl set-ntp true",
    )


def _multicast(root: Path) -> Finding:
    able = sorted(_multicast_interfaces(root))
    if not able:
        return Finding(
            "look",
            "multicast",
            "no interface that is up can do multicast, so nobody is found by itself",
            "name the others under [network] peers, or join with --host",
        )
    listening = sorted(_in_mdns_group(root) & set(able))
    if listening:
        return Finding("ok", "multicast", f"mDNS is listened to on {', '.join(listening)}")
    return Finding(
        "look",
        "multicast",
        f"nothing listens to mDNS on {', '.join(able)}",
        "check mdns and interfaces under [network]",
    )


def _multicast_interfaces(root: Path) -> Iterator[str]:
    for flags in (root / "sys/class/net").glob("*/flags"):
        bits = int(_text(flags).strip() or "0", 16)
        if bits & _UP and bits & _MULTICAST and not bits & _LOOPBACK:
            yield flags.parent.name


def _in_mdns_group(root: Path) -> set[str]:
    """Interfaces on which this network namespace has joined 224.0.0.251 or ff02::fb."""
    found, name = set(), ""
    for line in _text(root / "proc/net/igmp").splitlines():
        if not line.startswith("\t") and ":" in line:
            name = line.split(":")[0].split()[1]
        elif line.split()[0] in _MDNS_GROUP:
            found.add(name)
    for line in _text(root / "proc/net/igmp6").splitlines():
        parts = line.split()
        if len(parts) > 2 and parts[2] == "ff0200000000000000000000000000fb":
            found.add(parts[1])
    return found


def _linger(socket_path: str, root: Path) -> Finding | None:
    """A user's daemon ends with the user's last session, unless the user lingers."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if not runtime or not socket_path.startswith(f"{runtime}/") or not (root / "run/systemd/system").is_dir():
        return None
    import pwd  # noqa: PLC0415 - for this one finding

    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return None
    if (root / "var/lib/systemd/linger" / user).exists():
        return Finding("ok", "linger", f"peerd runs on when {user} logs out")
    return Finding("look", "linger", f"peerd stops when {user} logs out", f"loginctl enable-linger {user}")


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
