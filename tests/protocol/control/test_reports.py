"""What the control socket says of devices and spaces: the JSON that scripts rely on."""

from __future__ import annotations

import json

import msgspec

from peerd.protocol.control import reports as control_reports


def test_a_peer_of_which_nothing_is_known_is_null_and_not_nought() -> None:
    peer = control_reports.PeerStatus(device="AAAA", name="desk", state="offline")
    shown = json.loads(msgspec.json.encode(peer))
    assert shown["behind"] is None
    assert shown["ahead"] is None
