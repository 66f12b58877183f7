"""Letting devices into a space: `invite` on one side and `join` on the other, or `admit` and `join --from`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from peerd.cli import arrival, exits, tickets
from peerd.cli.arguments import Misused
from peerd.cli.text import counted
from peerd.control.client import Client, NotRunning, Problem, path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from peerd.cli.arguments import Commands
    from peerd.cli.output import Output


CODE_DIGITS: Final = 8  # as the daemon has it, whose modules are not imported here


def add(commands: Commands) -> None:
    invite = commands.add(
        "invite",
        "show a code with which another device joins a space, and wait for it",
        "The code is good for one device and a short time; each wrong one that is tried is told. Interrupting the "
        "command ends the invitation.",
    )
    invite.add_argument("space", metavar="SPACE")
    invite.add_argument("--yes", action="store_true", help="admit whoever knows the code without asking")
    invite.add_argument("--file", metavar="PATH", help="write an invitation for a device that no member meets to PATH")
    invite.add_argument(
        "--days", type=int, metavar="N", help=f"with --file: how long it is good for; default: {tickets.DAYS}"
    )
    roles = ("admin", "member")
    invite.add_argument("--role", choices=roles, help="with --file: what it makes of the device; default: admin")
    invite.set_defaults(run=run_invite)

    join = commands.add(
        "join",
        "join a space with a code from `invite`, or as a device that `admit` was told of",
        "Without CODE and --from the code is asked for. With --wait, exit code 4 if this device has joined and what "
        "the others have cannot come: no member is linked, or something is wrong with each that is.",
    )
    join.add_argument("code", metavar="CODE", nargs="?", help="the eight digits; blanks and dashes do not matter")
    join.add_argument(
        "--file", metavar="PATH", help="an invitation that `invite --file` made; CODE is the one shown there"
    )
    join.add_argument("--from", dest="device", metavar="DEVICE-ID", help="the member that has admitted this device")
    join.add_argument("--host", metavar="HOST:PORT", help="where the other device is, if it is not found by itself")
    join.add_argument("--name", metavar="NAME", help="what the space is called on this device")
    join.add_argument("--yes", action="store_true", help="do not ask")
    join.add_argument(
        "--wait",
        action="store_true",
        help="then wait until what the others have is here, and say how far that is; on a terminal that is done anyway",
    )
    join.set_defaults(run=run_join)

    admit = commands.add(
        "admit",
        "let a device join a space without a code, by its id (see `device`)",
        "It is awaited for 7 days, also across restarts, and once: until it has joined, or is removed (`remove`), or "
        "this device is no admin any more. `members` lists it meanwhile.",
    )
    admit.add_argument("space", metavar="SPACE")
    admit.add_argument("device", metavar="DEVICE-ID")
    admit.add_argument("--role", choices=("admin", "member"), default="admin", help="default: admin")
    admit.set_defaults(run=run_admit)


def run_invite(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    if arguments.file:
        return tickets.run_invite(arguments, client, out)
    if alone := [name for name in ("days", "role") if getattr(arguments, name) is not None]:
        raise Misused(
            f"--{alone[0]} goes with --file: a code is good for two minutes, and for an admin",
            next_step="add --file PATH; or leave it out, or use `peerctl admit SPACE DEVICE-ID --role member`",
        )
    body = {"space": arguments.space, "yes": arguments.yes}
    for event in client.stream("POST", path("invitations"), body=body):
        if error := event.get("error"):
            raise Problem(int(error.get("status", 409)), error)
        if out.as_json:
            out.line_of_stream(event)
        if event.get("code"):
            _show_code(event, out)
        if wrong := event.get("wrong_code"):
            _say_wrong(wrong, out)
        if asking := event.get("asking"):
            _answer(str(event["id"]), asking, client, out, yes=arguments.yes)
        if admitted := event.get("admitted"):
            if not out.as_json:
                _say_admitted(admitted, arguments.space, out)
            return exits.OK
    # An invitation never ends without a word, unless the daemon does.
    raise NotRunning(
        "peerd has stopped, and the invitation with it",
        code="connection-lost",
        next_step="start peerd, see whether `peerctl members` shows a new one, else invite again",
    )


def _say_wrong(wrong: Mapping[str, Any], out: Output) -> None:
    if not out.as_json:
        left = int(wrong["tries_left"])
        out.talk(f"a device tried a wrong code; {counted(left, 'try', 'tries')} left", "yellow")


def _say_admitted(admitted: Mapping[str, Any], space: str, out: Output) -> None:
    if admitted.get("confirmed", True):
        out.talk(f"admitted {_called(admitted)} to {space}")
        return
    out.talk(f"admitted {_called(admitted)} to {space}, but it has not said that it keeps a copy", "yellow")
    out.talk("  next: look there; if its join failed, invite it again, it stays one member")


def _show_code(event: Mapping[str, Any], out: Output) -> None:
    code = str(event["code"])
    if not out.as_json:
        out.text(code, "bold")
        out.flush()
    seconds = f" (good for {event['expires_in_s']} s)" if event.get("expires_in_s") else ""
    out.talk(f"on the other device: peerctl join {code}{seconds}")


def _answer(invitation: str, asking: Mapping[str, Any], client: Client, out: Output, *, yes: bool) -> None:
    if yes:
        return
    admit = out.ask(f"{_called(asking)} knows the code. Admit it?")
    client.call("POST", path("invitations", invitation), body={"admit": admit})


def _called(device: Mapping[str, Any]) -> str:
    name, identity = str(device.get("name") or device.get("device_name") or ""), str(device.get("device") or "")
    return f"{name} ({identity})" if name and identity else name or identity or "a device"


def run_join(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    if arguments.file:
        if arguments.device or arguments.host:
            raise Misused("--file goes with neither --from nor --host")
        return tickets.run_join(arguments, client, out)
    if arguments.code and arguments.device:
        raise Misused("give a code or --from, not both")
    body = {"yes": arguments.yes}
    if not arguments.device:
        body["code"] = _eight_digits(arguments.code or _asked_code(out))
    for member in ("device", "host", "name"):
        if value := getattr(arguments, member):
            body[member] = value
    if not out.as_json:
        out.talk(f"looking for {arguments.host or 'the other device'} …")
    # The other side may wait for its person.
    with Client(client.socket_path, timeout_s=None) as patient:
        joined = patient.call("POST", path("joins"), body=body).body
    return _say_joined(joined, client, out, wait=arguments.wait)


def _say_joined(joined: Mapping[str, Any], client: Client, out: Output, *, wait: bool) -> int:
    if not out.as_json:
        there = f" (there it is called {joined['called']})" if joined.get("called") else ""
        out.talk(f"joined {joined['space']}{there}, let in by {_called(joined)}")
        if joined.get("aside"):
            out.talk(
                f"the old copy was set aside; once this one is in sync, `peerctl recopy {joined['space']} --list` says "
                "what only the old one has, and `--aside latest` takes it in",
                "yellow",
            )
    elif wait:
        out.line_of_stream(joined)
    else:
        out.document(joined)
    if wait:
        return arrival.watch(joined["space"], client, out)
    if out.talks_to_terminal and not out.as_json:
        arrival.watch_quietly(joined["space"], client, out)
    return exits.OK


def _eight_digits(code: str) -> str:
    digits = "".join(code.split()).replace("-", "")
    if len(digits) != CODE_DIGITS or not (digits.isascii() and digits.isdigit()):
        raise Misused(
            f"a pairing code has {CODE_DIGITS} digits, and this is none",
            code="bad-code",
            next_step="type it as the other device shows it, such as 4821-9073",
        )
    return digits


def _asked_code(out: Output) -> str:
    if not sys.stdin.isatty():
        raise Misused("no code given", next_step="peerctl join CODE, or peerctl join --from DEVICE-ID")
    return out.ask_text("code:")


def run_admit(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    body = {"device": arguments.device, "role": arguments.role}
    member = client.call("POST", path("spaces", arguments.space, "members"), body=body).body
    own = client.call("GET", path("status")).body["device"]["id"]
    if out.as_json:
        out.document(member)
    else:
        out.talk(f"{arguments.device} may join {arguments.space} within 7 days; on it: peerctl join --from {own}")
    return exits.OK
