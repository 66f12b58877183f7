"""`invite --file` and `join --file`: an invitation that is carried to a device which no member meets."""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from peerd.cli import exits
from peerd.cli.arguments import Misused
from peerd.cli.text import moment
from peerd.control.client import path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from peerd.cli.output import Output
    from peerd.control.client import Client

FILE_BYTES = 1 << 20
DAYS = 7  # that an invitation is good for, unless it is said


def run_invite(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    target = Path(arguments.file)
    days = DAYS if arguments.days is None else arguments.days
    body = {"days": days, "role": arguments.role or "admin"}
    with _new_file(target) as file:  # first: an invitation that lies nowhere would stay open
        made: dict[str, Any] = client.call("POST", path("spaces", arguments.space, "tickets"), body=body).body
        file.write(b64decode(made.pop("file")))
    if out.as_json:
        out.document({**made, "file": str(target)})
        return exits.OK
    out.text(str(made["code"]), "bold")
    out.flush()
    out.talk(f"the invitation is in {target}; it is good for one device, until {moment(made['expires_ms'])}")
    out.talk(f"until then `peerctl members {arguments.space}` lists it, and `peerctl remove` withdraws it")
    out.talk("carry it there, tell the code another way, and on that device:")
    out.talk(f"  peerctl join --file {target.name} {made['code']}")
    out.talk("both devices need a relay for the space: see docs/relay.md")
    return exits.OK


def run_join(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    code = arguments.code or (out.ask_text("code:") if out.on_terminal else "")
    if not code:
        raise Misused("no code given", next_step="peerctl join --file PATH CODE")
    body = {"file": b64encode(_read(Path(arguments.file))).decode(), "code": code}
    if arguments.name:
        body["name"] = arguments.name
    asked: dict[str, Any] = client.call("POST", path("petitions"), body=body).body
    if out.as_json:
        out.document(asked)
        return exits.OK
    out.talk(f"asked to be let into {asked['space']}, until {moment(asked['expires_ms'])}")
    if asked["relays"]:
        out.talk(f"through {', '.join(asked['relays'])}; `peerctl status` shows when a member has answered")
    else:
        out.talk(f"nobody hears of it yet: no relay here has {asked['space']} among its spaces", "yellow")
        out.talk("  next: configure [relay.folder] or [relay.cloudkit], then `peerctl reload`")
    return exits.OK


@contextmanager
def _new_file(target: Path) -> Iterator[BinaryIO]:
    """For writing, for our user alone; it does not stay if it is not written."""
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
        except BaseException:
            target.unlink(missing_ok=True)
            raise
    except FileExistsError:
        raise Misused(
            f"{target} exists already", code="file-exists", next_step="choose another path, or remove it"
        ) from None
    except OSError as problem:
        raise Misused(
            f"{target} cannot be written: {problem.strerror}", code="file-unwritable", next_step="choose another path"
        ) from problem


def _read(source: Path) -> bytes:
    try:
        with source.open("rb") as file:
            data = file.read(FILE_BYTES + 1)
    except OSError as problem:
        raise Misused(
            f"{source} cannot be read: {problem.strerror}",
            code="file-unreadable",
            next_step="give the path of the file that `peerctl invite --file` made, as it was carried here",
        ) from problem
    if len(data) > FILE_BYTES:
        raise Misused(
            f"{source} is no invitation: it is too large",
            code="bad-invitation",
            next_step="give the path of the file that `peerctl invite --file` made",
        )
    return data
