"""`invite`, `join` and `admit`, both sides, with and without a person."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from peerd.cli.pairing import CODE_DIGITS
from peerd.protocol.pairing import window as pairing_window

CODE = {"id": "i1", "code": "48219073", "expires_in_s": 120}
PHONE = {"device": "PHONEAA-PHONEBB", "name": "phone"}
ASKING = {"id": "i1", "asking": PHONE}
ADMITTED = {"id": "i1", "admitted": PHONE}
WRONG = {
    "id": "i1",
    "error": {"status": 409, "code": "invitation-spent", "detail": "three wrong codes", "next_step": "invite again"},
}
JOINED = {"space": "home", "id": "00ff", "device": "NASAAAA", "device_name": "nas"}


def test_invite_headless_streams_the_code_and_the_admission(daemon: Any, peerctl: Any) -> None:
    daemon.on_stream("POST", "/v1/invitations", CODE, ADMITTED)
    got = peerctl("invite", "home", "--yes", "--json")
    assert got.code == 0
    assert [json.loads(line) for line in got.out.splitlines()] == [CODE, ADMITTED]
    assert daemon.bodies("POST") == [{"space": "home", "yes": True}]


def test_the_code_is_printed_before_anybody_has_joined(daemon: Any, start: Any) -> None:
    """A script reads the code from the pipe while the command waits; interrupting it ends it quietly."""
    daemon.on_stream("POST", "/v1/invitations", CODE, held=True)
    process = start("invite", "home", "--yes", "--json")
    assert json.loads(process.stdout.readline())["code"] == "48219073"
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert b"Traceback" not in process.stderr.read()


def test_invite_for_a_person_prints_the_code_and_how_to_use_it(daemon: Any, peerctl: Any) -> None:
    daemon.on_stream("POST", "/v1/invitations", CODE, ADMITTED)
    assert peerctl("invite", "home", "--yes") == (
        0,
        "48219073\n",
        "on the other device: peerctl join 48219073 (good for 120 s)\nadmitted phone (PHONEAA-PHONEBB) to home\n",
    )


def test_a_device_that_did_not_confirm_is_told_apart(daemon: Any, peerctl: Any) -> None:
    """It is a member and may have no copy."""
    daemon.on_stream("POST", "/v1/invitations", CODE, {"id": "i1", "admitted": {**PHONE, "confirmed": False}})
    got = peerctl("invite", "home", "--yes")
    assert got.code == 0
    assert "admitted phone (PHONEAA-PHONEBB) to home, but it has not said that it keeps a copy" in got.err
    assert "invite it again" in got.err


@pytest.mark.parametrize(("typed", "admit"), [("y\n", True), ("n\n", False), ("", False)])
def test_invite_asks_before_it_admits(daemon: Any, peerctl: Any, typed: str, admit: bool) -> None:  # noqa: FBT001 - parameter
    daemon.on_stream("POST", "/v1/invitations", CODE, ASKING, ADMITTED)
    daemon.on("POST", "/v1/invitations/i1", None, status=204)
    got = peerctl("invite", "home", stdin=typed)
    assert "phone (PHONEAA-PHONEBB) knows the code. Admit it? [y/N]" in got.err
    assert daemon.bodies("POST") == [{"space": "home", "yes": False}, {"admit": admit}]


def test_an_invitation_that_fails_is_a_refusal_with_its_reason(daemon: Any, peerctl: Any) -> None:
    daemon.on_stream("POST", "/v1/invitations", CODE, WRONG)
    got = peerctl("invite", "home", "--yes")
    assert (got.code, got.out) == (6, "48219073\n")
    assert got.err.endswith("peerctl: three wrong codes [invitation-spent]\n  next: invite again\n")
    got = peerctl("invite", "home", "--yes", "--json")
    assert got.code == 6
    last = json.loads(got.out.splitlines()[-1])
    assert (last["error"]["code"], last["error"]["next_step"]) == ("invitation-spent", "invite again")


def test_an_invitation_that_the_daemons_stop_ends_is_a_daemon_that_went_away(daemon: Any, peerctl: Any) -> None:
    daemon.on_stream("POST", "/v1/invitations", CODE)
    got = peerctl("invite", "home", "--yes")
    assert got.code == 3
    assert "peerd has stopped, and the invitation with it" in got.err
    last = json.loads(peerctl("invite", "home", "--yes", "--json").out.splitlines()[-1])
    assert last["error"]["code"] == "connection-lost"


def test_each_wrong_code_is_told(daemon: Any, peerctl: Any) -> None:
    wrong = [{"id": "i1", "wrong_code": {"device": "X", "tries_left": left}} for left in (2, 1)]
    daemon.on_stream("POST", "/v1/invitations", CODE, *wrong, ADMITTED)
    got = peerctl("invite", "home", "--yes")
    assert got.code == 0
    assert "\na device tried a wrong code; 2 tries left\na device tried a wrong code; 1 try left\nadmitted" in got.err


def test_a_hostile_name_cannot_answer_for_the_person(daemon: Any, peerctl: Any) -> None:
    daemon.on_stream("POST", "/v1/invitations", CODE, {"id": "i1", "asking": {"name": "\x1b[2K\ry\n", "device": "X"}})
    daemon.on("POST", "/v1/invitations/i1", None, status=204)
    got = peerctl("invite", "home", stdin="n\n")
    assert "\\x1b[2K\\ry\\n (X) knows the code" in got.err
    assert "\x1b" not in got.err


@pytest.mark.parametrize("code", ["48219073", "4821 9073", "4821-9073"])
def test_join_by_code(daemon: Any, peerctl: Any, code: str) -> None:
    daemon.on("POST", "/v1/joins", JOINED)
    got = peerctl("join", code, "--yes", "--json")
    assert (got.code, json.loads(got.out), got.err) == (0, JOINED, "")
    assert daemon.bodies("POST") == [{"code": "48219073", "yes": True}]


def test_join_takes_an_address_and_a_name_of_its_own(daemon: Any, peerctl: Any) -> None:
    daemon.on("POST", "/v1/joins", JOINED)
    got = peerctl("join", "48219073", "--host", "nas.lan:7337", "--name", "family")
    assert (got.code, got.out) == (0, "")
    assert got.err == "looking for nas.lan:7337 …\njoined home, let in by nas (NASAAAA)\n"
    assert daemon.bodies("POST") == [{"code": "48219073", "host": "nas.lan:7337", "name": "family", "yes": False}]


def test_join_says_what_the_space_is_called_where_it_has_another_name_here(daemon: Any, peerctl: Any) -> None:
    daemon.on("POST", "/v1/joins", JOINED | {"space": "home-2", "called": "home"})
    got = peerctl("join", "48219073")
    assert "joined home-2 (there it is called home), let in by nas" in got.err


def test_join_as_an_admitted_device(daemon: Any, peerctl: Any) -> None:
    daemon.on("POST", "/v1/joins", JOINED)
    assert peerctl("join", "--from", "NASAAAA-NASBBBB", "--host", "192.0.2.1:7337").code == 0
    assert daemon.bodies("POST") == [{"device": "NASAAAA-NASBBBB", "host": "192.0.2.1:7337", "yes": False}]


def test_join_without_a_code_asks_for_it_on_a_terminal(daemon: Any, on_terminal: Any) -> None:
    daemon.on("POST", "/v1/joins", JOINED)
    got = on_terminal("join", typed="4821 9073\n")
    assert got.code == 0
    assert daemon.bodies("POST") == [{"code": "48219073", "yes": False}]


def test_who_is_asked_for_the_code_and_gives_none_is_told_what_it_looks_like(daemon: Any, on_terminal: Any) -> None:
    got = on_terminal("join", typed="\n")
    assert got.code == 2
    assert "a pairing code has 8 digits" in got.err + got.out
    assert not daemon.asked


@pytest.mark.parametrize("code", ["1234", "123456789", "4821-907x", "\u0661" * 8])
def test_what_is_no_code_is_said_before_anybody_is_looked_for(daemon: Any, peerctl: Any, code: str) -> None:
    got = peerctl("join", code)
    assert (got.code, got.out) == (2, "")
    assert got.err.startswith("peerctl: a pairing code has 8 digits")
    assert "looking" not in got.err
    assert not daemon.asked
    assert CODE_DIGITS == pairing_window.DIGITS


@pytest.mark.parametrize("argv", [(), ("1234", "--from", "X")])
def test_join_needs_exactly_one_way_in(daemon: Any, peerctl: Any, argv: tuple[str, ...]) -> None:
    assert peerctl("join", *argv).code == 2
    assert not daemon.asked


def test_a_refused_join_names_reason_and_next_step(daemon: Any, peerctl: Any) -> None:
    daemon.problem("POST", "/v1/joins", 409, code="join-failed", detail="the code is wrong", next_step="look again")
    got = peerctl("join", "00000000", "--json")
    assert got.code == 6
    assert json.loads(got.out)["error"]["code"] == "join-failed"
    assert "next: look again" in got.err


def test_admit_tells_the_other_device_what_to_do(daemon: Any, peerctl: Any) -> None:
    member = {"device": "PHONEAA", "name": "", "role": "member", "state": "admitted"}
    daemon.on("POST", "/v1/spaces/home/members", member)
    daemon.on("GET", "/v1/status", {"device": {"id": "NASAAAA"}})
    got = peerctl("admit", "home", "PHONEAA", "--role", "member")
    assert (got.code, got.out, got.err) == (
        0,
        "",
        "PHONEAA may join home within 7 days; on it: peerctl join --from NASAAAA\n",
    )
    assert json.loads(peerctl("admit", "home", "PHONEAA", "--json").out) == member
    assert daemon.bodies("POST") == [{"device": "PHONEAA", "role": "member"}, {"device": "PHONEAA", "role": "admin"}]
