"""The published vectors of rosters and pairing: what is written in `vectors/roster.json` never changes.

Everything in it is made from fixed keys (Ed25519 seeds 01…01 and 02…02), so any implementation can make it too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from peerd.core.device_id import format_device_id
from peerd.core.origin import Announcement, origin_of
from peerd.core.roster import compose, epochs, tickets
from peerd.core.roster.roster import Roster
from peerd.core.roster.statements import (
    DeviceCard,
    Final,
    SignedStatement,
    decode_statement,
    signing_input,
    statement_id,
)
from peerd.protocol.pairing.keys import Exchange, Secrets
from peerd.protocol.pairing.messages import Confirm, Done, Grant, Hello, Refuse, Request, RequestBody, Spake, encode

if TYPE_CHECKING:
    from collections.abc import Callable

VECTORS = Path(__file__).with_name("vectors") / "roster.json"

_KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([i]) * 32) for i in (1, 2)]
_CARDS = [
    DeviceCard(key.public_key().public_bytes_raw(), bytes([0xA0 + i]) * 32, name)
    for i, (key, name) in enumerate(zip(_KEYS, ("desk", "laptop"), strict=True))
]
_DESK, _LAPTOP = _CARDS[0].device, _CARDS[1].device


def _verify(public_key: bytes, signature: bytes, data: bytes) -> bool:
    Ed25519PublicKey.from_public_bytes(public_key).verify(signature, data)
    return True


class _Story:
    """One space told statement by statement: desk founds it, admits laptop, rotates, closes, vouches, removes."""

    def __init__(self) -> None:
        genesis = compose.found_space("home", _CARDS[0], b"\x11" * 16)
        self.roster = Roster(decode_statement(genesis).space, _verify)
        self.statements: list[dict[str, Any]] = []
        secret = b"\x22" * 32
        self.epoch = epochs.epoch_id(self.roster.space, secret)
        self._say("genesis", lambda _: genesis)
        self._say("epoch", lambda r: compose.new_epoch(r, _DESK, 1, self.epoch, {_DESK: b"\x33" * 80}))
        self._say("admit", lambda r: compose.admit(r, _DESK, _CARDS[1], wraps={self.epoch: b"\x44" * 80}))
        self.announcement = Announcement(_LAPTOP, self.roster.members[_LAPTOP].admission, b"\x55" * 16)
        self.origin = origin_of(self.roster.space, self.announcement)
        self._say(
            "close",
            lambda r: compose.close(
                r, _DESK, (b"\x66" * 16, 9, b"\x77" * 8), [Final(0, b"\x88" * 8), Final(0, b"\x99" * 8)]
            ),
        )
        self._say("remove", lambda r: compose.remove(r, _DESK, _LAPTOP, {self.origin: Final(300, b"\xaa" * 8)}))
        self._say("vouch", lambda r: compose.vouch(r, _DESK, {self.origin: Final(301, b"\xbb" * 8)}))

    def go_on(self) -> list[dict[str, Any]]:
        """The statements that came to be published later: desk invites by a file, and withdraws that."""
        before = len(self.statements)
        self._say("ticket", lambda r: compose.ticket(r, _DESK, b"\xdd" * 32, 1_800_000_000_000, "member"))
        ticket = self.roster.heads()[0]
        self._say("withdraw", lambda r: compose.withdraw(r, _DESK, ticket))
        return self.statements[before:]

    def _say(self, kind: str, make: Callable[[Roster], bytes]) -> None:
        signed = compose.signed(make(self.roster), _KEYS[0].sign)
        self.roster, added = self.roster.with_statements([signed])
        assert added, self.roster.refused
        self.statements.append(
            {
                "kind": kind,
                "bytes": signed.data.hex(),
                "id": statement_id(signed.data).hex(),
                "signed": signing_input(signed.data).hex(),
                "signature": signed.signature.hex(),
            }
        )


def _roster_vectors() -> dict[str, Any]:
    story = _Story()
    space = story.roster.space
    secret = b"\x22" * 32
    return {
        "devices": [
            {"public_key": card.public_key.hex(), "device": card.device.hex(), "text": format_device_id(card.device)}
            for card in _CARDS
        ],
        "space": space.hex(),
        "statements": story.statements,
        "digest": story.roster.digest().hex(),
        "limit": story.roster.limit(story.announcement),
        "origin": {
            "device": _LAPTOP.hex(),
            "admission": story.announcement.admission.hex(),
            "nonce": story.announcement.nonce.hex(),
            "announcement": msgspec.msgpack.encode(story.announcement).hex(),
            "origin": story.origin.hex(),
        },
        "epoch": {
            "secret": secret.hex(),
            "id": story.epoch.hex(),
            "wrap_info": epochs.wrap_info(space, story.epoch, _LAPTOP).hex(),
            "discovery_key": epochs.discovery_key(space, secret).hex(),
            "names_key": epochs.names_key(space, secret).hex(),
        },
    }


def _pairing_vectors() -> dict[str, Any]:
    """Laptop (joiner) and desk (inviter), code 48219073; SPAKE2 draws 64 bytes 01 there and 64 bytes 02 here."""
    ids = {"joiner": _LAPTOP, "inviter": _DESK}
    joins = Exchange(joins=True, code="48219073", **ids, entropy=lambda n: b"\x01" * n)
    invites = Exchange(joins=False, code="48219073", **ids, entropy=lambda n: b"\x02" * n)
    frames = [
        encode(Hello((1, 0), b"\xc1" * 16, "laptop")),
        encode(Hello((1, 0), b"\xc2" * 16, "desk")),
        encode(Spake(joins.outbound)),
        encode(Spake(invites.outbound)),
    ]
    key = joins.key(invites.outbound)
    assert key == invites.key(joins.outbound)
    secrets = Secrets(key, _LAPTOP, _DESK, *frames)
    from_joiner, from_inviter = secrets.box(joins=True), secrets.box(joins=False)
    frames += [encode(Confirm(secrets.proof(joins=True))), encode(Confirm(secrets.proof(joins=False)))]
    card = msgspec.msgpack.encode(RequestBody(_CARDS[1]))
    frames += [
        encode(Request(from_joiner.seal(Request.type, card))),
        encode(Grant(0, 2, from_inviter.seal(Grant.type, b"first"))),
        encode(Grant(1, 2, from_inviter.seal(Grant.type, b"second"))),
        encode(Done(from_joiner.seal(Done.type, b"\x80"))),
    ]
    names = ["HELLO", "HELLO", "SPAKE", "SPAKE", "CONFIRM", "CONFIRM", "REQUEST", "GRANT", "GRANT", "DONE"]
    senders = ["joiner", "inviter"] * 3 + ["joiner", "inviter", "inviter", "joiner"]
    return {
        "code": "48219073",
        "key": key.hex(),
        "transcript": secrets.transcript.hex(),
        "request": card.hex(),
        "frames": [
            {"from": sender, "message": name, "bytes": frame.hex()}
            for sender, name, frame in zip(senders, names, frames, strict=True)
        ],
        "refuse": encode(Refuse("wrong-code")).hex(),
    }


def _ticket_vectors() -> dict[str, Any]:
    """On top of the roster above."""
    story = _Story()
    return {"statements": story.go_on(), "digest": story.roster.digest().hex()}


def made() -> dict[str, Any]:
    return {"roster": _roster_vectors(), "pairing": _pairing_vectors(), "tickets": _ticket_vectors()}


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    vectors: dict[str, Any] = json.loads(VECTORS.read_text())
    return vectors


def test_the_published_vectors_are_still_made(published: dict[str, Any]) -> None:
    """What this version writes is what the first one wrote."""
    assert made() == published


def test_the_published_statements_are_read_as_one_roster(published: dict[str, Any]) -> None:
    """In any order, from bytes and signatures alone."""
    vectors = published["roster"]
    roster = Roster(bytes.fromhex(vectors["space"]), _verify)
    for one in reversed(vectors["statements"]):
        signed = SignedStatement(bytes.fromhex(one["bytes"]), bytes.fromhex(one["signature"]))
        roster, _ = roster.with_statements([signed])
    assert roster.digest().hex() == vectors["digest"]
    assert [card.name for card in roster.members.values()] == ["desk"]
    origin = vectors["origin"]
    announcement = msgspec.msgpack.decode(bytes.fromhex(origin["announcement"]), type=Announcement)
    assert origin_of(roster.space, announcement).hex() == origin["origin"]
    assert roster.limit(announcement) == vectors["limit"] == 301
    later = published["tickets"]
    stated = [
        SignedStatement(bytes.fromhex(one["bytes"]), bytes.fromhex(one["signature"])) for one in later["statements"]
    ]
    invited, _ = roster.with_statements(stated[:1])
    assert [one.role for one in tickets.open_tickets(invited, 0).values()] == ["member"]
    withdrawn, _ = invited.with_statements(stated[1:])
    assert withdrawn.digest().hex() == later["digest"]
    assert tickets.open_tickets(withdrawn, 0) == {}
