"""The joining side of a pairing. Theory and table: `pairing`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec

from peerd.core.device_id import short_id
from peerd.core.roster.roster import Roster
from peerd.core.roster.statements import DeviceCard, Verify, is_name
from peerd.protocol.pairing.keys import Box, Entropy, Exchange, Secrets
from peerd.protocol.pairing.messages import (
    ENDED,
    MAJOR,
    MINOR,
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
    AskPerson,
    Effect,
    Finished,
    Machine,
    Send,
    State,
    Store,
)
from peerd.protocol.pairing.window import parse_code

_DONE = b"\x80"  # an empty map


class Joiner(Machine):
    """One attempt to join a space.

    `card` is ours, `theirs` the inviter's device id as TLS proved it. Either `code` is what a person typed, or
    `named` is the device id that a person named and nobody else may be the inviter. `ask`: a person confirms the
    inviter's name. `ended` are our admissions that are over, of all spaces. `verify(public_key, signature, data)`
    checks what the grant holds.
    """

    HANDLERS: ClassVar[dict[tuple[State, type[Message]], str]] = {
        (State.HELLO, Hello): "_hello",
        (State.SPAKE, Spake): "_spake",
        (State.CONFIRM, Confirm): "_confirm",
        (State.GRANT, Grant): "_grant",
    }

    def __init__(
        self,
        *,
        card: DeviceCard,
        theirs: bytes,
        code: str | None,
        named: bytes | None = None,
        ask: bool = False,
        ended: Sequence[bytes] = (),
        entropy: Entropy,
        verify: Verify,
        now_s: float,
    ) -> None:
        super().__init__(State.START, now_s)
        if (code is None) == (named is None):
            raise ValueError("a joiner has a code or names the inviter, one of both")
        self._card, self._theirs, self._named, self._ask = card, theirs, named, ask
        self._ended = tuple(ended)[-ENDED:]
        self._code = None if code is None else parse_code(code)
        self._entropy, self._verify = entropy, verify
        self._hello_sent = Hello((MAJOR, MINOR), entropy(16), card.name, named)
        self._said: list[bytes] = []
        self._their_name = ""
        self._exchange: Exchange | None = None
        self._secrets: Secrets | None = None
        self._from_inviter, self._to_inviter = Box(), Box()
        self._parts: list[bytes] = []

    def start(self, now_s: float) -> list[Effect]:
        """The link is up."""
        self._now_s = now_s
        self._expect(State.START)
        if self._named is not None and self._named != self._theirs:
            return self._end("wrong-device", theirs=False)
        frame = encode(self._hello_sent)
        self._said.append(frame)
        self._go(State.HELLO, STEP_S)
        return [Send(frame)]

    def confirmed(self, yes: bool, now_s: float) -> list[Effect]:  # noqa: FBT001 - the answer itself
        """The person answered AskPerson."""
        self._now_s = now_s
        if self.state is State.CLOSED:
            return []
        self._expect(State.ASK)
        return self._request() if yes else self._refuse("declined")

    def stored(self, now_s: float) -> list[Effect]:
        """Our copy of the space exists."""
        self._now_s = now_s
        if self.state is State.CLOSED:
            return []
        self._expect(State.STORE)
        self._go(State.CLOSED, None)
        done = Done(self._to_inviter.seal(Done.type, _DONE))
        return [Send(encode(done)), Finished(self._theirs, self._their_name)]

    def _hello(self, hello: Hello, frame: bytes) -> list[Effect]:
        wrong_version = self._check_version(hello)
        if wrong_version is not None:
            return wrong_version
        if hello.nonce == self._hello_sent.nonce:
            raise bad_message("it is our own")
        if not is_name(hello.name):
            raise bad_message("a name has characters that cannot be seen")
        self._their_name = hello.name
        if self._code is None:
            return self._request()
        self._exchange = Exchange(
            joins=True, code=self._code, joiner=self._card.device, inviter=self._theirs, entropy=self._entropy
        )
        spake = encode(Spake(self._exchange.outbound))
        self._said += [frame, spake]
        self._go(State.SPAKE, STEP_S)
        return [Send(spake)]

    def _spake(self, spake: Spake, frame: bytes) -> list[Effect]:
        assert self._exchange is not None  # noqa: S101 - this state is reached through HELLO only
        key = self._exchange.key(spake.msg)
        self._secrets = Secrets(key, self._card.device, self._theirs, *self._said, frame)
        self._go(State.CONFIRM, STEP_S)
        return [Send(encode(Confirm(self._secrets.proof(joins=True))))]

    def _confirm(self, confirm: Confirm, _: bytes) -> list[Effect]:
        secrets = self._secrets
        assert secrets is not None  # noqa: S101 - this state is reached through SPAKE only
        if not secrets.proves(confirm.mac, joins=False):
            return self._refuse("unproven")
        self._from_inviter, self._to_inviter = secrets.box(joins=False), secrets.box(joins=True)
        if self._ask:
            self._go(State.ASK, PERSON_S)
            return [AskPerson(self._their_name, short_id(self._theirs))]
        return self._request()

    def _request(self) -> list[Effect]:
        plain = msgspec.msgpack.encode(RequestBody(self._card, self._ended))
        self._go(State.GRANT, PERSON_S + STORE_S + STEP_S)
        return [Send(encode(Request(self._to_inviter.seal(Request.type, plain))))]

    def _grant(self, grant: Grant, _: bytes) -> list[Effect]:
        if grant.n != len(self._parts):
            raise bad_message("a part of the grant is out of turn")
        self._parts.append(self._from_inviter.open(Grant.type, grant.box))
        if grant.n + 1 < grant.of:
            self._go(State.GRANT, STEP_S)
            return []
        try:
            body = msgspec.msgpack.decode(b"".join(self._parts), type=GrantBody)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise bad_message(str(error)) from error
        self._parts.clear()
        if not self._is_good(body):
            return self._refuse("bad-grant")
        self._go(State.STORE, None)
        return [Store(body)]

    def _is_good(self, grant: GrantBody) -> bool:
        """Does it hold together, and make both of us members of one space, with the keys that we gave?"""
        roster, _ = Roster(grant.space, self._verify).with_statements(grant.statements)
        us = roster.members.get(self._card.device)
        return (
            is_name(grant.name)
            and not roster.refused
            and not roster.pending
            and us is not None
            and us.sealing_key == self._card.sealing_key
            and roster.is_member(self._theirs)
        )
