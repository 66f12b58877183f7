"""`backup` of this device while it works, and `restore` of one while it does not."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peerd.cli import exits
from peerd.cli.text import counted, span
from peerd.control.client import Client, NotRunning, Problem, path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from peerd.cli.arguments import Commands
    from peerd.cli.output import Output
    from peerd.restoring import Plan, Restored


def add(commands: Commands) -> None:
    backup = commands.add(
        "backup",
        "make a backup of this device while it goes on working",
        "The daemon makes the folder DEST: a copy of each space as of one moment, and the configuration. Each backup "
        "has a folder of its own. Exit code 4 if a space could not be read and is not in it.",
    )
    backup.add_argument("target", metavar="DEST", help="a folder that does not exist yet")
    keys = backup.add_mutually_exclusive_group()
    keys.add_argument(
        "--with-keys",
        dest="keys",
        action="store_true",
        help="with the keys of this device: whoever can read such a backup can be this device",
    )
    keys.add_argument(
        "--without-keys",
        dest="keys",
        action="store_false",
        help="without them, as is the default: keep a copy elsewhere",
    )
    backup.set_defaults(run=run_backup, keys=False)
    restore = commands.add(
        "restore",
        "put a backup in the place of what this machine has; peerd must be stopped",
        "The whole backup is checked first. What was there is set aside, not deleted. What was written after the "
        "backup comes back from the other members; so do their deletes: a restore brings back a device, not the past.",
    )
    restore.add_argument("source", metavar="SOURCE", help="the folder that `backup` made")
    restore.add_argument("--config", metavar="FILE", help="the configuration of the daemon (PEERD_CONFIG)")
    restore.add_argument(
        "--other-device",
        action="store_true",
        help="leave the keys of the backup alone: what it holds can be read here, and is no member's copy",
    )
    restore.add_argument("--yes", action="store_true", help="do not ask")
    restore.set_defaults(run=run_restore)


def run_backup(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    body = {"path": str(Path(arguments.target).absolute()), "keys": arguments.keys}
    for event in client.stream("POST", path("backups"), body=body):
        if error := event.get("error"):
            raise Problem(int(error.get("status", 500)), error)
        if made := event.get("made"):
            return _made(made, out)
        _show(event, out)
    raise NotRunning(
        "peerd has stopped, and the backup with it",
        code="connection-lost",
        next_step="start peerd and make another one; there is nothing at the place of this one",
    )


def _show(event: Mapping[str, Any], out: Output) -> None:
    if out.as_json:
        out.line_of_stream(event)
    elif sys.stderr.isatty() and event.get("all_bytes"):
        share = event.get("copied_bytes", 0) / event["all_bytes"]
        sys.stderr.write(f"\r\x1b[2K{event['space']}: {share:.0%}")
        sys.stderr.flush()


def _made(made: Mapping[str, Any], out: Output) -> int:
    backup = made["backup"]
    if out.as_json:
        out.line_of_stream({"made": made})
        return exits.DEGRADED if backup["lacking"] else exits.OK
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[2K")
    out.talk(f"backed up {counted(len(backup['spaces']), 'space')} to {made['path']}")
    if made["keys"]:
        out.talk("it holds the keys of this device: whoever can read it can be this device")
    else:
        out.talk("without the keys of this device: a restore on another disk needs them (--with-keys)", "yellow")
    for one in backup["lacking"]:
        out.talk(f"{one['name']} is not in it: {one['reason']}", "red")
        if one.get("next_step"):
            out.talk(f"  next: {one['next_step']}")
    return exits.DEGRADED if backup["lacking"] else exits.OK


def run_restore(arguments: argparse.Namespace, _: Client, out: Output) -> int:
    from peerd.restoring import restore  # noqa: PLC0415 - no other command should pay for what it imports

    def agreed(plan: Plan) -> bool:
        _say(plan, out)
        return arguments.yes or not (plan.replaced or plan.becomes) or out.ask("Go on?")

    done = restore(
        Path(arguments.source).absolute(),
        Path(arguments.config) if arguments.config else None,
        os.environ,
        other_device=arguments.other_device,
        agreed=agreed,
    )
    if done is None:
        out.talk("nothing restored")
        return exits.FAILED
    if out.as_json:
        from msgspec import to_builtins  # noqa: PLC0415 - the same

        out.document({"restored": to_builtins(done)})
        return exits.OK
    _tell(done, out)
    return exits.OK


def _say(plan: Plan, out: Output) -> None:
    if out.as_json:
        return
    out.talk(f"a backup of {plan.device_name}, {span(plan.age_s)} old, with {', '.join(plan.spaces) or 'no space'}")
    if plan.becomes:
        out.talk("this machine has the keys of another device; it becomes that one", "yellow")
    if plan.replaced:
        out.talk(f"set aside, not deleted: what is here now of {', '.join(plan.replaced)}", "yellow")
    if plan.lacking:
        out.talk(f"it never had {', '.join(plan.lacking)}: damaged when it was made", "yellow")


def _tell(done: Restored, out: Output) -> None:
    out.talk(f"restored {', '.join(done.plan.spaces) or 'no space'} into {done.plan.state_dir}")
    if done.set_aside:
        out.talk(f"what was there is in {done.set_aside}")
    if done.config:
        out.talk(f"the configuration is left as it is; that of the backup is in {done.config}")
    if done.plan.other_device:
        out.talk("this is another device than that of the backup: its copies can be read, not written", "yellow")
        out.talk("  next: start peerd; export what you need, or let a member invite this device")
        return
    out.talk("start peerd: what this device wrote after the backup comes back from the other members")
