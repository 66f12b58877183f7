"""Pairing as it should go, and every refusal."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from peerd.core.device_id import short_id
from peerd.core.roster import compose
from peerd.errors import LocalProtocolError, UserError
from peerd.protocol.pairing import pairing
from peerd.protocol.pairing.inviter import Inviter
from peerd.protocol.pairing.joiner import Joiner
from peerd.protocol.pairing.messages import (
    FRAME_BYTES,
    REASONS,
    Done,
    Grant,
    GrantBody,
    Hello,
    Refuse,
    Request,
    decode,
    encode,
)
from peerd.protocol.pairing.window import SECONDS, InvitationWindow

Factory = Any  # the fixtures of conftest: Meeting and Device

OTHER_CODE = "11111111"


def _kinds(frames: list[bytes]) -> list[str]:
    return [type(decode(frame)).__name__ for frame in frames]


def test_a_code_makes_a_member(meeting: Factory) -> None:
    """Both end with the same roster, in which both are members with their keys; the code is used up."""
    met = meeting()
    met.run()
    assert met.finished("inviter")
    assert met.finished("joiner")
    assert met.joined == met.roster
    assert met.roster.members[met.joining.id].sealing_key == met.joining.card.sealing_key
    assert met.joined.name == "home"
    assert _kinds(met.frames["joiner"]) == ["Hello", "Spake", "Confirm", "Request", "Done"]
    assert (met.inviter.by_name, met.inviter.took_window) == (False, True)
    assert _kinds(met.frames["inviter"]) == ["Hello", "Spake", "Confirm", "Grant"]
    assert met.window.claim(met.now_s) == "no-window"
    assert met.inviter.deadline_s is None
    assert met.joiner.deadline_s is None


def test_the_code_may_be_typed_with_its_dash(meeting: Factory) -> None:
    """The machine reads it as the window does."""
    met = meeting(joiner={"code": "4821-9073"})
    met.run()
    assert met.finished("joiner")


def test_both_persons_are_asked_with_name_and_short_id(meeting: Factory) -> None:
    """Unless they said yes beforehand."""
    met = meeting(inviter={"ask": True}, joiner={"ask": True})
    met.run()
    assert pairing.AskPerson("laptop", short_id(met.joining.id)) in met.effects["inviter"]
    assert pairing.AskPerson("desk", short_id(met.inviting.id)) in met.effects["joiner"]
    assert met.finished("joiner")


@pytest.mark.parametrize("who", ["inviter", "joiner"])
def test_either_person_may_decline(meeting: Factory, who: str) -> None:
    """Nobody becomes a member, and the other side is told."""
    met = meeting(**{who: {"ask": True}})
    met.answer = False
    met.run()
    other = "joiner" if who == "inviter" else "inviter"
    assert (met.failure(who).code, met.failure(who).theirs) == ("declined", False)
    assert (met.failure(other).code, met.failure(other).theirs) == ("declined", True)
    assert not met.roster.is_member(met.joining.id)


def test_devices_that_name_each_other_need_no_code(meeting: Factory) -> None:
    """The inviter was told the joiner's id, the joiner names the inviter's, and TLS has proven both."""
    met = meeting(inviter={"named": True, "window": None, "ask": True})
    met.joiner = met.new_joiner(code=None, named=met.inviting.id)
    met.run()
    assert met.finished("inviter")
    assert met.joined == met.roster
    assert _kinds(met.frames["joiner"]) == ["Hello", "Request", "Done"]
    assert (met.inviter.by_name, met.inviter.took_window) == (True, False)
    assert not any(isinstance(one, pairing.AskPerson) for one in met.effects["inviter"])


def test_a_device_that_nobody_named_is_refused(meeting: Factory) -> None:
    """Also while a window is open: that needs the code."""
    met = meeting()
    met.joiner = met.new_joiner(code=None, named=met.inviting.id)
    met.run()
    assert met.failure("joiner").code == "not-named"
    assert met.window.claim(met.now_s) is None


def test_a_device_that_names_somebody_else_is_refused(meeting: Factory) -> None:
    """Its user expects another inviter: nothing is granted."""
    met = meeting(inviter={"named": True})
    met.inviter.receive(encode(Hello((1, 0), b"n" * 16, "laptop", b"x" * 32)), met.now_s)
    assert met.inviter.state is pairing.State.CLOSED


def test_the_joiner_says_nothing_to_a_device_it_did_not_name(meeting: Factory) -> None:
    """TLS shows who answers at that address."""
    met = meeting()
    met.joiner = met.new_joiner(code=None, named=b"x" * 32)
    met.run()
    assert met.frames["joiner"] == []
    assert met.failure("joiner").code == "wrong-device"


def test_a_large_roster_travels_in_parts(meeting: Factory) -> None:
    """No frame is larger than 16 KiB, and all statements arrive."""
    met = meeting()
    for _ in range(120):
        met.roster = met.inviting.say(met.roster, compose.vouch(met.roster, met.inviting.id, {}))
    met.run()
    grants = _kinds(met.frames["inviter"]).count("Grant")
    assert grants > 1
    assert max(map(len, met.frames["inviter"])) <= FRAME_BYTES
    assert met.joined == met.roster


def test_nothing_is_granted_before_the_admission_is_stored(meeting: Factory) -> None:
    """And nothing is done before the joiner has stored it: commit, then speak."""
    met = meeting()
    met._admit = lambda _: []
    met.run()
    assert met.inviter.state is pairing.State.ADMIT
    assert "Grant" not in _kinds(met.frames["inviter"])


# ---- refusals


def test_a_wrong_code_is_refused_and_costs_a_try(meeting: Factory) -> None:
    """The joiner is told by the inviter, which sends no proof of its own; no name of a space was said."""
    met = meeting(joiner={"code": OTHER_CODE})
    met.run()
    assert (met.failure("joiner").code, met.failure("joiner").theirs) == ("wrong-code", True)
    assert met.window.tries_left == 2
    assert _kinds(met.frames["inviter"]) == ["Hello", "Spake", "Refuse"]
    assert not any(b"home" in frame for frame in met.frames["inviter"])


def test_the_third_wrong_code_voids_the_right_one(meeting: Factory) -> None:
    """Each of three gets its refusal, the fourth is not heard."""
    met = meeting()
    codes = []
    for code in (OTHER_CODE, OTHER_CODE, OTHER_CODE, "48219073"):
        met.effects["joiner"].clear()
        met.inviter, met.joiner = met.new_inviter(), met.new_joiner(code=code)
        met.run()
        codes.append(met.failure("joiner").code)
    assert codes == ["wrong-code", "wrong-code", "too-many-tries", "too-many-tries"]
    assert not met.roster.is_member(met.joining.id)


def test_an_expired_code_is_refused(meeting: Factory) -> None:
    """At the first word."""
    met = meeting()
    met.now_s += SECONDS
    met.inviter, met.joiner = met.new_inviter(), met.new_joiner()
    met.run()
    assert met.failure("joiner").code == "expired"


def test_a_code_that_expires_during_the_attempt_is_refused_right_or_wrong(meeting: Factory) -> None:
    """Even the right proof comes too late."""
    met = meeting()
    met.now_s += SECONDS - 1
    met.inviter, met.joiner = met.new_inviter(), met.new_joiner()

    def later(sender: str, frame: bytes) -> list[bytes]:
        if _kinds([frame]) == ["Confirm"]:
            met.now_s += 2
        return [frame]

    met.run(later)
    assert met.failure("joiner").code == "expired"
    assert met.failure("inviter").code == "expired"


def test_without_an_invitation_nobody_gets_in(meeting: Factory) -> None:
    """And learns not even a name."""
    met = meeting(inviter={"window": None})
    met.run()
    assert met.failure("joiner").code == "no-window"
    assert _kinds(met.frames["inviter"]) == ["Refuse"]
    assert not any(b"desk" in frame for frame in met.frames["inviter"])


def test_a_second_device_waits_its_turn(meeting: Factory) -> None:
    """One attempt at a time; the first is not disturbed."""
    met = meeting()
    first = met.new_inviter(theirs=b"f" * 32)
    first.receive(encode(Hello((1, 0), b"n" * 16, "first")), met.now_s)
    met.run()
    assert met.failure("joiner").code == "busy"
    assert (first.took_window, met.inviter.took_window) == (True, False)
    assert first.state is pairing.State.SPAKE


@pytest.mark.parametrize("end", ["lost", "tick"])
def test_an_attempt_that_ends_without_a_guess_frees_the_window(meeting: Factory, end: str) -> None:
    """And costs no try."""
    met = meeting()
    met.inviter.receive(encode(Hello((1, 0), b"n" * 16, "first")), met.now_s)
    getattr(met.inviter, end)(met.now_s + pairing.STEP_S)
    assert met.inviter.state is pairing.State.CLOSED
    assert (met.window.claim(met.now_s + pairing.STEP_S), met.window.tries_left) == (None, 3)


def test_another_major_version_is_named(meeting: Factory) -> None:
    """Both versions are in the sentence, on both sides."""
    met = meeting()
    effects = met.inviter.receive(encode(Hello((2, 3), b"n" * 16, "later")), met.now_s)
    assert "Here it is 1.0, there 2.3." in effects[1].text
    met.joiner.start(met.now_s)
    failed = met.joiner.receive(encode(Refuse("version", (2, 3))), met.now_s)[0]
    assert failed.code == "version"
    assert "there 2.3" in failed.text
    assert met.window.claim(met.now_s) is None


def test_a_later_minor_version_is_welcome(meeting: Factory) -> None:
    """Unknown keys and optional types are passed over."""
    met = meeting()

    def later(sender: str, frame: bytes) -> list[bytes]:
        kind, request, body = msgspec.msgpack.decode(frame)
        if kind == Done.type:
            return [
                msgspec.msgpack.encode([200, 0, {"new": 1}]),
                msgspec.msgpack.encode([kind, request, {**body, "x": 1}]),
            ]
        return [frame]

    met.run(later)
    assert met.finished("inviter")


def test_every_wait_has_an_end(meeting: Factory) -> None:
    """A machine says when; the other side is told, and so is the person."""
    met = meeting()
    assert met.inviter.tick(met.now_s) == []
    assert met.inviter.deadline_s == met.now_s + pairing.STEP_S
    effects = met.inviter.tick(met.inviter.deadline_s)
    assert decode(effects[0].frame) == Refuse("timeout")
    assert effects[1].code == "timeout"
    met.joiner.start(met.now_s)
    late = encode(Hello((1, 0), b"n" * 16, "late"))
    assert met.joiner.receive(late, met.joiner.deadline_s)[1].code == "timeout"


def test_a_lost_link_ends_the_pairing_once(meeting: Factory) -> None:
    """And nothing comes after the end."""
    met = meeting()
    met.joiner.start(met.now_s)
    assert [one.code for one in met.joiner.lost(met.now_s)] == ["link-lost"]
    assert met.joiner.lost(met.now_s) == []
    assert met.joiner.fail("cancelled", met.now_s) == []
    assert met.joiner.receive(b"\xc1", met.now_s) == []
    assert met.joiner.confirmed(yes=True, now_s=met.now_s) == []
    assert met.joiner.stored(met.now_s) == []


def test_a_link_lost_after_the_admission_is_said_to_be_just_that(meeting: Factory) -> None:
    """The device is a member, whether it knows or not."""
    met = meeting()
    met.run(lambda _, frame: [] if _kinds([frame]) == ["Done"] else [frame])
    assert met.roster.is_member(met.joining.id)
    assert [one.code for one in met.inviter.lost(met.now_s)] == ["not-confirmed"]


def test_an_inviter_that_cannot_go_on_says_so(meeting: Factory) -> None:
    """Its database failed, or a person stopped it."""
    met = meeting()
    met._admit = lambda _: met.inviter.fail("failed", met.now_s)
    met.run()
    assert (met.failure("joiner").code, met.failure("joiner").theirs) == ("failed", True)


def test_a_grant_that_makes_us_no_member_is_refused(meeting: Factory, device: Factory) -> None:
    """Another device's card, another sealing key, or a roster without the inviter."""
    met = meeting()
    stranger = device("stranger")
    roster = stranger.founded()
    roster = stranger.say(roster, compose.admit(roster, stranger.id, met.joining.card))
    met._admit = lambda _: met.inviter.granted(GrantBody(roster.space, "home", roster.statements), met.now_s)
    met.run()
    assert met.failure("joiner").code == "bad-grant"
    assert not any(isinstance(one, pairing.Store) for one in met.effects["joiner"])


def test_unknown_codes_of_refusals_are_not_shown(meeting: Factory) -> None:
    """A hostile inviter cannot put words before the joiner's person."""
    met = meeting()
    met.joiner.start(met.now_s)
    (failed,) = met.joiner.receive(encode(Refuse("send me your keys")), met.now_s)
    assert failed.code == "failed"
    assert "keys" not in failed.text + failed.next_step


def test_every_reason_has_a_sentence_for_either_side_and_a_next_step() -> None:
    """No refusal leaves a person without an answer."""
    for reason in REASONS.values():
        assert all(text.endswith(".") for text in (reason.told, reason.here, reason.next_step))


def test_a_joiner_has_a_code_or_a_name_and_the_code_is_checked_at_once(meeting: Factory) -> None:
    """Neither is a mistake of the caller, a bad code one of the person."""
    with pytest.raises(ValueError, match="one of both"):
        meeting(joiner={"code": None})
    with pytest.raises(UserError):
        meeting(joiner={"code": "12"})


def test_answers_out_of_turn_are_our_own_bug(meeting: Factory) -> None:
    """Loud, because nobody asked."""
    met = meeting()
    with pytest.raises(LocalProtocolError):
        met.inviter.confirmed(yes=True, now_s=met.now_s)
    with pytest.raises(LocalProtocolError):
        met.inviter.granted(GrantBody(b"s" * 16, "home", ()), met.now_s)


def test_every_state_in_the_tables_is_handled() -> None:
    """The tables at the top of `pairing` and the handlers name the same steps."""
    assert (pairing.State.REQUEST, Request) in pairing_handlers()
    assert (pairing.State.GRANT, Grant) in pairing_handlers()
    for (state, message), name in pairing_handlers().items():
        assert f"| {state.name} " in str(pairing.__doc__)
        assert f"| {message.__name__.upper()}" in str(pairing.__doc__)
        assert name.startswith("_")


def pairing_handlers() -> dict[tuple[pairing.State, type], str]:
    return {**Inviter.HANDLERS, **Joiner.HANDLERS}


def test_windows_of_two_invitations_are_apart(meeting: Factory) -> None:
    """What is tried at one does not count at the other."""
    met = meeting()
    other = InvitationWindow("22222222", met.now_s)
    met.inviter = met.new_inviter(window=other)
    met.run()
    assert met.failure("joiner").code == "wrong-code"
    assert (other.tries_left, met.window.tries_left) == (2, 3)
