"""A hostile peer in the pairing: it changes, repeats, reorders, reflects, makes up what it likes, and gets nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.protocol.pairing import pairing
from peerd.protocol.pairing.keys import Exchange, Secrets
from peerd.protocol.pairing.messages import (
    FRAME_BYTES,
    Confirm,
    Done,
    Grant,
    Hello,
    Message,
    Refuse,
    Request,
    Spake,
    decode,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Callable

Factory = Any  # the fixture of conftest: Meeting

_FEW = settings(max_examples=60, deadline=None)


def _nobody_got_in(met: Any) -> bool:
    return not met.roster.is_member(met.joining.id) and met.joined is None


def test_a_man_in_the_middle_fails_at_the_proof(meeting: Factory) -> None:
    """Mallory terminates TLS on both sides and passes every frame on: both see its id instead of the other's."""
    met = meeting(inviter={"theirs": b"m" * 32}, joiner={"theirs": b"m" * 32})
    met.run()
    assert met.failure("inviter").code == "wrong-code"
    assert met.failure("joiner").code == "wrong-code"
    assert met.window.tries_left == 2
    assert _nobody_got_in(met)


@pytest.mark.parametrize("side", ["inviter", "joiner"])
def test_one_wrong_id_is_enough_to_fail(meeting: Factory, side: str) -> None:
    """Each device id is bound on both sides."""
    met = meeting(**{side: {"theirs": b"m" * 32}})
    met.run()
    assert met.failure("inviter").code == "wrong-code"
    assert _nobody_got_in(met)


def test_a_false_inviter_gets_one_guess_and_no_card(meeting: Factory) -> None:
    """It answers in the inviter's place without knowing the code: the joiner ends it before it says who it is."""
    met = meeting()
    inviter_says: list[bytes] = [encode(Hello((1, 0), b"n" * 16, "desk"))]
    joiner, heard = met.joiner, list[bytes]()
    heard += [one.frame for one in joiner.start(met.now_s)]
    heard += [one.frame for one in joiner.receive(inviter_says[0], met.now_s)]
    exchange = Exchange(
        joins=False, code="00000000", joiner=met.joining.id, inviter=met.inviting.id, entropy=met.inviting.entropy
    )
    spake = decode(heard[-1])
    assert isinstance(spake, Spake)
    key = exchange.key(spake.msg)
    inviter_says.append(encode(Spake(exchange.outbound)))
    joiner.receive(inviter_says[1], met.now_s)
    secrets = Secrets(key, met.joining.id, met.inviting.id, heard[0], inviter_says[0], heard[1], inviter_says[1])
    effects = joiner.receive(encode(Confirm(secrets.proof(joins=False))), met.now_s)
    assert [type(one) for one in effects] == [pairing.Send, pairing.Failed]
    assert effects[1].code == "unproven"


def test_the_inviter_proves_nothing_to_a_wrong_guess(meeting: Factory) -> None:
    """The joiner goes first, so a stranger cannot collect proofs to test codes with at home."""
    met = meeting(joiner={"code": "00000000"})
    met.run()
    assert not any(isinstance(decode(frame), Confirm) for frame in met.frames["inviter"])


def test_neither_code_nor_roster_is_ever_readable(meeting: Factory) -> None:
    """What follows the proofs is sealed, even inside TLS."""
    met = meeting()
    met.run()
    assert met.finished("joiner")
    said = b"".join(met.frames["joiner"] + met.frames["inviter"])
    assert b"48219073" not in said
    assert b"home" not in said
    assert met.joining.card.public_key not in said


@pytest.mark.parametrize("kind", [Hello, Spake, Confirm, Request, Grant, Done])
@pytest.mark.parametrize("sender", ["joiner", "inviter"])
def test_a_changed_body_is_noticed(meeting: Factory, sender: str, kind: type[Message]) -> None:
    """Any byte of a nonce, name, point, proof or box."""
    for at in (-1, -9, -16):
        met = meeting()
        changed: list[bytes] = []

        def change(who: str, frame: bytes, at: int = at, changed: list[bytes] = changed) -> list[bytes]:
            if who == sender and isinstance(decode(frame), kind):
                changed.append(frame)
                return [frame[:at] + bytes([frame[at] ^ 1]) + frame[at + 1 :] if at < -1 else _bumped(frame)]
            return [frame]

        met.run(change)
        if changed:
            assert not met.finished("inviter")
            assert kind is Done or met.joined is None


def _bumped(frame: bytes) -> bytes:
    return frame[:-1] + bytes([frame[-1] ^ 1])


@_FEW
@given(at=st.integers(0, 9), where=st.integers(0, 10_000), by=st.integers(1, 255))
def test_any_changed_byte_ends_it_or_changes_nothing(meeting: Factory, at: int, where: int, by: int) -> None:
    """Whatever one byte of the conversation becomes: no other error, and never two different ideas of the roster."""
    met = meeting()
    count = 0

    def change(_: str, frame: bytes) -> list[bytes]:
        nonlocal count
        count += 1
        if count - 1 != at:
            return [frame]
        position = where % len(frame)
        return [frame[:position] + bytes([frame[position] ^ by]) + frame[position + 1 :]]

    met.run(change)
    if met.joined is not None:
        assert met.joined == met.roster
    if met.finished("inviter"):
        assert met.finished("joiner")


@_FEW
@given(st.randoms(use_true_random=False))
def test_lost_repeated_and_swapped_frames_let_nobody_in_by_accident(meeting: Factory, chance: Any) -> None:
    """A frame out of turn ends it."""
    met = meeting()
    disturbed = False
    held: list[bytes] = []

    def change(_: str, frame: bytes) -> list[bytes]:
        nonlocal disturbed
        fate = chance.random()
        if fate < 0.8:
            return [frame, *held]
        disturbed = True
        if fate < 0.9:
            return [frame, frame]
        held.append(frame)
        return []

    met.run(change)
    if disturbed:
        assert not (met.finished("inviter") and met.finished("joiner")) or met.joined == met.roster
    else:
        assert met.joined == met.roster


def test_a_recorded_joiner_cannot_be_played_again(meeting: Factory) -> None:
    """Even against a new window with the same code: the inviter's nonce and point are new."""
    met = meeting()
    met.run()
    again = meeting()
    for _ in range(3):
        again.inviting.entropy(1)  # its chance has gone on
    answers = [again.inviter.receive(frame, again.now_s) for frame in met.frames["joiner"]]
    assert answers[2][1].code == "wrong-code"
    assert _nobody_got_in(again)


def test_a_reflected_joiner_learns_that_it_talks_to_itself(meeting: Factory) -> None:
    """Its own HELLO comes back."""
    met = meeting()
    (hello,) = met.joiner.start(met.now_s)
    effects = met.joiner.receive(hello.frame, met.now_s)
    assert effects[1].code == "bad-message"


def test_reflected_points_and_proofs_are_refused(meeting: Factory) -> None:
    """SPAKE2 messages carry their side, proofs and boxes their direction."""
    for kind in (Spake, Confirm):
        met = meeting()
        last: dict[type[Message], bytes] = {}

        def reflect(who: str, frame: bytes, kind: type[Message] = kind, last: Any = last) -> list[bytes]:
            message = decode(frame)
            assert message is not None
            if who == "joiner":
                last[type(message)] = frame
            elif isinstance(message, kind):
                return [last[kind]]
            return [frame]

        met.run(reflect)
        assert met.failure("joiner").code in {"bad-message", "unproven"}
        assert met.joined is None


_BOX = b"x" * 40
_MESSAGES = [
    Hello((1, 0), b"n" * 16, "mallory"),
    Hello((1, 0), b"n" * 16, "mal\u202elory"),
    Hello((1, 0), b"n" * 16, "mallory", b"t" * 32),
    Spake(b"A" + b"\0" * 32),
    Spake(b"B" + b"\xff" * 32),
    Spake(b"A\x01" + b"\0" * 31),
    Confirm(b"m" * 32),
    Request(_BOX),
    Request(msgspec.msgpack.encode({"card": [b"p" * 32, b"q" * 32, "mallory"]})),
    Grant(0, 1, _BOX),
    Grant(7, 9, _BOX),
    Done(b"\x80"),
]


@_FEW
@given(
    st.lists(
        st.one_of(
            st.sampled_from([encode(message) for message in _MESSAGES]),
            st.binary(max_size=80),
            st.integers(60, 300).map(lambda kind: msgspec.msgpack.encode([kind, 0, {}])),
        ),
        max_size=12,
    ),
    st.booleans(),
)
def test_made_up_conversations_lead_nowhere(meeting: Factory, frames: list[bytes], after_start: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
    """No exception, no admission, no grant taken; at most one ending each."""
    met = meeting()
    if after_start:
        met.joiner.start(met.now_s)
    for machine in (met.inviter, met.joiner):
        effects = [effect for frame in frames for effect in machine.receive(frame, met.now_s)]
        assert not any(isinstance(one, pairing.Admit | pairing.Store | pairing.Finished) for one in effects)
        assert sum(isinstance(one, pairing.Failed) for one in effects) <= 1


def _oversized(_: bytes) -> bytes:
    return b"\0" * (FRAME_BYTES + 1)


def _deep(_: bytes) -> bytes:
    return b"\x93\x40\x00" + b"\x91" * 10_000 + b"\xc0"


def _long_name(_: bytes) -> bytes:
    return encode(Hello((1, 0), b"n" * 16, "é" * 33))


def _unknown(_: bytes) -> bytes:
    return msgspec.msgpack.encode([71, 0, {}])


@pytest.mark.parametrize("make", [_oversized, _deep, _long_name, _unknown])
def test_what_breaks_a_bound_is_refused(meeting: Factory, make: Callable[[bytes], bytes]) -> None:
    """And answered by the one refusal for it."""
    met = meeting()
    effects = met.inviter.receive(make(b""), met.now_s)
    assert decode(effects[0].frame) == Refuse("bad-message")


def test_optional_messages_without_end_end_it(meeting: Factory) -> None:
    """What is passed over is counted."""
    met = meeting()
    frame = msgspec.msgpack.encode([200, 0, {}])
    for _ in range(5_000):
        met.inviter.receive(frame, met.now_s)
    assert met.inviter.state is pairing.State.CLOSED


def test_a_card_of_another_device_or_name_is_refused(meeting: Factory) -> None:
    """TLS says which device it is, HELLO said how it is called, and the person saw both."""
    for changed in ({"public_key": b"o" * 32}, {"name": "other"}):
        met = meeting(inviter={"named": True})
        met.joiner = met.new_joiner(code=None, named=met.inviting.id)
        card = msgspec.structs.replace(met.joining.card, **changed)

        def change(_: str, frame: bytes, card: Any = card) -> list[bytes]:
            if isinstance(decode(frame), Request):
                return [encode(Request(msgspec.msgpack.encode({"card": card})))]
            return [frame]

        met.run(change)
        assert met.failure("inviter").code == "bad-message"
        assert _nobody_got_in(met)


def test_parts_of_a_grant_out_of_turn_are_refused(meeting: Factory) -> None:
    """Part 1 before part 0, without a code too, where nothing is sealed."""
    met = meeting(inviter={"named": True})
    met.joiner = met.new_joiner(code=None, named=met.inviting.id)

    def change(_: str, frame: bytes) -> list[bytes]:
        message = decode(frame)
        return [encode(Grant(1, 2, message.box))] if isinstance(message, Grant) else [frame]

    met.run(change)
    assert met.failure("joiner").code == "bad-message"
