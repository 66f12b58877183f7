"""The invitation: an eight-digit code that works for 120 seconds, for one device, one attempt at a time, three tries.

    open ──claim──▶ busy ──release──▶ open           an attempt ended without a guess
                    busy ──wrong────▶ open, tried    a guess was wrong; after the third: tried
                    busy ──spend────▶ spent          the code was proven: it is used up, whatever follows
    open, busy ──time──▶ expired

A guess is a wrong CONFIRM: what goes before it tells an attacker nothing, because the joiner proves first. So a
stranger has three chances in 10⁸, and the person at the inviting device learns of each.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from peerd.errors import UserError

SECONDS = 120.0
TRIES = 3
DIGITS = 8


class State(Enum):
    OPEN = "open"
    BUSY = "busy"
    TRIED = "tried"
    SPENT = "spent"
    EXPIRED = "expired"


_REFUSALS = {
    State.BUSY: "busy",
    State.TRIED: "too-many-tries",
    State.SPENT: "no-window",
    State.EXPIRED: "expired",
}


class InvitationWindow:
    """One invitation. `now_s` is any clock that goes on during suspend; the code is in nobody's log."""

    def __init__(self, code: str, now_s: float) -> None:
        self.code = parse_code(code)
        self.expires_s = now_s + SECONDS
        self.tries_left = TRIES
        self._state = State.OPEN

    def __repr__(self) -> str:
        return f"<InvitationWindow {self._state.value}>"

    def state(self, now_s: float) -> State:
        if self._state in {State.OPEN, State.BUSY} and now_s >= self.expires_s:
            return State.EXPIRED
        return self._state

    def claim(self, now_s: float) -> str | None:
        """Begin an attempt: None, or the code of the refusal."""
        refusal = _REFUSALS.get(self.state(now_s))
        if refusal is None:
            self._state = State.BUSY
        return refusal

    def release(self) -> None:
        """The attempt ended without a guess."""
        if self._state is State.BUSY:
            self._state = State.OPEN

    def wrong(self) -> str:
        """The guess was wrong: the code of the refusal."""
        self.tries_left -= 1
        self._state = State.OPEN if self.tries_left else State.TRIED
        return "wrong-code" if self.tries_left else "too-many-tries"

    def spend(self) -> None:
        """The code was proven."""
        self._state = State.SPENT


def draw_code(entropy: Callable[[int], bytes]) -> str:
    """A new code; `entropy(n)` gives n random bytes. Of 128 bits modulo 10⁸ no code is likelier than another."""
    return f"{int.from_bytes(entropy(16), 'big') % 10**DIGITS:0{DIGITS}}"


def show_code(code: str) -> str:
    """The code as people read it: 4821-9073."""
    return f"{code[:4]}-{code[4:]}"


def parse_code(text: str) -> str:
    """The eight digits that a person typed; "-" and spaces do not count. UserError "bad-code" for anything else."""
    code = "".join(text.split()).replace("-", "")
    if len(code) != DIGITS or not (code.isascii() and code.isdigit()):
        raise UserError(
            "A pairing code has eight digits.",
            code="bad-code",
            next_step="Type it as the other device shows it, such as 4821-9073.",
        )
    return code
