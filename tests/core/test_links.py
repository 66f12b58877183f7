"""Which of two links stays, and with whom a device keeps links at all."""

from __future__ import annotations

from peerd.core import links


def test_in_a_small_space_everybody_links_with_everybody() -> None:
    members = [bytes([number]) * 32 for number in range(links.MESH_MEMBERS)]
    assert links.chosen(members[3], members, {}) == set(members) - {members[3]}
