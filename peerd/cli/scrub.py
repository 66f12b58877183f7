"""Is this device's copy what was written? `scrub`, and what `status` says of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from peerd.cli import exits
from peerd.cli.text import counted, moment
from peerd.control.client import Problem, path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from peerd.cli.arguments import Commands
    from peerd.cli.output import Output
    from peerd.control.client import Client

_POLL_S: Final = 0.5
_IN_STATUS: Final = 3


def add(commands: Commands) -> None:
    scrub = commands.add(
        "scrub",
        "look now whether this device's copy of a space is what was written",
        "Every record and every run of the log is read and checked. The daemon does the same by itself, in about three "
        "days of running. What is found is put right from the log, or from another device. Exit code 4 if something "
        "is damaged and not put right.",
    )
    scrub.add_argument("space", metavar="SPACE")
    scrub.set_defaults(run=run_scrub)


def run_scrub(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    try:
        view: dict[str, Any] = client.call("POST", path("spaces", arguments.space, "scrub")).body
    except Problem as problem:
        if problem.code == "store-damaged":  # so much that nothing can be looked at
            problem.exit_code = exits.DEGRADED
        raise
    while view.get("running"):
        time.sleep(_POLL_S)
        view = client.call("GET", path("spaces", arguments.space)).body["scrub"]
    code = exits.DEGRADED if view.get("damaged") or view.get("reason") else exits.OK
    if out.as_json:
        out.document(view)
        return code
    looked = f"{counted(view['records'], 'record')} and {counted(view['runs'], 'run')} of the log"
    out.talk(f"looked at {looked}: " + (f"{view['found']:,} found" if view["found"] else "all as written"))
    rows = [[moment(one["at_ms"]), one["found"], one["done"] or "open", one["text"]] for one in view["findings"]]
    out.table(("WHEN", "FOUND", "DONE", "WHAT"), rows)
    if view.get("next_step") and view.get("reason"):
        out.talk(view["reason"], "red")
        out.talk(f"  next: {view['next_step']}")
    return code


def lines(space: Mapping[str, Any]) -> list[list[object]]:
    """What `status` says off a terminal: one line per finding that is told."""
    scrub = space.get("scrub") or {}
    return [
        ["damage", space["name"], one["found"], one["collection"], one["key"], one["done"], one["device"], one["text"]]
        for one in scrub.get("findings", ())
    ]


def show(space: Mapping[str, Any], out: Output) -> None:
    """The same on a terminal: how many there are, and the newest."""
    scrub = space.get("scrub") or {}
    found = scrub.get("findings", ())
    if not found:
        return
    parts = [f"{scrub['damaged']:,} damaged"] if scrub["damaged"] else []
    parts += [f"{scrub['repaired']:,} repaired"] if scrub["repaired"] else []
    # Else it was another device's: the two differed, and nothing had to be done here.
    of_ours = f"damage found in the last 30 days: {out.styled(', '.join(parts), 'yellow')}"
    out.raw(f"  {of_ours if parts else 'looked at in the last 30 days, and in order here:'}")
    for one in found[:_IN_STATUS]:
        out.text(f"    {moment(one['at_ms'])}  {one['text']}")
    if (more := max(len(found), scrub["damaged"] + scrub["repaired"]) - _IN_STATUS) > 0:
        out.text(f"    and {more:,} more: `peerctl scrub {space['name']}`, or `peerctl status --json`")
