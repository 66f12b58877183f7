"""What the control socket says of devices and spaces: the JSON that scripts rely on."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from peerd.protocol import control_reports
from peerd.protocol.control_reports import Admission, InvitationEvent, NewInvitation, NewJoin, NewSpace, PeerStatus


def shown(report: Struct) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(msgspec.json.encode(report))
    return found


def test_a_peer_of_which_nothing_is_known_is_null_and_not_nought() -> None:
    peer = shown(PeerStatus(device="AAAA", name="desk", state="offline"))
    assert peer["behind"] is None
    assert peer["ahead"] is None


def test_a_peer_and_a_space_have_the_names_that_scripts_were_promised() -> None:
    peer = PeerStatus(device="AAAA", name="desk", state="linked")
    assert {"device", "name", "state", "reason", "next_step", "behind", "ahead"} <= shown(peer).keys()
    space = control_reports.SpaceView(
        name="home", id="00", state="open", records=1, conflicts=0, clock={"aa": 3}, digest="ff", peers=[peer]
    )
    promised = {"name", "id", "state", "records", "conflicts", "clock", "digest", "peers"}
    assert promised <= shown(space).keys()
    device = control_reports.DeviceStatus(id="AAAA", name="desk", state="running")
    status = shown(control_reports.Status(version="1", device=device, spaces=[space]))
    assert {"id", "name", "state"} <= status["device"].keys()
    assert status["spaces"] == [shown(space)]


def test_a_line_of_an_invitation_says_only_what_has_happened() -> None:
    assert shown(InvitationEvent("7", code="48219073", expires_in_s=120)).keys() == {"id", "code", "expires_in_s"}
    assert shown(InvitationEvent("7", admitted={"name": "laptop"})).keys() == {"id", "admitted"}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (NewSpace, {}),
        (NewSpace, {"name": 1}),
        (NewSpace, {"name": "home", "nmae": "typo"}),
        (NewInvitation, {"space": "home", "yes": "true"}),
        (NewJoin, {"code": 48219073}),
        (Admission, {"device": "AAAA", "role": "king"}),
        (control_reports.InvitationAnswer, {}),
    ],
)
def test_a_request_that_says_something_else_is_refused(kind: type[Struct], body: dict[str, Any]) -> None:
    """Also a key that is not known: a misspelt one must not be a default by accident."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(json.dumps(body), type=kind)


def test_what_is_not_said_is_the_careful_choice() -> None:
    assert msgspec.json.decode(b'{"space": "home"}', type=NewInvitation).yes is False
    assert msgspec.json.decode(b"{}", type=NewJoin).yes is False
