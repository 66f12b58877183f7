"""A hostile peer on real links, with a member's key and without: no crash, no growth, no change, nobody else harmed."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec
import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from peerd.core import chain, entry
from peerd.core.chain import Run
from peerd.core.entry import Change, Entry, Kind
from peerd.core.origin import Announcement, origin_of
from peerd.core.roster import compose
from peerd.core.roster.roster import Roster
from peerd.core.roster.statements import ADMIN, DeviceCard, SignedStatement, decode_statement, signing_input
from peerd.core.values import pack
from peerd.errors import LocalProtocolError, PeerdError
from peerd.identity import Identity
from peerd.net.link import Link
from peerd.protocol import codec
from peerd.protocol.messages import (
    Ack,
    Credit,
    Entries,
    Hello,
    Lacking,
    Part,
    Ping,
    RosterMessage,
    Summary,
    Want,
    Welcome,
)
from tests.hostile.attacker import Attacker
from tests.hostile.scene import Scene, assault
from tests.support.daemons import House

FRAMES = int(os.environ.get("PEERD_FRAMES", "3000"))
GROWTH_MIB = 160.0  # one entry of 64 MiB may come in parts, and the allocator gives back what it held when it likes
Deed = Callable[[Attacker, Link], Awaitable[None]]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with House(tmp_path_factory.mktemp("hostile")) as house:
        yield Scene(house)


@pytest.fixture(autouse=True)
def unharmed(scene: Scene) -> Iterator[None]:
    yield
    scene.check(GROWTH_MIB)


@pytest.fixture
def seed() -> int:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")  # noqa: T201 - shown by pytest with a failure
    return seed


def test_bad_frames_of_a_member(scene: Scene, seed: int) -> None:
    """Random and mutated frames in every phase. `make fuzz` sends a hundred thousand."""
    taken = asyncio.run(assault(scene.attacker(), FRAMES, seed))
    assert taken > FRAMES / 10


def test_somebody_who_is_no_member(scene: Scene) -> None:
    """Refused before a frame can be sent, as often as it tries."""
    unknown = Identity(Ed25519PrivateKey.generate(), X25519PrivateKey.generate())
    attacker = scene.attacker(identity=unknown)

    async def knock() -> None:
        for _ in range(30):
            with pytest.raises(PeerdError) as refused:
                async with attacker.dialed():
                    pass
            assert refused.value.code == "unknown-device"

    asyncio.run(knock())


# ---- out of order


async def entries_first(attacker: Attacker, link: Link) -> None:
    await attacker.say(link, Entries(attacker.space, attacker.runs))


async def want_first(attacker: Attacker, link: Link) -> None:
    await attacker.say(link, Want(attacker.space, {}, 1 << 20))


async def another_hello(attacker: Attacker, link: Link) -> None:
    await attacker.say(link, Hello([1, 0], attacker.boot, 9, 1, 0, [], "", ""))


async def an_unknown_type(attacker: Attacker, link: Link) -> None:
    await link.send(msgspec.msgpack.encode((99, 0, {})))


@pytest.mark.parametrize("deed", [entries_first, want_first, another_hello, an_unknown_type])
def test_the_wrong_order(scene: Scene, deed: Deed) -> None:
    """The link is closed."""
    attacker = scene.attacker()

    async def attack() -> str:
        async with attacker.streaming():
            pass
        async with attacker.greeted() as link:
            await attacker.say(link, Welcome([attacker.space]))
            await attacker.hear(link, RosterMessage)
            await deed(attacker, link)
            return await attacker.end_of(link)

    assert asyncio.run(attack())


def test_something_else_than_hello_first(scene: Scene) -> None:
    """The link is closed."""
    attacker = scene.attacker()

    async def attack() -> str:
        async with attacker.dialed() as link:
            await link.send(codec.encode(Ping(1, 1)))
            return await attacker.end_of(link)

    assert asyncio.run(attack())


# ---- too much


async def oversize(attacker: Attacker, link: Link) -> None:
    link._max_frame_bytes = 1 << 30  # our own conscience is switched off
    await link.send(bytes(2 << 20))


async def bomb(attacker: Attacker, link: Link) -> None:
    """A small frame that grows to 200 MiB."""
    await link.send(zstandard.ZstdCompressor(level=19).compress(bytes(200 << 20)))


async def beyond_the_credit(attacker: Attacker, link: Link) -> None:
    """Megabytes of runs, none of which was allowed, and that cannot be verified either."""
    origin = attacker.runs[0].origin
    for number in range(64):
        run = Run(origin, 10_000 + number, (os.urandom(500_000),), bytes(64))
        await attacker.say(link, Entries(attacker.space, [run]))


async def endless_parts(attacker: Attacker, link: Link) -> None:
    """A large entry that begins again and again, and one that never ends."""
    origin = attacker.runs[0].origin
    for _ in range(40):
        await attacker.say(link, Part(attacker.space, origin, 9, 0, 1000, bytes(500_000)))
    for number in range(1, 200):
        await attacker.say(link, Part(attacker.space, origin, 9, number, 1000, bytes(500_000)))


@pytest.mark.parametrize("deed", [oversize, bomb, beyond_the_credit, endless_parts])
def test_too_much_at_once(scene: Scene, deed: Deed) -> None:
    """The link is closed, and what was held for it is given back."""
    attacker = scene.attacker()

    async def attack() -> str:
        async with attacker.streaming() as link:
            reading = asyncio.create_task(attacker.end_of(link))
            try:
                await deed(attacker, link)
            except LocalProtocolError:
                raise
            except PeerdError:
                pass
            return await reading

    assert asyncio.run(attack())


# ---- floods that break no rule one by one


def flood_of(kind: str, attacker: Attacker, number: int) -> Any:
    space = attacker.space
    match kind:
        case "acks":
            return Ack(space, {os.urandom(16): 5 for _ in range(9_000)}, bytes(16))
        case "wants":
            return Want(space, {os.urandom(16): 5 for _ in range(9_000)}, 0)
        case "summaries":
            return Summary(space, [(os.urandom(16), 5, bytes(8)) for _ in range(9_000)], bytes(16))
        case "lacking":
            return Lacking(space, [("notes", os.urandom(100).hex()) for _ in range(1_000)])
        case "statements":
            return RosterMessage(
                space, os.urandom(16), [SignedStatement(os.urandom(200), bytes(64)) for _ in range(900)]
            )
        case "spaces":
            return Welcome([space, *(os.urandom(16) for _ in range(900))])
        case "credit":
            return Credit(space, 1 << 30)
        case _:
            return Ping(number, 1)


@pytest.mark.parametrize("kind", ["acks", "wants", "summaries", "lacking", "statements", "spaces", "credit", "pings"])
def test_a_flood(scene: Scene, kind: str) -> None:
    """Each message is allowed, and so many of them must not fill the memory; a link that is closed is opened again."""
    attacker = scene.attacker()

    async def attack() -> None:
        left = 150
        while left > 0:
            async with attacker.streaming(take=False) as link:
                reading = asyncio.create_task(attacker.end_of(link))
                frames = [codec.encode(flood_of(kind, attacker, number)) for number in range(left)]
                left -= max(10, await attacker.send_all(link, frames))
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    asyncio.run(attack())


# ---- lies


def own_entry(text: str) -> bytes:
    change = Change(Kind.PUT, "notes", "lie", {"text": msgspec.Raw(pack(text))})
    return entry.encode(Entry(1, 1_750_000_000_000, 0, (), None, (change,)))


def signed_run(attacker: Attacker, origin: bytes, first: int, head: bytes, *, space: bytes | None = None) -> Run:
    """A run of one entry, signed with the attacker's key."""
    data = own_entry("a lie")
    after = chain.hash_after(head, (data,))
    signature = attacker.identity.sign(chain.signed_bytes(space or attacker.space, origin, first, after))
    return Run(origin, first, (data,), signature)


def head_of(attacker: Attacker, origin: bytes, device: bytes) -> tuple[int, bytes]:
    """Where an origin stands, from what the victim sent."""
    head, seq = chain.first_hash(attacker.space, device, origin), 0
    for run in sorted((one for one in attacker.runs if one.origin == origin), key=lambda one: one.first):
        head, seq = chain.hash_after(head, run.entries), run.last
    return seq, head


def lies(attacker: Attacker, other: Attacker) -> dict[str, Entries]:
    """What a member could send to make a copy apply what its author never wrote."""
    space = attacker.space
    by_device = {one.device: one for one in attacker.origins.values()}
    mine = by_device[attacker.identity.device]
    theirs = next(one for device, one in by_device.items() if device != attacker.identity.device)
    my_origin, their_origin = origin_of(space, mine), origin_of(space, theirs)
    my_seq, my_head = head_of(attacker, my_origin, mine.device)
    their_seq, their_head = head_of(attacker, their_origin, theirs.device)
    invented = Announcement(os.urandom(32), mine.admission, os.urandom(16))
    good = signed_run(attacker, my_origin, my_seq + 1, my_head)
    (replayed,) = [run for run in other.runs if run.origin == origin_of(other.space, _own(other))][:1]
    return {
        "another's origin": Entries(space, [signed_run(attacker, their_origin, their_seq + 1, their_head)], [theirs]),
        "no signature": Entries(space, [Run(my_origin, my_seq + 1, good.entries, b"")], [mine]),
        "a changed entry": Entries(space, [Run(my_origin, my_seq + 1, (own_entry("else"),), good.signature)], [mine]),
        "signed for another space": Entries(
            space, [signed_run(attacker, my_origin, my_seq + 1, my_head, space=other.space)], [mine]
        ),
        "a run of another space": Entries(space, [replayed], [_own(other)]),
        "a device that nobody admitted": Entries(space, [], [invented]),
        "an origin that was not announced": Entries(space, [Run(os.urandom(16), 1, good.entries, good.signature)]),
        "history written again": Entries(space, [Run(my_origin, my_seq, (own_entry("else"),), good.signature)], [mine]),
        "nothing in an entry": Entries(space, [Run(my_origin, my_seq + 1, (b"",), good.signature)], [mine]),
        "no entry in a run": Entries(space, [Run(my_origin, my_seq + 1, (), good.signature)], [mine]),
    }


def _own(attacker: Attacker) -> Announcement:
    return next(one for one in attacker.origins.values() if one.device == attacker.identity.device)


def test_forged_and_replayed_runs(scene: Scene) -> None:
    """None is applied, whoever they claim to be from."""
    attacker, other = scene.attacker("home"), scene.attacker("other")

    async def attack() -> None:
        for one in (attacker, other):
            async with one.streaming():
                pass
        for message in lies(attacker, other).values():
            async with attacker.streaming(take=False) as link:
                await attacker.say(link, message)
                await attacker.say(link, Ping(77, 1))
                reading = asyncio.create_task(attacker.end_of(link))
                await asyncio.wait([reading], timeout=1)
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    asyncio.run(attack())


def test_statements_of_somebody_who_may_not(scene: Scene) -> None:
    """A stranger admits itself, in good form and signed: nobody believes it, whoever brings it."""
    attacker = scene.attacker()
    unknown = Identity(Ed25519PrivateKey.generate(), X25519PrivateKey.generate())
    card = DeviceCard(unknown.public_key, unknown.sealing_public_key, "stranger")
    genesis = compose.signed(compose.found_space("home", card, bytes(16)), unknown.sign)
    own_space = decode_statement(genesis.data).space
    roster, _ = Roster(own_space, Identity.verify).with_statements([genesis])
    elsewhere = compose.signed(compose.admit(roster, unknown.device, scene_card(), ADMIN), unknown.sign)
    here = elsewhere.data.replace(own_space, attacker.space)
    assert here != elsewhere.data
    forged = SignedStatement(here, unknown.sign(signing_input(here)))

    async def attack() -> None:
        async with attacker.streaming(take=False) as link:
            await attacker.say(link, RosterMessage(attacker.space, os.urandom(16), [genesis, elsewhere, forged]))
            await attacker.say(link, Ping(1, 1))
            reading = asyncio.create_task(attacker.end_of(link))
            await asyncio.wait([reading], timeout=1)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    asyncio.run(attack())


def scene_card() -> DeviceCard:
    other = Identity(Ed25519PrivateKey.generate(), X25519PrivateKey.generate())
    return DeviceCard(other.public_key, other.sealing_public_key, "accomplice")


def test_announcements_without_end(scene: Scene) -> None:
    """A member makes up origins of its own by the thousand: those that have written nothing are not kept."""
    attacker = scene.attacker()

    async def attack() -> None:
        async with attacker.streaming():
            pass
        mine = _own(attacker)
        seq, head = head_of(attacker, origin_of(attacker.space, mine), mine.device)
        waits = signed_run(attacker, origin_of(attacker.space, mine), seq + 5, head)
        for _ in range(10):
            async with attacker.streaming(take=False) as link:
                made_up = [Announcement(mine.device, mine.admission, os.urandom(16)) for _ in range(9_000)]
                await attacker.say(link, Entries(attacker.space, [waits], [mine, *made_up]))
                await attacker.say(link, Ping(1, 1))
                reading = asyncio.create_task(attacker.end_of(link))
                await asyncio.wait([reading], timeout=1)
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    asyncio.run(attack())
