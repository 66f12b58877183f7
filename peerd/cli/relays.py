"""`peerctl relay`: what is on its way through storage, now, and whether that works."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from peerd.cli import exits
from peerd.cli.text import counted, moment
from peerd.control.client import path

if TYPE_CHECKING:
    import argparse

    from peerd.cli.arguments import Commands
    from peerd.cli.output import Output
    from peerd.control.client import Client

_MB = 1_000_000
_STYLES = {"idle": "green", "working": "green", "waiting": "yellow", "trouble": "red"}


def add(commands: Commands) -> None:
    family = commands.family("relay", "storage that carries the data between devices that are never online together")
    status = family.add("status", "what each relay holds, what is on its way, and what stops it")
    status.set_defaults(run=run_status)
    sync = family.add(
        "sync",
        "look at the relays now and leave there what they lack",
        "Waits until that is done or has failed. Exit code 4 if it has failed or something there is wrong.",
    )
    sync.add_argument("relay", metavar="RELAY", nargs="?", help="folder or cloudkit; all if none is named")
    sync.set_defaults(run=run_sync)
    check = family.add(
        "check",
        "try on each relay what peerd needs of it",
        "Credentials, rights, clock, writing and reading back; it cleans up after itself. Exit code 4 if one fails.",
    )
    check.add_argument("relay", metavar="RELAY", nargs="?", help="folder or cloudkit; all if none is named")
    check.set_defaults(run=run_check)


def run_status(_: argparse.Namespace, client: Client, out: Output) -> int:
    return _show(client.call("GET", path("relays")).body, out)


def run_sync(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    while True:
        answer = client.call("POST", path("relays", "sync"), body=_wish(arguments)).body
        if not any(one["state"] == "working" for one in answer["relays"]):
            failed = any(one.get("code") for one in answer["relays"])
            return max(_show(answer, out), exits.DEGRADED if failed else exits.OK)


def run_check(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    answer = client.call("POST", path("relays", "check"), body=_wish(arguments)).body
    failed = [probe for relay in answer["relays"] for probe in relay["probes"] if not probe["ok"]]
    code = exits.DEGRADED if failed else exits.OK
    if out.as_json:
        out.document(answer)
        return code
    if not answer["relays"]:
        out.talk(_NONE)
    for relay in answer["relays"]:
        for probe in relay["probes"]:
            state = out.styled("ok     " if probe["ok"] else "problem", "green" if probe["ok"] else "red")
            out.raw(f"{state}  {relay['relay']}  {out.styled(probe['check'], 'bold')}  {out.styled(probe['text'], '')}")
            if probe.get("next_step"):
                out.text(f"         next: {probe['next_step']}")
    return code


def _wish(arguments: argparse.Namespace) -> dict[str, str]:
    return {"relay": arguments.relay} if arguments.relay else {}


_NONE = "no relay is in use here: none is configured, it is not enabled, or no space is open here; see docs/relay.md"


def _show(answer: dict[str, Any], out: Output) -> int:
    relays = answer["relays"]
    code = exits.DEGRADED if any(one["state"] == "trouble" or one.get("findings") for one in relays) else exits.OK
    if out.as_json:
        out.document(answer)
        return code
    if not relays:
        out.talk(_NONE)
    for one in relays:
        head = f"{one['relay']}  {one['space']}"
        out.raw(f"{out.styled(head, 'bold')}  {out.styled(one['state'], _STYLES.get(one['state'], ''))}")
        for line in _lines(one):
            out.text(f"  {line}")
    return code


def _lines(one: dict[str, Any]) -> list[str]:
    last = one.get("last_success_ms")
    lines = [f"last success: {moment(last) if last else 'none yet'}"]
    if one.get("reason"):
        lines.append(f"{one['reason']} [{one['code']}]" if one.get("code") else one["reason"])
    if one.get("next_step"):
        lines.append(f"next: {one['next_step']}")
    if one.get("waits_until_ms"):
        lines.append(f"next try: {moment(one['waits_until_ms'])}")
    for count, since, words in (
        (one.get("to_send", 0), one.get("to_send_since_ms"), "to be left there"),
        (one.get("to_fetch", 0), one.get("to_fetch_since_ms"), "to be fetched"),
    ):
        if count:
            lines.append(f"{words}: {counted(count, 'transaction')}" + (f", since {moment(since)}" if since else ""))
    held_bytes = one.get("held_bytes", 0)
    held = f"{held_bytes / 1e6:.1f} MB are there" if held_bytes >= _MB else f"{held_bytes / 1e3:.0f} kB are there"
    limit = one.get("limit_bytes")
    if held_bytes or (limit and not one.get("reason")):  # else it may be that nobody has looked yet
        lines.append(f"{held}, of at most {limit / 1e6:.0f} MB" if limit else held)
    for found in one.get("findings", []):
        called = found.get("name") or found.get("device")
        lines.append(f"{called}: {found['text']} [{found['code']}]")
        if found.get("next_step"):
            lines.append(f"{called}: next: {found['next_step']}")
    return lines
