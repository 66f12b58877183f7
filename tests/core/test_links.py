"""Which of two links stays, and with whom a device keeps links at all."""

from __future__ import annotations

from collections import Counter
from itertools import product
from random import Random

import pytest

from peerd.core import links
from peerd.core.links import LinkFacts, newcomer_stays


def test_in_a_small_space_everybody_links_with_everybody() -> None:
    members = [bytes([number]) * 32 for number in range(links.MESH_MEMBERS)]
    assert links.chosen(members[3], members, {}) == set(members) - {members[3]}


SMALL, LARGE = b"a" * 32, b"b" * 32
BOOT, REBOOT = b"boot....", b"reboot.."


def seen_by(device: bytes, dialer: bytes, boots: dict[bytes, bytes], counter: int) -> LinkFacts:
    """One link as one of its two ends knows it."""
    other = LARGE if device == SMALL else SMALL
    return LinkFacts(device == dialer, boots[other], counter)


@pytest.mark.parametrize(("dialer", "other_dialer"), list(product((SMALL, LARGE), repeat=2)))
@pytest.mark.parametrize(("first", "second"), [(1, 2), (2, 1), (7, 8)])
def test_both_sides_keep_the_same_of_two_links_in_whatever_order_each_hears_of_them(
    dialer: bytes, other_dialer: bytes, first: int, second: int
) -> None:
    boots = {SMALL: BOOT, LARGE: BOOT}
    kept = set()
    for device in (SMALL, LARGE):
        ours = {
            "first": seen_by(device, dialer, boots, first),
            "second": seen_by(device, other_dialer, boots, second),
        }
        for existing, newcomer in (("first", "second"), ("second", "first")):
            theirs = LARGE if device == SMALL else SMALL
            stays = newcomer_stays(device, theirs, ours[existing], ours[newcomer])
            kept.add(newcomer if stays else existing)
    assert len(kept) == 1


def test_the_link_that_the_smaller_device_dialled_stays() -> None:
    dialled, called = LinkFacts(dialed=True, their_boot=BOOT, counter=1), LinkFacts(False, BOOT, 9)
    assert newcomer_stays(SMALL, LARGE, called, dialled)
    assert not newcomer_stays(SMALL, LARGE, dialled, called)
    assert newcomer_stays(LARGE, SMALL, dialled, called)


@pytest.mark.parametrize("dialed", [True, False])
def test_of_two_dials_of_one_side_the_later_stays(dialed: bool) -> None:  # noqa: FBT001 - who dialled
    earlier, later = (LinkFacts(dialed, BOOT, counter) for counter in (4, 5))
    assert newcomer_stays(SMALL, LARGE, earlier, later)
    assert not newcomer_stays(SMALL, LARGE, later, earlier)


@pytest.mark.parametrize("dialed", [True, False])
def test_a_restarted_peer_replaces_its_earlier_life(dialed: bool) -> None:  # noqa: FBT001 - who dialled
    existing = LinkFacts(dialed=True, their_boot=BOOT, counter=900)
    assert newcomer_stays(SMALL, LARGE, existing, LinkFacts(dialed, REBOOT, 1))


def test_the_links_of_a_device_do_not_grow_with_the_space() -> None:
    chance = Random(1)
    members = [chance.randbytes(32) for _ in range(200)]
    chosen = {one: links.chosen(one, members, {other: chance.random() for other in members}) for one in members}
    assert all(8 <= len(some) <= links.CHOSEN_LINKS + links.RANDOM_LINKS for some in chosen.values())
    assert all(one not in some for one, some in chosen.items())
    incoming = Counter(other for some in chosen.values() for other in some)
    assert max(incoming.values()) < 40, "nobody is everybody's choice"


def test_everybody_is_reached_in_a_large_space() -> None:
    chance = Random(2)
    members = [chance.randbytes(32) for _ in range(60)]
    chosen = {one: links.chosen(one, members, {other: chance.random() for other in members}) for one in members}
    reached, new = {members[0]}, [members[0]]
    while new:
        one = new.pop()
        for other in members:
            if other not in reached and (other in chosen[one] or one in chosen[other]):
                reached.add(other)
                new.append(other)
    assert reached == set(members)
