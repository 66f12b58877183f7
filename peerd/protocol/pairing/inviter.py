"""The inviting side of a pairing. Theory and table: `pairing`."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from peerd.core.device_id import short_id
from peerd.core.roster.statements import is_name
from peerd.protocol.pairing.keys import Box, Entropy, Exchange, Secrets
from peerd.protocol.pairing.messages import (
    GRANT_BYTES,
    MAJOR,
    MINOR,
    PART_BYTES,
    Confirm,
    Done,
    Grant,
    GrantBody,
    Hello,
    Message,
    Request,
    RequestBody,
    Spake,
    bad_message,
    encode,
)
from peerd.protocol.pairing.pairing import (
    PERSON_S,
    STEP_S,
    STORE_S,
    Admit,
    AskPerson,
    Effect,
    Finished,
    Machine,
    Send,
    State,
)
from peerd.protocol.pairing.window import InvitationWindow
from peerd.protocol.pairing.window import State as Window


class Inviter(Machine):
    """One attempt of one device to join.

    `ours` and `theirs` are device ids, theirs as TLS proved it; `window` is the invitation, if there is one; `named`
    says whether a person told us to admit exactly this device; `ask`: a person confirms before it is admitted.

    `took_window`: this attempt was the one at the invitation; how another one ended is nothing to whoever waits there.
    `used_up`: since this attempt nobody comes by the code any more. The window does not tell whose doing that is: while
    the link of one attempt closes, the next one may be at it.
    `by_name`: it came without a code, as a device that was named.
    """

    HANDLERS: ClassVar[dict[tuple[State, type[Message]], str]] = {
        (State.HELLO, Hello): "_hello",
        (State.SPAKE, Spake): "_spake",
        (State.CONFIRM, Confirm): "_confirm",
        (State.REQUEST, Request): "_request",
        (State.DONE, Done): "_done",
    }

    def __init__(
        self,
        *,
        ours: bytes,
        name: str,
        theirs: bytes,
        window: InvitationWindow | None,
        named: bool,
        ask: bool,
        entropy: Entropy,
        now_s: float,
    ) -> None:
        super().__init__(State.HELLO, now_s)
        self._ours, self._name, self._theirs = ours, name, theirs
        self._window, self._named, self._ask, self._entropy = window, named, ask, entropy
        self.took_window = False
        self.used_up = False
        self.by_name = False
        self._claimed = False
        self._admitted = False
        self._said: list[bytes] = []
        self._their_name = ""
        self._exchange: Exchange | None = None
        self._secrets: Secrets | None = None
        self._from_joiner, self._to_joiner = Box(), Box()
        self._asked: RequestBody | None = None

    def confirmed(self, yes: bool, now_s: float) -> list[Effect]:  # noqa: FBT001 - the answer itself
        """The person answered AskPerson."""
        self._now_s = now_s
        if self.state is State.CLOSED:
            return []
        self._expect(State.ASK)
        return self._admit() if yes else self._refuse("declined")

    def granted(self, grant: GrantBody, now_s: float) -> list[Effect]:
        """The admission is stored; this is what the joiner needs."""
        self._now_s = now_s
        if self.state is State.CLOSED:
            return []
        self._expect(State.ADMIT)
        plain = msgspec.msgpack.encode(grant)
        if len(plain) > GRANT_BYTES:
            return self._refuse("failed")
        parts = [plain[start : start + PART_BYTES] for start in range(0, len(plain), PART_BYTES)]
        self._admitted = True
        self._go(State.DONE, STORE_S)
        return [
            Send(encode(Grant(n, len(parts), self._to_joiner.seal(Grant.type, part)))) for n, part in enumerate(parts)
        ]

    def _hello(self, hello: Hello, frame: bytes) -> list[Effect]:
        wrong_version = self._check_version(hello)
        if wrong_version is not None:
            return wrong_version
        if not is_name(hello.name):
            raise bad_message("a name has characters that cannot be seen")
        refusal = self._enter(hello)
        if refusal is not None:
            return self._refuse(refusal)
        self._their_name = hello.name
        answer = encode(Hello((MAJOR, MINOR), self._entropy(16), self._name))
        self._said += [frame, answer]
        self._go(State.REQUEST if hello.to else State.SPAKE, STEP_S)
        return [Send(answer)]

    def _enter(self, hello: Hello) -> str | None:
        if hello.to is not None:
            self.by_name = self._named and hello.to == self._ours
            return None if self.by_name else "not-named"
        if self._window is None:
            return "no-window"
        refusal = self._window.claim(self._now_s)
        self._claimed = self.took_window = refusal is None
        return refusal

    def _spake(self, spake: Spake, frame: bytes) -> list[Effect]:
        assert self._window is not None  # noqa: S101 - this state is reached through a window only
        exchange = Exchange(
            joins=False,
            code=self._window.code,
            joiner=self._theirs,
            inviter=self._ours,
            entropy=self._entropy,
        )
        key = exchange.key(spake.msg)
        answer = encode(Spake(exchange.outbound))
        self._secrets = Secrets(key, self._theirs, self._ours, *self._said, frame, answer)
        self._go(State.CONFIRM, STEP_S)
        return [Send(answer)]

    def _confirm(self, confirm: Confirm, _: bytes) -> list[Effect]:
        window, secrets = self._window, self._secrets
        assert window is not None  # noqa: S101 - this state is reached through a window only
        assert secrets is not None  # noqa: S101 - and through SPAKE
        if window.state(self._now_s) is not Window.BUSY:
            self.used_up = True
            return self._refuse("expired")
        self._claimed = False
        if not secrets.proves(confirm.mac, joins=True):
            refusal = window.wrong()
            self.used_up = not window.tries_left
            return self._refuse(refusal)
        window.spend()
        self.used_up = True
        self._from_joiner, self._to_joiner = secrets.box(joins=True), secrets.box(joins=False)
        # A joiner may show our name to a person before it goes on.
        self._go(State.REQUEST, PERSON_S + STEP_S)
        return [Send(encode(Confirm(secrets.proof(joins=False))))]

    def _request(self, request: Request, _: bytes) -> list[Effect]:
        try:
            plain = self._from_joiner.open(Request.type, request.box)
            body = msgspec.msgpack.decode(plain, type=RequestBody)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise bad_message(str(error)) from error
        if body.card.device != self._theirs or body.card.name != self._their_name:
            raise bad_message("it introduces another device")
        self._asked = body
        if self._ask and self._secrets is not None:
            self._go(State.ASK, PERSON_S)
            return [AskPerson(body.card.name, short_id(self._theirs))]
        return self._admit()

    def _admit(self) -> list[Effect]:
        assert self._asked is not None  # noqa: S101 - the request was taken before
        self._go(State.ADMIT, STORE_S)
        return [Admit(self._asked.card, self._asked.ended)]

    def _done(self, done: Done, _: bytes) -> list[Effect]:
        self._from_joiner.open(Done.type, done.box)
        self._go(State.CLOSED, None)
        return [Finished(self._theirs, self._their_name)]

    def _end(self, code: str, *, theirs: bool, version: tuple[int, int] | None = None) -> list[Effect]:
        if self._claimed and self._window is not None:
            self._window.release()
        self._claimed = False
        return super()._end("not-confirmed" if self._admitted else code, theirs=theirs, version=version)
