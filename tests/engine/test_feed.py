"""The feed: nothing skipped, nothing told twice, across restarts and slow readers."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import msgspec
import pytest

from peerd.core.device_id import format_device_id
from peerd.engine import feed
from peerd.engine.cursors import to_word
from peerd.engine.feed import Feed
from peerd.errors import UserError
from peerd.protocol.control.messages import ChangeEvent, ChangeRequest, CollectionChange

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from tests.engine.conftest import Device, Until


async def backlog(device: Device, since: str | None) -> list[ChangeEvent]:
    """Everything up to now."""
    return [event for batch in await batches(device, since) for event in batch]


async def batches(device: Device, since: str | None) -> list[Sequence[ChangeEvent]]:
    return [batch async for batch in await Feed(device.space).open(since, follow=False)]


async def now(device: Device) -> str:
    """A token for what comes from now on."""
    (current,) = await backlog(device, "now")
    assert current.kind == "current"
    return current.token


def told(events: list[ChangeEvent]) -> list[tuple[str, str | None]]:
    return [(event.kind, event.key) for event in events]


def puts(*keys: str, value: object = 1) -> list[ChangeRequest]:
    return [ChangeRequest(kind="put", collection="notes", key=key, value={"x": value}) for key in keys]


# --- from the beginning ---------------------------------------------------------------------------------


async def test_without_a_token_comes_the_state(desk: Device) -> None:
    await desk.put("a", {"n": 1})
    await desk.put("b", {})
    await desk.put("c", {}, "lists")
    await desk.delete("b")
    events = await backlog(desk, None)
    assert [(one.kind, one.collection, one.key, one.value) for one in events] == [
        ("reset", None, None, None),
        ("put", "lists", "c", {}),
        ("put", "notes", "a", {"n": 1}),
        ("current", None, None, None),
    ]
    assert events[2].etag == (await desk.records.read("notes", "a")).etag


async def test_an_empty_space_has_an_empty_state(desk: Device) -> None:
    assert told(await backlog(desk, None)) == [("reset", None), ("current", None)]


async def test_a_long_state_comes_in_pieces(desk: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "PAGE", 7)
    keys = [f"{n:03}" for n in range(50)]
    await desk.write(*puts(*keys))
    pieces = await batches(desk, None)
    assert max(len(piece) for piece in pieces) == 7
    assert [event.key for piece in pieces for event in piece if event.kind == "put"] == keys


async def test_a_reader_that_stops_inside_the_state_begins_anew(desk: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has not got the whole state, so none of its tokens may lead on."""
    monkeypatch.setattr(feed, "PAGE", 2)
    await desk.write(*puts("a", "b", "c", "d", "e"))
    for stop_after in range(1, 4):
        stream = await Feed(desk.space).open(None, follow=False)
        seen = [event for _ in range(stop_after) for event in await anext(stream)]
        await stream.aclose()
        for event in seen:
            assert told(await backlog(desk, event.token))[:2] == [("reset", None), ("put", "a")]


async def test_what_happens_while_the_state_is_told_is_told_after_it(
    desk: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "PAGE", 1)
    await desk.write(*puts("a", "b", "c"))
    stream = await Feed(desk.space).open(None, follow=False)
    events = [*await anext(stream), *await anext(stream)]
    await desk.delete("a")
    await desk.put("b", {"x": 2})
    events += [event async for batch in stream for event in batch]
    assert told(events) == [
        ("reset", None), ("put", "a"), ("put", "b"), ("put", "c"), ("delete", "a"), ("put", "b"), ("current", None),
    ]  # fmt: skip


async def test_the_settings_of_collections_stay_hidden(desk: Device) -> None:
    await desk.records.set_collection("notes", CollectionChange(policy="max"))
    since = await now(desk)
    await desk.put("a", {})
    await desk.records.set_collection("lists", CollectionChange(policy="min"))
    assert told(await backlog(desk, None)) == [("reset", None), ("put", "a"), ("current", None)]
    assert told(await backlog(desk, since)) == [("put", "a"), ("current", None)]


async def test_many_hidden_changes_end_no_feed(desk: Device) -> None:
    """Behind more of them than are read at once there is still something to tell."""
    since = await now(desk)
    for n in range(80):
        await desk.records.set_collection(f"c{n}", CollectionChange(policy="max"))
    await desk.put("a", {})
    assert told(await backlog(desk, since)) == [("put", "a"), ("current", None)]


# --- going on -------------------------------------------------------------------------------------------


async def test_an_event_says_who_wrote_what_and_when(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    since = await now(desk)
    written = await laptop.put("a", {"x": 1})
    await laptop.tell(desk)
    event = (await backlog(desk, since))[0]
    assert event.device == format_device_id(laptop.id)
    assert event.dot == written.dot
    assert event.time_ms == laptop.clock.wall_ms()
    assert (event.collection, event.key, event.value) == ("notes", "a", {"x": 1})


async def test_a_conflict_is_told_with_the_event(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    await desk.put("a", {"x": 1})
    since = await now(desk)
    await laptop.put("a", {"x": 2})
    await laptop.tell(desk)
    assert (await backlog(desk, since))[0].conflicts == ["x"]


async def test_an_edit_that_is_parked_is_told_as_gone(two: tuple[Device, Device]) -> None:
    """And what was restored as back."""
    desk, laptop = two
    await desk.put("a", {"x": 0, "y": 0})
    await desk.tell(laptop)
    since = await now(desk)
    await laptop.delete("a")
    await desk.put("a", {"x": 1, "y": 0})
    await laptop.tell(desk)
    events = await backlog(desk, since)
    assert events[-2].value == {"x": 1, "y": 0}
    assert events[-2].conflicts == ["(deleted)"]
    since = await now(laptop)
    laptop.space.presence.note_seen(desk.id)  # so that the author is waited for
    rows = (await desk.space.store.runs_after(0, 1 << 20)).rows
    edit = next(row.run for row in rows[1:] if row.run.origin == desk.space.commits.own_origin)
    await laptop.space.commits.take([at.announcement for at in desk.space.copy.origins.values()], [edit])
    assert told(await backlog(laptop, since))[0] == ("delete", "a")


async def test_a_token_goes_on_after_its_event_even_inside_a_transaction(desk: Device) -> None:
    """Wherever a reader stops, the rest is what it has not had; and a restart changes nothing."""
    since = await now(desk)
    await desk.put("a", {"x": 0})
    await desk.write(*puts("b", "c", "d", value=2))
    await desk.delete("a")
    await asyncio.gather(*(desk.put(f"e{n}", {}) for n in range(5)))  # several transactions of one run
    every = await backlog(desk, since)
    assert len(every) == 11
    again = await desk.reopen()
    for stopped, event in enumerate(every):
        rest = await backlog(again, event.token)
        assert [msgspec.structs.asdict(one) for one in rest[:-1]] == [
            msgspec.structs.asdict(one) for one in every[stopped + 1 : -1]
        ]
        assert rest[-1].kind == "current"
    assert (await backlog(again, every[-1].token))[0].token == every[-1].token


async def test_an_event_shows_the_record_as_it_is_now(desk: Device) -> None:
    since = await now(desk)
    await desk.put("a", {"x": 1})
    await desk.put("a", {"x": 2})
    await desk.put("b", {})
    await desk.delete("b")
    events = await backlog(desk, since)
    assert [(one.kind, one.value) for one in events] == [
        ("put", {"x": 2}), ("put", {"x": 2}), ("delete", None), ("delete", None), ("current", None),
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
async def test_readers_that_come_and_go_know_the_state(desk: Device, seed: int) -> None:
    """Whatever the pieces: told in order and once, ending in what is true."""
    chance = random.Random(seed)
    reader = Reader()
    for _ in range(30):
        for _ in range(chance.randrange(4)):
            keys = chance.sample("abcdef", chance.randrange(1, 4))
            if chance.random() < 0.3:
                await desk.write(*(ChangeRequest(kind="delete", collection="notes", key=key) for key in keys))
            else:
                await desk.write(*puts(*keys, value=chance.randrange(1000)))
        stream = await Feed(desk.space).open(reader.token, follow=False)
        stop_after = chance.randrange(6)
        async for event in one_by_one(stream):
            reader.hear(event)
            stop_after -= 1
            if stop_after == 0:
                break
        await stream.aclose()
    for event in await backlog(desk, reader.token):
        reader.hear(event)
    page = await desk.records.list("notes", "", 100, None)
    assert reader.known == {view.key: view.value for view in page.records}
    assert len(reader.dots) == len(set(reader.dots))


class Reader:
    """Somebody who keeps a copy of its own, and the last token."""

    def __init__(self) -> None:
        self.token: str | None = None
        self.known: dict[str | None, object] = {}
        self.dots: list[tuple[str, str | None]] = []

    def hear(self, event: ChangeEvent) -> None:
        self.token = event.token
        if event.kind == "reset":
            self.known.clear()
        elif event.kind == "put":
            self.known[event.key] = event.value
        elif event.kind == "delete":
            self.known.pop(event.key, None)
        if event.dot is not None:
            self.dots.append((event.dot, event.key))


async def one_by_one(stream: AsyncGenerator[Sequence[ChangeEvent], None]) -> AsyncGenerator[ChangeEvent, None]:
    async for batch in stream:
        for event in batch:
            yield event


# --- tokens that lead nowhere ---------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["", "!!!", "tomorrow", "é", to_word(("x", 1, 1)), to_word((b"", 0, 0)) + "="])
async def test_a_token_that_is_none_of_ours_is_refused_at_once(desk: Device, word: str) -> None:
    with pytest.raises(UserError) as refused:
        await Feed(desk.space).open(word, follow=True)
    assert (refused.value.code, refused.value.status) == ("bad-cursor", 400)


async def test_a_token_of_another_copy_begins_anew(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    await desk.put("a", {})
    await desk.tell(laptop)
    since = await now(desk)
    assert told(await backlog(laptop, since)) == [("reset", None), ("put", "a"), ("current", None)]


async def test_a_token_of_a_longer_past_begins_anew(desk: Device) -> None:
    """As after a disk that lost what it had promised."""
    await desk.put("a", {})
    position = desk.space.commits.last_position
    ahead = to_word((desk.space.copy_id, position + 1, 1))
    assert told(await backlog(desk, ahead))[0] == ("reset", None)
    assert told(await backlog(desk, to_word((desk.space.copy_id, position, 1)))) == [("current", None)]
    assert told(await backlog(desk, to_word((desk.space.copy_id, -5, 0))))[-2:] == [("put", "a"), ("current", None)]


# --- following ------------------------------------------------------------------------------------------


async def test_a_follower_is_woken_by_commits(two: tuple[Device, Device]) -> None:
    """By its own device's and by others'; each time it hears that there is no more for now."""
    desk, laptop = two
    stream = await Feed(desk.space).open("now", follow=True)
    events = one_by_one(stream)
    assert (await anext(events)).kind == "current"
    for device, key in [(desk, "a"), (laptop, "b"), (desk, "c")]:
        following = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        assert not following.done()
        await device.put(key, {})
        if device is laptop:
            await laptop.tell(desk)
        assert (await following).key == key
        assert (await anext(events)).kind == "current"
    await events.aclose()
    await stream.aclose()


async def test_a_follower_that_leaves_is_forgotten(desk: Device) -> None:
    listeners = len(desk.space.on_commit)
    stream = await Feed(desk.space).open("now", follow=True)
    await anext(stream)
    assert len(desk.space.on_commit) == listeners + 1
    await stream.aclose()
    assert len(desk.space.on_commit) == listeners


async def test_a_hidden_commit_wakes_nobody_for_nothing(desk: Device, until: Until) -> None:
    stream = await Feed(desk.space).open("now", follow=True)
    await anext(stream)
    following = asyncio.ensure_future(anext(stream))
    await desk.records.set_collection("notes", CollectionChange(policy="max"))
    await asyncio.sleep(0)
    assert not following.done()
    await desk.put("a", {})
    assert (await following)[0].key == "a"
    await stream.aclose()


async def test_nothing_queues_up_behind_a_slow_reader(desk: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told is read when the reader is ready for it, at most some bytes at a time."""
    monkeypatch.setattr(feed, "BATCH_BYTES", 10_000)
    stream = await Feed(desk.space).open("now", follow=True)
    await anext(stream)
    keys = [f"{n:03}" for n in range(200)]
    for key in keys:
        await desk.put(key, {"x": "y" * 1000})
    seen: list[str | None] = []
    async for batch in stream:
        assert len(msgspec.json.encode(batch)) < 20_000
        seen += [event.key for event in batch if event.kind == "put"]
        if batch[-1].kind == "current":
            break
    await stream.aclose()
    assert seen == keys


async def test_small_edits_of_large_records_make_no_huge_batch(desk: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each event shows the whole record, so the log's size says nothing about what is told."""
    monkeypatch.setattr(feed, "BATCH_BYTES", 50_000)
    await desk.put("a", {"large": "x" * 40_000, "n": 0})
    since = await now(desk)
    for n in range(1, 40):
        await desk.patch("a", set={"n": n})
    await desk.write(*puts(*(f"b{n}" for n in range(30)), value="y" * 5000))
    pieces = await batches(desk, since)
    assert max(len(msgspec.json.encode(piece)) for piece in pieces) < 120_000
    events = [event for piece in pieces for event in piece]
    assert [event.key for event in events] == ["a"] * 39 + [f"b{n}" for n in range(30)] + [None]
    for event in (events[0], events[38], events[45]):
        rest = await backlog(desk, event.token)
        assert len(rest) == len(events) - events.index(event) - 1


async def test_dots_are_written_in_one_way(desk: Device) -> None:
    written = await desk.put("a", {})
    origin = desk.space.commits.own_origin
    assert origin is not None
    assert written.dot == f"{origin.hex()}:1"
    (row,) = (await desk.space.store.runs_after(0, 1000)).rows
    assert row.run.first == 1
