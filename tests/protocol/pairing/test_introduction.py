"""Showing the statements by which one belongs, within limits, to somebody who has not heard of one."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.core.roster import compose
from peerd.core.roster.roster import Roster
from peerd.core.roster.statements import SignedStatement
from peerd.errors import RemoteProtocolError
from peerd.net.link import INTRODUCE
from peerd.protocol.pairing import introduction
from peerd.protocol.pairing.introduction import Hearing, Introduction, Shown, convinces, evidence
from tests.protocol.conftest import verify

if TYPE_CHECKING:
    from collections.abc import Iterable

Factory = Any  # the fixtures of conftest

VECTORS = Path(__file__).parents[1] / "vectors" / "introduction.json"


class Family:
    """A founder that let in others, and what each of them was given."""

    def __init__(self, device: Factory) -> None:
        self.desk, self.laptop, self.phone = device("desk"), device("laptop"), device("phone")
        self.genesis = self.desk.founded()
        self.of_laptop = self.admit(self.genesis, self.laptop)
        self.of_phone = self.admit(self.of_laptop, self.phone)

    def admit(self, roster: Roster, device: Any) -> Roster:
        return self.desk.say(roster, compose.admit(roster, self.desk.id, device.card))  # type: ignore[no-any-return] # a fixture of conftest


@pytest.fixture(scope="module")
def family(device: Factory) -> Family:
    return Family(device)


def hear(frames: Iterable[bytes]) -> Introduction:
    hearing = Hearing()
    *before, last = [hearing.receive(frame) for frame in frames]
    assert before == [None] * len(before)
    assert last is not None
    return last


def many(count: int, size_bytes: int = 1) -> tuple[SignedStatement, ...]:
    return tuple(SignedStatement(number.to_bytes(4, "big") * -(-size_bytes // 4), bytes(64)) for number in range(count))


# ---- what is shown, and what it does


def test_a_newcomer_shows_what_it_rests_on(family: Family) -> None:
    shown = evidence(family.of_phone, family.phone.id, family.laptop.id)
    assert shown == family.of_phone.statements
    added = convinces(family.of_laptop, Shown(family.of_laptop.space, shown), family.phone.id, family.laptop.id)
    larger, _ = family.of_laptop.with_statements(added)
    assert larger == family.of_phone


def test_what_came_after_the_admission_is_not_shown(family: Family, device: Factory) -> None:
    later = family.admit(family.of_phone, device("tablet"))
    assert evidence(later, family.phone.id, family.laptop.id) == family.of_phone.statements


def test_who_was_removed_by_somebody_that_it_removed_shows_that(family: Family) -> None:
    """Two remove each other; a third one that heard of the wrong one first is not kept from hearing of the other."""
    roster, pair = family.of_phone, (family.laptop, family.phone)
    removals = [one.say(roster, compose.remove(roster, one.id, other.id, {})) for one, other in (pair, pair[::-1])]
    together, _ = removals[0].with_statements(removals[1].statements)
    stays, goes = pair if together.is_member(pair[0].id) else pair[::-1]
    of_stays, of_goes = removals if stays is pair[0] else removals[::-1]
    assert not of_goes.is_member(stays.id)
    shown = evidence(of_stays, stays.id, family.desk.id)
    larger, _ = of_goes.with_statements(convinces(of_goes, Shown(roster.space, shown), stays.id, family.desk.id))
    assert larger == together
    assert larger.is_member(stays.id)
    assert not larger.is_member(goes.id)


def test_who_was_removed_hears_that_whoever_did_it_was_removed(family: Family) -> None:
    """The phone removed the laptop, at the time at which the desk removed the phone; the laptop knows the former."""
    roster = family.of_phone
    out = family.phone.say(roster, compose.remove(roster, family.phone.id, family.laptop.id, {}))
    of_desk = family.desk.say(roster, compose.remove(roster, family.desk.id, family.phone.id, {}))
    assert not out.is_member(family.laptop.id)
    assert out.is_member(family.desk.id)
    shown = evidence(of_desk, family.desk.id, family.laptop.id)
    added = convinces(out, Shown(roster.space, shown), family.desk.id, family.laptop.id)
    assert out.with_statements(added)[0].is_member(family.laptop.id)
    assert convinces(out, Shown(roster.space, roster.statements), family.desk.id, family.laptop.id) == ()


def test_so_does_who_was_removed_by_somebody_that_is_back(family: Family) -> None:
    """The desk removed the laptop and let it in again; what the laptop removed at the time of its removal stays."""
    roster = family.of_phone
    of_laptop = family.laptop.say(roster, compose.remove(roster, family.laptop.id, family.phone.id, {}))
    of_desk = family.desk.say(roster, compose.remove(roster, family.desk.id, family.laptop.id, {}))
    back = family.admit(of_desk.with_statements(of_laptop.statements)[0], family.laptop)
    assert back.is_member(family.phone.id)
    assert not of_laptop.is_member(family.phone.id)
    shown = Shown(roster.space, evidence(back, family.phone.id, family.desk.id))
    added = convinces(of_laptop, shown, family.phone.id, family.desk.id)
    assert of_laptop.with_statements(added)[0].is_member(family.phone.id)


def test_where_all_is_too_much_what_the_other_has_seen_is_left_out(
    family: Family, device: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(introduction, "STATEMENTS", 2)
    shown = evidence(family.of_phone, family.phone.id, family.laptop.id)
    assert shown == family.of_phone.statements[-1:]
    assert convinces(family.of_laptop, Shown(family.of_laptop.space, shown), family.phone.id, family.laptop.id) == shown
    more = family.of_phone
    for name in ("a", "b"):
        more = family.admit(more, device(name))
    last = device("b")
    assert evidence(more, last.id, family.laptop.id) == (), "too much all the same: nothing is shown"


def test_who_is_no_member_shows_nothing(family: Family, device: Factory) -> None:
    assert evidence(family.of_phone, device("stranger").id, family.desk.id) == ()
    left = family.desk.say(family.of_phone, compose.remove(family.of_phone, family.desk.id, family.phone.id, {}))
    assert evidence(left, family.phone.id, family.desk.id) == ()


def test_nobody_else_is_introduced_by_it(family: Family, device: Factory) -> None:
    """Only the device whose key TLS has proven; what others say is learnt from members."""
    shown = Shown(family.of_laptop.space, family.of_phone.statements)
    assert convinces(family.of_laptop, shown, device("stranger").id, family.laptop.id) == ()
    assert convinces(family.of_laptop, shown, family.laptop.id, family.desk.id) == ()


def test_a_removed_device_convinces_nobody(family: Family) -> None:
    out = family.desk.say(family.of_phone, compose.remove(family.of_phone, family.desk.id, family.phone.id, {}))
    shown = Shown(out.space, evidence(family.of_phone, family.phone.id, family.desk.id))
    assert convinces(out, shown, family.phone.id, family.desk.id) == ()


def test_a_forged_signature_or_a_statement_of_a_stranger_convinces_nobody(family: Family, device: Factory) -> None:
    *before, last = family.of_phone.statements
    forged = (*before, SignedStatement(last.data, bytes(64)))
    assert convinces(family.of_laptop, Shown(family.of_laptop.space, forged), family.phone.id, family.laptop.id) == ()
    stranger = device("stranger")
    own = compose.signed(compose.admit(family.of_laptop, family.desk.id, stranger.card), stranger.key.sign)
    assert convinces(family.of_laptop, Shown(family.of_laptop.space, (own,)), stranger.id, family.laptop.id) == ()


def test_a_plain_member_lets_nobody_in(family: Family, device: Factory) -> None:
    guest, friend = device("guest"), device("friend")
    data = compose.admit(family.of_laptop, family.desk.id, guest.card, "member")
    roster = family.desk.say(family.of_laptop, data)
    own = compose.signed(msgspec_admit(roster, guest, friend), guest.key.sign)
    assert convinces(roster, Shown(roster.space, (own,)), friend.id, family.desk.id) == ()


def msgspec_admit(roster: Roster, guest: Any, friend: Any) -> bytes:
    """What `compose` would not write."""
    from peerd.core.roster.statements import ADMIT, Admit, encode_statement  # noqa: PLC0415 - here only

    return encode_statement(ADMIT, roster.space, guest.id, roster.heads(), Admit(friend.card))


def test_what_waits_for_others_is_not_kept(family: Family) -> None:
    """A gap: whoever listens lacks something in between, and takes in nothing of it."""
    shown = Shown(family.genesis.space, family.of_phone.statements[-1:])
    assert convinces(family.genesis, shown, family.phone.id, family.desk.id) == ()
    assert family.genesis.pending == ()


# ---- frames


def test_an_introduction_arrives_whole(family: Family) -> None:
    shown = [Shown(bytes([n]) * 16, many(40, 1_000)) for n in range(3)]
    frames = introduction.introduction(shown)
    assert len(frames) > 1
    assert all(len(frame) <= introduction.FRAME_BYTES for frame in frames)
    assert hear(frames) == Introduction(tuple(shown))


def test_what_does_not_fit_is_left_out() -> None:
    small, large = Shown(bytes(16), many(1)), Shown(b"l" * 16, many(5, 60_000))
    assert hear(introduction.introduction([small, large, small])).spaces == (small, small)
    assert introduction.introduction([large]) == introduction.introduction([]) == []
    many_spaces = [Shown(bytes([n]) * 16, many(1)) for n in range(20)]
    assert len(hear(introduction.introduction(many_spaces)).spaces) == introduction.SPACES


def test_a_listener_holds_little() -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        hear(_frames(msgspec.msgpack.encode(Introduction((Shown(bytes(16), many(6, 50_000)),)))))
    assert refused.value.code == "bad-message"
    with pytest.raises(RemoteProtocolError):
        hear(_frames(msgspec.msgpack.encode(Introduction((Shown(bytes(16), many(200)),) * 2))))
    most = introduction._PIECES
    with pytest.raises(RemoteProtocolError):
        Hearing().receive(_frame(0, most + 1, b"x"))


@pytest.mark.parametrize(
    "pieces",
    [[(1, 2)], [(0, 2), (0, 2)], [(0, 2), (1, 3)], [(0, 3), (2, 3)], [(0, 0)], [(-1, 2)]],
)
def test_pieces_come_in_order(pieces: list[tuple[int, int]]) -> None:
    hearing = Hearing()
    *before, last = [_frame(number, count, b"x") for number, count in pieces]
    assert [hearing.receive(frame) for frame in before] == [None] * len(before)
    with pytest.raises(RemoteProtocolError):
        hearing.receive(last)


def test_optional_types_and_unknown_keys_are_ignored(family: Family) -> None:
    (frame,) = introduction.introduction([Shown(family.genesis.space, family.genesis.statements)])
    kind, request, body = msgspec.msgpack.decode(frame)
    hearing = Hearing()
    assert hearing.receive(msgspec.msgpack.encode((128, 0, {}))) is None
    assert hearing.receive(msgspec.msgpack.encode((kind, request, {**body, "later": 1}))) is not None


@given(st.binary(max_size=300))
def test_any_bytes_are_an_introduction_or_refused(data: bytes) -> None:
    for frame in (data, _frame(0, 1, data or b"x")):
        with contextlib.suppress(RemoteProtocolError):
            Hearing().receive(frame)


def test_the_edge_and_the_protocol_name_it_alike() -> None:
    assert introduction.SUBPROTOCOL == INTRODUCE


def test_vector(family: Family) -> None:
    """What a device called phone says to one called laptop, from keys that are made of the names."""
    expected = json.loads(VECTORS.read_text(encoding="utf-8"))
    assert expected["subprotocol"] == introduction.SUBPROTOCOL
    shown = evidence(family.of_phone, family.phone.id, family.laptop.id)
    frames = introduction.introduction([Shown(family.of_phone.space, shown)])
    assert [frame.hex() for frame in frames] == expected["frames"]
    assert family.phone.id.hex() == expected["dialler"]
    assert family.laptop.id.hex() == expected["listener"]
    before = [
        SignedStatement(bytes.fromhex(one["bytes"]), bytes.fromhex(one["signature"])) for one in expected["known"]
    ]
    roster, _ = Roster(bytes.fromhex(expected["space"]), verify).with_statements(before)
    (heard,) = hear(map(bytes.fromhex, expected["frames"])).spaces
    added = convinces(roster, heard, family.phone.id, family.laptop.id)
    assert [one.data.hex() for one in added] == expected["learnt"]


def _frame(number: int, count: int, data: bytes) -> bytes:
    return msgspec.msgpack.encode((96, 0, {"n": number, "of": count, "b": data}))


def _frames(data: bytes) -> list[bytes]:
    pieces = [data[at : at + 15_000] for at in range(0, len(data), 15_000)]
    return [_frame(number, len(pieces), piece) for number, piece in enumerate(pieces)]
