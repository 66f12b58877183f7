"""How a space fills on a device that has just joined: a snapshot in words, and as a bar while it comes in."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Final

from peerd.cli import exits
from peerd.cli.progress import Progress
from peerd.cli.text import counted, span
from peerd.control.client import Problem, path
from peerd.errors import PeerdError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from peerd.cli.output import Output
    from peerd.control.client import Client

_LOOK_S: Final = 0.25
_PATIENCE_S: Final = 20.0  # while no device that has the space is linked
_SETTLING_S: Final = 5.0  # until others are met after the first one, and while a trouble may pass
# Anything else is an end: this device's copy cannot go on, or nobody has more. A space is degraded by any member and
# by much of its own; which members can bring something tells whether it goes on.
_ON_ITS_WAY: Final = frozenset({"receiving", "syncing", "connecting", "offline", "degraded"})
_BRINGING: Final = frozenset({"syncing", "connecting", "relayed"})  # the last if there is something on the relay


def in_words(snapshot: Mapping[str, Any]) -> str:
    """The `snapshot` of a space's view, as in "receiving a snapshot from kitchen: 412,000 of 1,000,000 records"."""
    maker = f" from {snapshot['name'] or snapshot['device'] or 'a relay'}"
    if snapshot["state"] == "merging":
        return f"merging a snapshot{maker} with what was written here"
    left_s = snapshot.get("left_s")
    left = "" if left_s is None else f", {span(left_s)} left"
    return f"receiving a snapshot{maker}: {snapshot['records']:,} of {snapshot['of_records']:,} records{left}"


class _Course:
    """From look to look: does the space still fill? `is_there` once it has what the others are known to have."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self.is_there = False
        self._now_s = now_s
        self._began_s = self._moved_s = now_s()
        self._behind = 0

    def is_over(self, view: Mapping[str, Any]) -> bool:
        now_s, peers, snapshot = self._now_s(), view["peers"], view.get("snapshot")
        lacking = sum(peer.get("behind") or 0 for peer in peers)
        came, self._behind = lacking < self._behind, lacking
        states = {peer["state"] for peer in peers}
        brings = any(
            peer["state"] in _BRINGING and (peer["state"] != "relayed" or peer.get("behind")) for peer in peers
        )
        if came or snapshot or brings:
            self._moved_s = now_s
        if view["state"] not in _ON_ITS_WAY:
            self.is_there = view["state"] == "in sync"
            return True
        if "in sync" in states:  # another member may have more, and may not have been met yet
            meeting = "connecting" in states and now_s - self._began_s <= _SETTLING_S
            more = any(peer.get("behind") and peer["state"] in _BRINGING for peer in peers)
            self.is_there = not (snapshot or meeting or more)
            return self.is_there
        return now_s - self._moved_s > (_PATIENCE_S if "offline" in states else _SETTLING_S)


def watch(
    space: str,
    client: Client,
    out: Output,
    *,
    sleep: Callable[[float], None] = time.sleep,
    now_s: Callable[[], float] = time.monotonic,
) -> int:
    """Show how the space fills until it has what the others are known to have, or no member can bring any more of it: a
    bar on a terminal, with `--json` one line for each look that shows something new. Gives the exit code.
    """
    course, said = _Course(now_s), None
    with Progress(sys.stderr, None, shown=not out.as_json) as bar:
        while True:
            view = client.call("GET", path("spaces", space)).body
            state, snapshot = view["state"], view.get("snapshot")
            if out.as_json and (snapshot or state) != said:
                said = snapshot or state
                out.line_of_stream({"state": state, "records": view["records"], "snapshot": snapshot})
            if snapshot:
                bar.of(snapshot["of_records"])
                bar.advance(snapshot["records"], snapshot["records"], snapshot.get("left_s"))
            if course.is_over(view):
                break
            sleep(_LOOK_S)
    if not out.as_json:
        _conclude(view, out)
    return exits.OK if course.is_there else exits.DEGRADED


def _conclude(view: Mapping[str, Any], out: Output) -> None:
    if view.get("reason"):
        out.talk(f"{counted(view['records'], 'record')} here; {view['reason']}", "yellow")
        if view.get("next_step"):
            out.talk(f"  next: {view['next_step']}")
    elif view["state"] == "offline":
        out.talk("no device that has the space is linked yet; it goes on by itself, `peerctl status` says how")
    else:
        out.talk(f"{counted(view['records'], 'record')} here")


def watch_quietly(space: str, client: Client, out: Output) -> None:
    """As `watch`, where nobody asked for it: the space is joined, whatever becomes of looking at it."""
    try:
        watch(space, client, out)
    except Problem:
        return
    except KeyboardInterrupt:
        out.talk("it goes on by itself; `peerctl status` says how far it is")


def tell_if_lacking(space: str, client: Client, out: Output) -> None:
    """Of a list of records: that this device's copy does not have yet all that others have. Says nothing if it does, or
    if it cannot be told.
    """
    try:
        view = client.call("GET", path("spaces", space)).body
    except PeerdError:
        return
    behind = max((peer.get("behind") or 0 for peer in view.get("peers", ())), default=0)
    if view.get("state") == "receiving":
        out.talk(f"this device's copy of {space} is still being filled: what has not come yet is missing", "yellow")
    elif behind:
        out.talk(f"this device's copy of {space} lacks {counted(behind, 'transaction')} that others have", "yellow")
    else:
        return
    out.talk("  next: `peerctl status` says how far it is")
