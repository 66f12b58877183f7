"""`invite --file` and `join --file`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MADE = {"code": "ABCDE-FGHIJ", "file": "dGhlIGZpbGU=", "expires_ms": 1_750_000_000_000}
ASKED = {"space": "home", "id": "00ff", "expires_ms": 1_750_000_000_000, "relays": ["folder"]}


def test_an_invitation_is_written_for_its_owner_alone(daemon: Any, peerctl: Any, tmp_path: Path) -> None:
    daemon.on("POST", "/v1/spaces/home/tickets", MADE)
    target = tmp_path / "home.invitation"
    got = peerctl("invite", "home", "--file", str(target), "--days", "3", "--role", "member")
    assert (got.code, got.out) == (0, "ABCDE-FGHIJ\n")
    assert target.read_bytes() == b"the file"
    assert target.stat().st_mode & 0o777 == 0o600
    assert "peerctl join --file home.invitation ABCDE-FGHIJ" in got.err
    assert daemon.bodies("POST") == [{"days": 3, "role": "member"}]


def test_an_invitation_is_good_for_a_week_and_for_an_admin(daemon: Any, peerctl: Any, tmp_path: Path) -> None:
    daemon.on("POST", "/v1/spaces/home/tickets", MADE)
    assert peerctl("invite", "home", "--file", str(tmp_path / "home.invitation")).code == 0
    assert daemon.bodies("POST") == [{"days": 7, "role": "admin"}]


def test_what_only_a_file_can_say_is_refused_without_one(daemon: Any, peerctl: Any) -> None:
    for given in (("--days", "3"), ("--role", "member")):
        got = peerctl("invite", "home", *given)
        assert (got.code, daemon.asked) == (2, [])
        assert f"{given[0]} goes with --file" in got.err
        assert "next: add --file PATH" in got.err


def test_a_file_that_is_there_is_not_overwritten(daemon: Any, peerctl: Any, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_bytes(b"mine")
    got = peerctl("invite", "home", "--file", str(target))
    assert got.code == 2
    assert "exists already" in got.err
    assert (target.read_bytes(), daemon.bodies("POST")) == (b"mine", [])


def test_nobody_is_invited_if_the_file_cannot_be_made(daemon: Any, peerctl: Any, tmp_path: Path) -> None:
    """And no file is left if nobody is."""
    got = peerctl("invite", "home", "--file", str(tmp_path / "none" / "home.invitation"))
    assert (got.code, daemon.bodies("POST")) == (2, [])
    assert "cannot be written" in got.err
    daemon.problem("POST", "/v1/spaces/home/tickets", 409, code="not-admin")
    assert peerctl("invite", "home", "--file", str(tmp_path / "home.invitation")).code != 0
    assert list(tmp_path.iterdir()) == []


def test_joining_says_through_what_the_answer_comes(daemon: Any, peerctl: Any, tmp_path: Path) -> None:
    daemon.on("POST", "/v1/petitions", ASKED)
    source = tmp_path / "home.invitation"
    source.write_bytes(b"the file")
    got = peerctl("join", "--file", str(source), "ABCDE-FGHIJ", "--name", "mine")
    assert got.code == 0
    assert "asked to be let into home" in got.err
    assert "through folder" in got.err
    assert daemon.bodies("POST") == [{"file": "dGhlIGZpbGU=", "code": "ABCDE-FGHIJ", "name": "mine"}]
    assert json.loads(peerctl("join", "--json", "--file", str(source), "X").out) == ASKED


def test_joining_without_a_relay_names_the_next_step(daemon: Any, peerctl: Any, tmp_path: Path) -> None:
    daemon.on("POST", "/v1/petitions", {**ASKED, "relays": []})
    source = tmp_path / "home.invitation"
    source.write_bytes(b"the file")
    got = peerctl("join", "--file", str(source), "X")
    assert "nobody hears of it yet" in got.err
    assert "configure [relay.folder]" in got.err


def test_what_cannot_be_meant_is_said(peerctl: Any, tmp_path: Path) -> None:
    missing = peerctl("join", "--file", str(tmp_path / "none"), "X").err
    assert "cannot be read" in missing
    assert "next: give the path of the file" in missing
    assert peerctl("join", "--file", "x", "X", "--host", "a:1").code == 2
    assert "no code given" in peerctl("join", "--file", "x").err
    large = tmp_path / "large"
    large.write_bytes(bytes(2 << 20))
    assert "too large" in peerctl("join", "--file", str(large), "X").err
