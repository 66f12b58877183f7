"""Which of two links stays, and with whom a device keeps links at all."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, permutations, product
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


# --- every small history of links -------------------------------------------------------------------------


def settle(order: dict[bytes, tuple[int, ...]], facts: dict[int, dict[bytes, LinkFacts]]) -> dict[bytes, int | None]:
    """Each end greets on the links in its own order; a link that one end closes is closed for both in the end.
    Gives the link that each end is left with.
    """
    current: dict[bytes, int | None] = {SMALL: None, LARGE: None}
    closed: set[int] = set()
    for device, other in ((SMALL, LARGE), (LARGE, SMALL)):
        for link in order[device]:
            existing = current[device]
            if existing is None:
                current[device] = link
            elif newcomer_stays(device, other, facts[existing][device], facts[link][device]):
                closed.add(existing)
                current[device] = link
            else:
                closed.add(link)
    return {device: None if link in closed else link for device, link in current.items()}


LINKS = [(dialer, counter) for dialer in (SMALL, LARGE) for counter in (1, 2, 3)]


@pytest.mark.parametrize("many", [1, 2, 3])
def test_exactly_one_link_is_left_of_any_few_in_any_order_at_either_end(many: int) -> None:
    """Exhaustive for two processes: who dialled, with which number, and in which order each end hears of them."""
    boots = {SMALL: BOOT, LARGE: REBOOT}
    for some in combinations(LINKS, many):
        facts = {
            number: {device: seen_by(device, dialer, boots, counter) for device in (SMALL, LARGE)}
            for number, (dialer, counter) in enumerate(some)
        }
        for one, other in product(permutations(range(many)), repeat=2):
            left = settle({SMALL: one, LARGE: other}, facts)
            assert left[SMALL] is not None
            assert left[SMALL] == left[LARGE]


def test_after_a_restart_only_the_links_of_the_living_process_matter() -> None:
    """The other process is gone with its links; the one that stayed may still hold any of them."""
    for (dead_dialer, dead_counter), (dialer, counter) in product(LINKS, repeat=2):
        for restarted, stayed in ((SMALL, LARGE), (LARGE, SMALL)):
            before = seen_by(stayed, dead_dialer, {restarted: BOOT, stayed: BOOT}, dead_counter)
            after = seen_by(stayed, dialer, {restarted: REBOOT, stayed: BOOT}, counter)
            assert newcomer_stays(stayed, restarted, before, after)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [17, 50])
def test_a_larger_space_is_connected_and_nobody_has_many_links(count: int, seed: int) -> None:
    chance = Random(seed)
    members = [chance.randbytes(32) for _ in range(count)]
    neighbours: dict[bytes, set[bytes]] = {one: set() for one in members}
    for one in members:
        for other in links.chosen(one, members, {member: chance.random() for member in members}):
            neighbours[one].add(other)
            neighbours[other].add(one)
    reached, new = {members[0]}, [members[0]]
    while new:
        fresh = neighbours[new.pop()] - reached
        reached |= fresh
        new += fresh
    assert reached == set(members)
    assert max(map(len, neighbours.values())) <= 3 * (links.CHOSEN_LINKS + links.RANDOM_LINKS)
    assert min(map(len, neighbours.values())) >= links.CHOSEN_LINKS


def test_a_member_more_or_less_changes_few_links() -> None:
    """Rendezvous hashing: whoever comes takes the place of at most one in each choice."""
    chance = Random(3)
    members = [chance.randbytes(32) for _ in range(50)]
    ranks = {member: chance.random() for member in members}
    for one in members[:-1]:
        before, after = links.chosen(one, members[:-1], ranks), links.chosen(one, members, ranks)
        assert len(before - after) <= 2
