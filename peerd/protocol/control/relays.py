"""What is said on the control socket about relays, as JSON. The rules are those of `messages`."""

from __future__ import annotations

from msgspec import Struct

from peerd.protocol.control.messages import Request


class RelayFinding(Struct, kw_only=True):
    """Something that a relay holds and that is not as it should be: which device's it is, what that means, and what to
    do.
    """

    device: str = ""
    name: str = ""
    code: str
    text: str
    next_step: str = ""


class RelayView(Struct, kw_only=True):
    """One space on one relay. `state` is `working`, `idle`, `waiting` (for the time that the relay asked for, or before
    the next try) or `trouble` (a person has to put something right).

    to_send, to_fetch       transactions that are not there yet, and that are there and not here; with since when
    held_bytes              of all segments and the newest snapshot there; `limit_bytes` is how much that may be
    waits_until_ms          when it is tried again, after a failure
    """

    relay: str
    space: str
    state: str
    code: str = ""
    reason: str = ""
    next_step: str = ""
    last_success_ms: int | None = None
    to_send: int = 0
    to_send_since_ms: int | None = None
    to_fetch: int = 0
    to_fetch_since_ms: int | None = None
    held_bytes: int = 0
    limit_bytes: int | None = None
    waits_until_ms: int | None = None
    next_poll_ms: int | None = None
    findings: list[RelayFinding] = []


class RelayList(Struct, kw_only=True):
    relays: list[RelayView]


class RelaySync(Request):
    """Look at the relays now; of one relay or one space if they are named."""

    relay: str | None = None
    space: str | None = None


class RelayProbe(Struct, kw_only=True):
    """One thing that was tried on a relay."""

    check: str
    ok: bool
    text: str
    next_step: str = ""


class RelayCheck(Struct, kw_only=True):
    relay: str
    probes: list[RelayProbe]


class RelayCheckList(Struct, kw_only=True):
    relays: list[RelayCheck]
