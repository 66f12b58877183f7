"""How this device and its spaces stand: `status`, `peers`, `device`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from peerd.cli import arrival, exits, scrub
from peerd.cli.text import counted, moment, size, span
from peerd.control.client import path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from peerd.cli.arguments import Commands
    from peerd.cli.output import Output
    from peerd.control.client import Client

_COLOURS: Final = {
    "green": ("in sync", "running", "linked", "relayed"),
    "yellow": ("syncing", "receiving", "connecting", "offline", "alone", "paused", "waiting"),
    "red": ("degraded", "refused", "blocked", "diverged", "stopped", "removed", "failed"),
}
_SIZES: Final = ("database_bytes", "free_bytes", "wal_bytes", "log_bytes", "history_bytes")
_SNAPSHOT: Final = ("name", "device", "state", "records", "of_records", "bytes", "of_bytes")
STATE_STYLES: Final = {state: colour for colour, states in _COLOURS.items() for state in states}


def add(commands: Commands) -> None:
    status = commands.add(
        "status",
        "show for every space and peer whether it is in sync, and if not, why",
        "SINCE is how long the peer has been in sync, or has not been; without a session, when its link came or went. "
        "Exit code 4 if the daemon says why this device or a space is not well, else 5 if conflicts are open or rows "
        "of tables are parked. A peer that is offline or catching up is neither, nor is a join that waits to be "
        "answered.",
    )
    status.set_defaults(run=run_status)
    peers = commands.add("peers", "list the other devices, how they are reached, and why not")
    peers.set_defaults(run=run_peers)
    device = commands.add("device", "show this device's id", "Others give it to `admit` and `join --from`.")
    device.set_defaults(run=run_device)


def short(device: str) -> str:
    """The first eight characters of a device id's text form, without its dashes."""
    return device.replace("-", "")[:8]


def run_status(_: argparse.Namespace, client: Client, out: Output) -> int:
    found: dict[str, Any] = client.call("GET", path("status")).body
    if out.as_json:
        out.document(found)
    elif out.on_terminal:
        _show_status(found, out)
    else:
        _list_status(found, out)
    return _verdict(found)


def _verdict(found: Mapping[str, Any]) -> int:
    # Whether a peer's trouble is one of the space's is the daemon's to say: a peer always has a reason to be offline.
    # So has a space that waits for a member to let this device in.
    if any(place.get("reason") and place["state"] != "waiting" for place in (found["device"], *found["spaces"])):
        return exits.DEGRADED
    return exits.CONFLICTS if any(_waits(space) for space in found["spaces"]) else exits.OK


def _waits(space: Mapping[str, Any]) -> bool:
    """Is there something that a person should settle, though all is well?"""
    return bool(space["conflicts"]) or any(one["code"].startswith("parked-") for one in space.get("tables", ()))


def _list_status(found: Mapping[str, Any], out: Output) -> None:
    """One line per fact, the first word says of what."""
    device = found["device"]
    rows: list[list[object]] = [["device", device["name"], device["id"], device["state"], *_why(device)]]
    rows += [["further", device["name"], *_why(one)] for one in device.get("further", ())]
    for space in found["spaces"]:
        name = space["name"]
        counts = [space["records"], space["conflicts"], space.get("parked", 0)]
        rows.append(["space", name, space["id"], space["state"], *counts, space["digest"], *_why(space)])
        if retry := space.get("retry"):
            rows.append(["retry", name, retry["tries"], retry["in_s"]])
        rows += [
            ["tables", name, one["binding"], one["table"], one["code"], one["rows"], *_why(one)]
            for one in space.get("tables", ())
        ]
        rows += scrub.lines(space)
        rows += [
            ["fork", name, one["origin"], one["device_name"], one["seq"], one["ours"], one["theirs"], one["peer_name"]]
            for one in space.get("forks", ())
        ]
        rows += [["aside", name, one["name"], one["differing"], *_why(one)] for one in space.get("asides", ())]
        if sizes := space.get("sizes"):
            rows.append(["sizes", name, *(sizes[one] for one in _SIZES), "held" if sizes.get("wal_held") else ""])
        if snapshot := space.get("snapshot"):
            rows.append(["snapshot", name, *(snapshot[key] for key in _SNAPSHOT), snapshot.get("left_s")])
        for peer in space["peers"]:
            lag = [peer.get("behind"), peer.get("ahead"), moment(peer.get("since_ms"))]
            rows.append(["peer", name, peer["name"], peer["device"], peer["state"], *lag, *_why(peer)])
    out.table((), rows)


def _why(place: Mapping[str, Any]) -> list[object]:
    return [place.get("reason", ""), place.get("next_step", "")]


def _show_status(found: Mapping[str, Any], out: Output) -> None:
    device = found["device"]
    state = out.styled(device["state"], STATE_STYLES.get(device["state"], ""))
    version = out.styled(f"peerd {found['version']}", "dim") if found.get("version") else ""
    out.raw(f"{out.styled(device['name'], 'bold')}  {short(device['id'])}  {state}  {version}".rstrip())
    for one in (device, *device.get("further", ())):
        _explain(one, out, indent="  ")
    if not found["spaces"]:
        out.talk("no space yet: `peerctl space create NAME`, or `peerctl join CODE`")
    for space in found["spaces"]:
        out.raw("")
        _show_space(space, out)


def _show_space(space: Mapping[str, Any], out: Output) -> None:
    parts = [
        out.styled(space["name"], "bold"),
        out.styled(space["state"], STATE_STYLES.get(space["state"], "")),
    ]
    if space["digest"]:  # of a copy that cannot be opened nothing is known, least of all that it is empty
        parts.append(counted(space["records"], "record"))
    if space["conflicts"]:
        parts.append(out.styled(counted(space["conflicts"], "conflict"), "yellow"))
    if space.get("parked"):
        parts.append(out.styled(f"{space['parked']:,} parked", "yellow"))
    if space["digest"]:
        parts.append(out.styled(f"digest {space['digest'][:16]}", "dim"))
    out.raw("  ".join(parts))
    _explain(space, out, indent="  ")
    if retry := space.get("retry"):
        out.text(f"  tried {counted(retry['tries'], 'time')} since then; again in {span(retry['in_s'])}", "dim")
    for notice in space.get("tables", ()):
        words = f"tables {notice['binding']}: {notice['reason']}" if notice["binding"] else notice["reason"]
        if words != space.get("reason"):
            _explain({**notice, "reason": words}, out, indent="  ")
    if snapshot := space.get("snapshot"):
        out.text(f"  {arrival.in_words(snapshot)}", "yellow")
    if taken := space.get("taken"):
        out.text(f"  its history begins at {moment(taken['time_ms'])}, with a snapshot of {taken['name']}", "dim")
    scrub.show(space, out)
    for aside in space.get("asides", ()):
        _explain(aside, out, indent="  ")
    _show_sizes(space.get("sizes"), out)
    rows = [
        [
            peer["name"],
            short(peer["device"]),
            peer["state"],
            _how_long(peer.get("since_ms")),
            _lag(peer, "behind"),
            _lag(peer, "ahead"),
        ]
        for peer in space["peers"]
    ]
    out.table(("PEER", "DEVICE", "STATE", "SINCE", "WE LACK", "IT LACKS"), rows, STATE_STYLES)
    for peer in space["peers"]:
        _explain(peer, out, indent=f"  {peer['name']}: ")


def _show_sizes(sizes: Mapping[str, Any] | None, out: Output) -> None:
    if not sizes:
        return
    parts = [
        f"{size(sizes['database_bytes'])} on disk",
        f"log {size(sizes['log_bytes'])}",
        f"history {size(sizes['history_bytes'])}",
        f"free {size(sizes['free_bytes'])}",
        f"journal {size(sizes['wal_bytes'])}",
    ]
    out.text("  " + ", ".join(parts), "dim")
    if sizes.get("wal_held"):
        out.text("  the journal grows: something goes on reading and keeps it from being emptied", "yellow")
        out.text(
            "  next: It ends with a backup or a scrub that is going on. Otherwise `fuser -v` or `lsof` says what else "
            "has the database open."
        )


def _how_long(since_ms: object) -> str:
    """Behind a state, as in "in sync  for 5 min"; nothing for nothing."""
    if isinstance(since_ms, bool) or not isinstance(since_ms, int | float):
        return ""
    return f"for {span(time.time() - since_ms / 1000)}"


def _lag(peer: Mapping[str, Any], direction: str) -> str:
    count = peer.get(direction)
    return "?" if count is None else f"{count:,}"


def _explain(place: Mapping[str, Any], out: Output, indent: str) -> None:
    reason, next_step = _why(place)
    if reason:
        out.text(f"{indent}{reason}", "yellow")
    if next_step:
        out.text(f"{indent}next: {next_step}")


def run_peers(_: argparse.Namespace, client: Client, out: Output) -> int:
    found: dict[str, Any] = client.call("GET", path("peers")).body
    if out.as_json:
        out.document(found)
        return exits.OK
    rows = [
        [
            peer["name"],
            peer["device"],
            peer["state"],
            " ".join(peer.get("addresses", ())),
            " ".join(peer.get("spaces", ())),
            moment(peer.get("since_ms")),
            *([] if out.on_terminal else _why(peer)),
        ]
        for peer in found["peers"]
    ]
    out.table(("PEER", "DEVICE", "STATE", "ADDRESSES", "SPACES", "SINCE"), rows, STATE_STYLES)
    if not rows:
        out.talk("no other device yet")
    for peer in found["peers"] if out.on_terminal else ():
        _explain(peer, out, indent=f"  {peer['name']}: ")
    for one in found.get("astray", ()):
        out.talk(f"network.peers: {one['address']} leads to no member: {one['reason']}", "yellow")
        if one.get("next_step"):
            out.talk(f"  next: {one['next_step']}")
    return exits.OK


def run_device(_: argparse.Namespace, client: Client, out: Output) -> int:
    device = client.call("GET", path("status")).body["device"]
    if out.as_json:
        out.document(device)
    else:
        out.text(device["id"])
    return exits.OK
