"""The table of what is announced at the moment: merging, forgetting, and its bounds."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from peerd.core.tags import Announcement
from peerd.discovery.candidates import MAX_ENTRIES_EACH, MAX_SIGHTINGS, Candidates, instance_of
from peerd.discovery.sightings import MAX_ADDRESSES

ETH, WLAN = 2, 3
AT_ETH, AT_WLAN = (("10.0.0.7", 7337),), (("10.1.0.7", 7337),)


def said(n: int = 0, **more: object) -> Announcement:
    return Announcement(n.to_bytes(16), **more)  # type: ignore[arg-type] # the test's own shorthand


def test_one_announcement_on_two_links_is_one_sighting_with_both_addresses() -> None:
    """The same words under two names and on two interfaces come from one device."""
    table = Candidates()
    first, _ = table.seen((ETH, "a"), said(), AT_ETH)
    both, gone = table.seen((WLAN, "b"), said(), AT_WLAN)
    assert first is not None
    assert both is not None
    assert not gone
    assert first.instance == both.instance
    assert both.addresses == AT_ETH + AT_WLAN
    assert len(table) == 1


def test_each_links_best_address_comes_before_any_second_best() -> None:
    """Who dials in order tries every link early."""
    table = Candidates()
    table.seen((ETH, "a"), said(), (("10.0.0.7", 1), ("fe80::7%eth0", 1)))
    both, _ = table.seen((WLAN, "b"), said(), (("10.1.0.7", 1), ("fe80::7%wlan0", 1)))
    assert both is not None
    assert [host for host, _ in both.addresses] == ["10.0.0.7", "10.1.0.7", "fe80::7%eth0", "fe80::7%wlan0"]


def test_a_repetition_is_no_news() -> None:
    """Announcements are sent three times and repeated at every question."""
    table = Candidates()
    assert table.seen((ETH, "a"), said(), AT_ETH)[0] is not None
    assert table.seen((ETH, "a"), said(), AT_ETH) == (None, [])


def test_other_addresses_are_news() -> None:
    """The sighting is told again, whole, under the same instance."""
    table = Candidates()
    table.seen((ETH, "a"), said(), AT_ETH)
    moved, gone = table.seen((ETH, "a"), said(), AT_WLAN)
    assert moved is not None
    assert moved.addresses == AT_WLAN
    assert not gone


def test_other_words_under_the_same_name_replace_the_old() -> None:
    """What was said before no longer stands."""
    table = Candidates()
    table.seen((ETH, "a"), said(1), AT_ETH)
    fresh, gone = table.seen((ETH, "a"), said(2), AT_ETH)
    assert fresh is not None
    assert gone == [instance_of(said(1))]


def test_it_is_gone_with_its_last_link() -> None:
    """A goodbye on one link leaves what the other says."""
    table = Candidates()
    table.seen((ETH, "a"), said(), AT_ETH)
    table.seen((WLAN, "b"), said(), AT_WLAN)
    assert table.lost((ETH, "a")) == []
    assert table.lost((ETH, "a")) == []
    assert table.lost((WLAN, "b")) == [instance_of(said())]
    assert len(table) == 0


def test_after_renewal_everybody_is_news_and_the_silent_are_swept() -> None:
    """A refresh asks anew: who answers is told, who does not is gone."""
    table = Candidates()
    table.seen((ETH, "a"), said(1), AT_ETH)
    table.seen((ETH, "b"), said(2), AT_ETH)
    table.renew()
    assert table.seen((ETH, "a"), said(1), AT_ETH)[0] is not None
    assert table.sweep() == [instance_of(said(2))]
    assert table.sweep() == []


def test_a_flood_pushes_out_strangers_before_friends() -> None:
    """The oldest goes first, but not one that was recognised."""
    table = Candidates()
    for n in range(MAX_SIGHTINGS):
        table.seen((ETH, str(n)), said(n), AT_ETH)
    table.recognised(instance_of(said(0)))
    _, gone = table.seen((ETH, "new"), said(1000), AT_ETH)
    assert gone == [instance_of(said(1))]
    assert len(table) == MAX_SIGHTINGS


def test_even_friends_are_bounded() -> None:
    """When all are recognised the oldest goes."""
    table = Candidates()
    for n in range(MAX_SIGHTINGS):
        table.seen((ETH, str(n)), said(n), AT_ETH)
        table.recognised(instance_of(said(n)))
    assert table.seen((ETH, "new"), said(1000), AT_ETH)[1] == [instance_of(said(0))]


def test_many_names_for_one_announcement_are_bounded() -> None:
    """Someone who repeats a device's words under invented names adds no more than a handful of addresses."""
    table = Candidates()
    for n in range(100):
        seen, _ = table.seen((ETH, str(n)), said(), ((f"10.0.0.{n}", 7337), (f"10.0.1.{n}", 7337), (f"10.0.2.{n}", 1)))
    assert seen is not None
    assert len(seen.addresses) <= MAX_ADDRESSES
    assert len(table._instance_of) == MAX_ENTRIES_EACH


def test_the_instance_is_ours_and_not_a_strangers_word() -> None:
    """It depends on what was said and on nothing else, and is safe in a log."""
    assert instance_of(said(1, tags=(b"b" * 8, b"a" * 8))) == instance_of(said(1, tags=(b"a" * 8, b"b" * 8)))
    assert instance_of(said(1)) != instance_of(said(1, pairing_name=""))
    assert instance_of(said(1, pairing_name="\x1b[31m")).isprintable()


@given(st.randoms(use_true_random=False))
def test_in_any_history_the_table_agrees_with_itself(chance: random.Random) -> None:
    """The index and the sightings never drift apart; whoever listened knows exactly what stands."""
    table = Candidates()
    standing: set[str] = set()
    for _ in range(300):
        entry = (chance.choice((ETH, WLAN)), str(chance.randrange(200)))
        match chance.randrange(60):
            case 0:
                table.renew()
            case 1:
                standing.difference_update(table.sweep())
            case 2 | 3:
                standing.difference_update(table.lost(entry))
            case _:
                sighting, gone = table.seen(entry, said(chance.randrange(120)), AT_ETH)
                standing.difference_update(gone)
                if sighting is not None:
                    standing.add(sighting.instance)
        assert set(table._standing) == standing
        assert len(standing) <= MAX_SIGHTINGS
        assert table._instance_of == {
            entry: instance for instance, each in table._standing.items() for entry in each.entries
        }
        assert table._fresh <= set(table._instance_of)
    assert set(table.clear()) == standing
    assert len(table) == 0
