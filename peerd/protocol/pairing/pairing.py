"""Pairing: how a device becomes a member of a space, as two machines that know neither network nor time.

A link on `peerd.pair.1` is mutually authenticated by TLS between two devices that do not trust each other yet. Trust
comes from a code that a person carries from one to the other, or from each having been told the other's device id.

The inviter (`pairing_inviter.Inviter`):

| state   | what comes                      | what is done                          | next state |
|---------|---------------------------------|---------------------------------------|------------|
| HELLO   | HELLO, the window is free       | claim it; HELLO                       | SPAKE      |
| HELLO   | HELLO that names us, and we it  | HELLO                                 | REQUEST    |
| SPAKE   | SPAKE                           | SPAKE                                 | CONFIRM    |
| CONFIRM | CONFIRM, right                  | use the window up; CONFIRM            | REQUEST    |
| CONFIRM | CONFIRM, wrong                  | a try less; REFUSE wrong-code         | CLOSED     |
| REQUEST | REQUEST                         | AskPerson, or with `--yes` Admit      | ASK, ADMIT |
| ASK     | confirmed(yes)                  | Admit                                 | ADMIT      |
| ASK     | confirmed(no)                   | REFUSE declined                       | CLOSED     |
| ADMIT   | granted(grant)                  | GRANT in parts                        | DONE       |
| DONE    | DONE                            | Finished                              | CLOSED     |

The joiner (`pairing_joiner.Joiner`):

| state   | what comes                      | what is done                          | next state |
|---------|---------------------------------|---------------------------------------|------------|
| START   | start()                         | HELLO                                 | HELLO      |
| HELLO   | HELLO                           | SPAKE; without a code REQUEST         | SPAKE, GRANT |
| SPAKE   | SPAKE                           | CONFIRM: the joiner proves first      | CONFIRM    |
| CONFIRM | CONFIRM, right                  | REQUEST, or with `ask` AskPerson      | GRANT, ASK |
| CONFIRM | CONFIRM, wrong                  | REFUSE unproven                       | CLOSED     |
| ASK     | confirmed(yes)                  | REQUEST                               | GRANT      |
| ASK     | confirmed(no)                   | REFUSE declined                       | CLOSED     |
| GRANT   | GRANT, not the last             |                                       | GRANT      |
| GRANT   | GRANT, the last, and it is good | Store                                 | STORE      |
| STORE   | stored()                        | DONE; Finished                        | CLOSED     |

In every state: REFUSE, the link's end and the time limit end it with Failed; anything else is answered by REFUSE
bad-message. The effects Admit and Store end in one event each, after the database has them: commit, then speak. An
inviter that fails after `granted` has admitted the device and says "not-confirmed". Methods are events, their answers
effects, in order; after Finished or Failed the link is to be closed. `receive` may take 20 ms (curve arithmetic).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import ClassVar, TypeAlias

from msgspec import Struct

from peerd.core.roster.statements import DeviceCard
from peerd.errors import LocalProtocolError, RemoteProtocolError
from peerd.protocol.pairing.messages import (
    MAJOR,
    MINOR,
    REASONS,
    GrantBody,
    Hello,
    Message,
    Refuse,
    bad_message,
    decode,
    encode,
)

STEP_S = 20.0  # for an answer of a machine
PERSON_S = 120.0  # for an answer of a person
STORE_S = 60.0  # for a database, and a roster on its way
_FRAMES = 4_096  # more than any pairing has


class State(Enum):
    START = auto()
    HELLO = auto()
    SPAKE = auto()
    CONFIRM = auto()
    REQUEST = auto()
    ASK = auto()
    ADMIT = auto()
    GRANT = auto()
    STORE = auto()
    DONE = auto()
    CLOSED = auto()


class Send(Struct, frozen=True):
    """Put this frame on the link."""

    frame: bytes


class AskPerson(Struct, frozen=True):
    """Show the other device's name and short id, and answer with `confirmed`."""

    name: str
    short_id: str


class Admit(Struct, frozen=True):
    """State the admission of this device, store it, and answer with `granted` (or `fail`). `ended`: as in REQUEST."""

    card: DeviceCard
    ended: tuple[bytes, ...] = ()


class Store(Struct, frozen=True):
    """Found our copy of the space that this grant is about, and answer with `stored` (or `fail`)."""

    grant: GrantBody


class Finished(Struct, frozen=True):
    """Paired with this device."""

    device: bytes
    name: str


class Failed(Struct, frozen=True):
    """It is over. `code` is stable and documented; `theirs`: the other side refused."""

    code: str
    text: str
    next_step: str
    theirs: bool


Effect: TypeAlias = Send | AskPerson | Admit | Store | Finished | Failed
Handler: TypeAlias = Callable[..., list[Effect]]


class Machine:
    """What both sides have in common. Times are seconds of one clock; at `deadline_s` it wants `tick`."""

    HANDLERS: ClassVar[dict[tuple[State, type[Message]], str]]

    def __init__(self, state: State, now_s: float) -> None:
        self.state = state
        self.deadline_s: float | None = now_s + STEP_S
        self._now_s = now_s
        self._frames = 0

    def receive(self, frame: bytes, now_s: float) -> list[Effect]:
        """A frame came over the link."""
        self._now_s = now_s
        if self.state is State.CLOSED:
            return []
        if self.deadline_s is not None and now_s >= self.deadline_s:
            return self.tick(now_s)
        try:
            return self._take(frame)
        except RemoteProtocolError:
            return self._refuse("bad-message")

    def tick(self, now_s: float) -> list[Effect]:
        """Time has passed."""
        self._now_s = now_s
        if self.state is State.CLOSED or self.deadline_s is None or now_s < self.deadline_s:
            return []
        return self._refuse("timeout")

    def lost(self, now_s: float) -> list[Effect]:
        """The link is gone."""
        self._now_s = now_s
        return [] if self.state is State.CLOSED else self._end("link-lost", theirs=False)

    def fail(self, code: str, now_s: float) -> list[Effect]:
        """We cannot go on, for a reason of ours: "failed", or "cancelled" by a person."""
        self._now_s = now_s
        return [] if self.state is State.CLOSED else self._refuse(code)

    def _take(self, frame: bytes) -> list[Effect]:
        self._frames += 1
        if self._frames > _FRAMES:
            raise bad_message("there is no end to it")
        message = decode(frame)
        if message is None:
            return []
        if isinstance(message, Refuse):
            return self._refused(message)
        handler = self.HANDLERS.get((self.state, type(message)))
        if handler is None:
            raise bad_message(f"type {message.type} is out of turn")
        return self._call(handler, message, frame)

    def _call(self, handler: str, message: Message, frame: bytes) -> list[Effect]:
        effects: list[Effect] = getattr(self, handler)(message, frame)
        return effects

    def _go(self, state: State, within_s: float | None) -> None:
        self.state = state
        self.deadline_s = None if within_s is None else self._now_s + within_s

    def _expect(self, state: State) -> None:
        if self.state is not state:
            raise LocalProtocolError(f"the pairing is in state {self.state.name}, not {state.name}")

    def _check_version(self, hello: Hello) -> list[Effect] | None:
        if hello.v[0] == MAJOR:
            return None
        return self._refuse("version", version=hello.v)

    def _refused(self, message: Refuse) -> list[Effect]:
        code = message.code if message.code in REASONS else "failed"
        return self._end(code, theirs=True, version=message.v if code == "version" else None)

    def _refuse(self, code: str, version: tuple[int, int] | None = None) -> list[Effect]:
        frame = encode(Refuse(code, (MAJOR, MINOR) if version else None))
        return [Send(frame), *self._end(code, theirs=False, version=version)]

    def _end(self, code: str, *, theirs: bool, version: tuple[int, int] | None = None) -> list[Effect]:
        self._go(State.CLOSED, None)
        reason = REASONS[code]
        text = reason.told if theirs else reason.here
        if version:
            text += f" Here it is {MAJOR}.{MINOR}, there {version[0]}.{version[1]}."
        return [Failed(code, text, reason.next_step, theirs)]
