"""What `doctor` sees of this machine: the clock, multicast, and whether the daemon outlives its user's session."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path("/")
OK: Final = "ok"
NOTE: Final = "note"
PROBLEM: Final = "problem"
MDNS_PORT: Final = "mdns port"
NETWORK: Final = "network"
CLOCKS: Final = "clocks"
DISK: Final = "disk"
NO_MDNS: Final = "discovery does not work"  # how the daemon begins what it says of mDNS that failed
_PORT: Final = 5353
_UP: Final = 0x1
_LOOPBACK: Final = 0x8
_MULTICAST: Final = 0x1000
_DOWN: Final = frozenset({"down", "lowerlayerdown", "notpresent", "dormant"})
# 224.0.0.251, as /proc/net/igmp writes it on a little-endian and on a big-endian machine.
_MDNS_GROUP: Final = ("FB0000E0", "E00000FB")


class Finding(NamedTuple):
    """`state` is ok, note (worth knowing, and as it may be meant) or problem (peerd cannot do its work). `cause` is the
    sentence in `detail` that says why, `word` what is so because of it; `affects` names what else that cause touches.
    """

    state: str
    check: str
    detail: str
    next_step: str = ""
    cause: str = ""
    word: str = ""
    affects: tuple[str, ...] = ()


def of_machine(socket_path: str, mdns: str | None, heard_on: Sequence[str] = ()) -> Iterator[Finding]:
    """What can be seen without the daemon; `mdns` is what it says of its own: running, failed or off, None unknown;
    `heard_on` are the interfaces on which it listens.
    """
    yield _clock()
    if not any(_networks(ROOT)):
        yield Finding(
            NOTE,
            NETWORK,
            "no network is up: no other machine can be reached",
            "connect this machine; peerd goes on by itself then",
        )
    yield _multicast(ROOT, mdns, heard_on)
    if mdns == "failed":
        yield _mdns_port(ROOT)
    if linger := _linger(socket_path, ROOT):
        yield linger


def _clock() -> Finding:
    # Only here: the module needs ctypes, which would slow every other command down.
    from peerd.clock import kernel_is_synchronised  # noqa: PLC0415 - as said above

    if kernel_is_synchronised():
        return Finding(OK, "clock", "kept by a time service")
    return Finding(
        NOTE,
        "clock",
        "no time service keeps it; edits made at the same time elsewhere win over those made here",
        "switch on a time service: timedatectl set-ntp true",
    )


def _networks(root: Path) -> Iterator[str]:
    """Interfaces that lead to other machines and are up, with a cable or an access point at the other end."""
    for flags in (root / "sys/class/net").glob("*/flags"):
        bits = int(_text(flags).strip() or "0", 16)
        if bits & _UP and not bits & _LOOPBACK and _text(flags.parent / "operstate").strip() not in _DOWN:
            yield flags.parent.name


def _multicast(root: Path, mdns: str | None, heard_on: Sequence[str]) -> Finding:
    if mdns == "off":
        return Finding(NOTE, "multicast", "mDNS is off, as configured: devices are found by their addresses only")
    able = sorted(_multicast_interfaces(root))
    if able and mdns == "running" and list(heard_on) == ["lo"]:
        return Finding(
            NOTE,
            "multicast",
            "mDNS is listened to on lo alone: only daemons on this machine are found",
            f"if that is not meant so, name others under interfaces in [network]: {', '.join(able)}",
        )
    if not able:
        return Finding(
            NOTE,
            "multicast",
            "no interface that is up can do multicast, so nobody is found by itself",
            "name the others under [network] peers, or join with --host",
        )
    listening = sorted(_in_mdns_group(root) & set(able))
    if listening:
        return Finding(OK, "multicast", f"mDNS is listened to on {', '.join(listening)}")
    where = ", ".join(able)
    if mdns is None:  # without a daemon nobody need listen
        return Finding(NOTE, "multicast", f"{where} can do it; whether peerd listens there shows while it runs")
    return Finding(
        PROBLEM,
        "multicast",
        f"nothing listens to mDNS on {where}",
        "check interfaces under [network], and that the daemon runs in this network namespace",
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


def _mdns_port(root: Path) -> Finding:
    """Who has the port of mDNS, when the daemon could not use it."""
    holders = sorted(_holders(root, _PORT))
    if not holders:
        return Finding(OK, MDNS_PORT, f"no other program has UDP port {_PORT}")
    return Finding(
        PROBLEM,
        MDNS_PORT,
        f"UDP port {_PORT} is in use by a program of {', '.join(holders)}, which may not share it",
        f"see which it is: ss -ulpn 'sport = :{_PORT}'; stop it or let it share (systemd-resolved: "
        "MulticastDNS=no), then restart peerd",
    )


def _holders(root: Path, port: int) -> set[str]:
    """The names of the users with a UDP socket at this port."""
    uids = set()
    for name in ("udp", "udp6"):
        for line in _text(root / "proc/net" / name).splitlines()[1:]:
            parts = line.split()
            if len(parts) > 7 and int(parts[1].rpartition(":")[2], 16) == port:
                uids.add(int(parts[7]))
    return {_user(uid) for uid in uids}


def _user(uid: int) -> str:
    import pwd  # noqa: PLC0415 - for this one finding

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _linger(socket_path: str, root: Path) -> Finding | None:
    """A user's daemon ends with the user's last session, unless the user lingers."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if not runtime or not socket_path.startswith(f"{runtime}/") or not (root / "run/systemd/system").is_dir():
        return None
    user = _user(os.getuid())
    if (root / "var/lib/systemd/linger" / user).exists():
        return Finding(OK, "linger", f"peerd runs on when {user} logs out")
    return Finding(NOTE, "linger", f"peerd stops when {user} logs out", f"loginctl enable-linger {user}")


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
