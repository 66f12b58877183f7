"""Static addresses: what may be written, what is refused and how, and what stands behind a name."""

from __future__ import annotations

import asyncio
import random

import pytest

from peerd.discovery.addresses import MAX_LOOKUPS, Resolver, parse_address
from peerd.errors import LinkLost, UserError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("nas", ("nas", 7337)),
        ("nas.lan:7000", ("nas.lan", 7000)),
        ("nas.local.", ("nas.local.", 7337)),
        ("192.168.1.7", ("192.168.1.7", 7337)),
        ("192.168.1.7:1", ("192.168.1.7", 1)),
        ("[fd00::7]:65535", ("fd00::7", 65535)),
        ("[fd00::7]", ("fd00::7", 7337)),
        ("fd00::7", ("fd00::7", 7337)),
        ("[fe80::7%eth0]:7337", ("fe80::7%eth0", 7337)),
    ],
)
def test_an_address_as_people_write_it(text: str, address: tuple[str, int]) -> None:
    """The usual port is filled in; brackets come off."""
    assert parse_address(text, "network.peers") == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":7337",
        "nas:",
        "nas:0",
        "nas:65536",
        "nas:http",
        "nas lan",
        "-nas",
        "na\x1b[31ms",
        "http://nas",
        "[nas]:7337",
        "[fd00::7",
        "fd00::7]:1",
        "[fd00::zz]:1",
        "256.1.1.1",
        "1.2.3",
        "a" * 64,
        ".".join(["a" * 60] * 5),
        "nas..lan",
    ],
)
def test_what_is_no_address_is_refused_with_the_setting_and_a_way_out(text: str) -> None:
    """The sentence names the setting and shows what was written, harmlessly."""
    with pytest.raises(UserError) as refused:
        parse_address(text, "network.peers")
    assert str(refused.value).startswith("network.peers: ")
    assert str(refused.value).isprintable()
    assert "[IPv6]:port" in refused.value.next_step


def test_any_text_is_an_address_or_refused() -> None:
    """Nothing else is ever raised."""
    chance = random.Random(4)
    accepted = 0
    for _ in range(5000):
        text = "".join(chance.choice("a1.:[]%-f é") for _ in range(chance.randrange(12)))
        try:
            host, port = parse_address(text, "x")
        except UserError:
            continue
        accepted += 1
        assert host
        assert 1 <= port <= 65535
    assert accepted


async def test_all_addresses_behind_a_name_are_kept() -> None:
    """In the resolver's order, each once, with the port; a static sighting has nothing to recognise."""

    async def lookup(host: str, port: int) -> list[str]:
        assert (host, port) == ("nas", 7000)
        return ["fd00::7", "10.0.0.7", "fd00::7"]

    sighting = await Resolver(lookup).sight(("nas", 7000))
    assert sighting.addresses == (("fd00::7", 7000), ("10.0.0.7", 7000))
    assert (sighting.source, sighting.instance) == ("static", "static-nas:7000")
    assert (sighting.nonce, sighting.tags, sighting.pairing_name) == (b"", (), None)


async def test_a_literal_address_needs_nobody() -> None:
    """The system's own resolver gives it back, a scope included."""
    resolver = Resolver()
    assert (await resolver.sight(("127.0.0.1", 7337))).addresses == (("127.0.0.1", 7337),)
    assert (await resolver.sight(("fe80::1%lo", 7337))).addresses == (("fe80::1%lo", 7337),)


async def test_an_unknown_name_is_weather() -> None:
    """It may be known later; the sentence says what to look at."""

    async def unknown(_host: str, _port: int) -> list[str]:
        raise OSError(-2, "Name or service not known")

    async def nothing(_host: str, _port: int) -> list[str]:
        return []

    with pytest.raises(LinkLost, match="nas cannot be resolved: Name or service not known") as lost:
        await Resolver(unknown).sight(("nas", 7337))
    assert lost.value.code == "unresolved"
    assert "network.peers" in lost.value.next_step
    with pytest.raises(LinkLost, match="it has no address"):
        await Resolver(nothing).sight(("nas", 7337))


async def test_a_slow_answer_is_not_waited_for_but_not_lost() -> None:
    """The caller gets on after its time; the one lookup goes on, and a later call meets its end."""
    go, asked = asyncio.Event(), 0

    async def slow(_host: str, _port: int) -> list[str]:
        nonlocal asked
        asked += 1
        await go.wait()
        return ["10.0.0.7"]

    resolver = Resolver(slow)
    for _ in range(3):
        with pytest.raises(LinkLost, match="no answer"):
            await resolver.sight(("nas", 7337), timeout_s=0.01)
    assert asked == 1
    waiting = asyncio.create_task(resolver.sight(("nas", 7337)))
    await asyncio.sleep(0)
    go.set()
    assert (await waiting).addresses == (("10.0.0.7", 7337),)


async def test_only_a_few_names_are_looked_up_at_once() -> None:
    """Each occupies a thread for as long as a broken resolver likes."""
    running, most, go = 0, 0, asyncio.Event()

    async def slow(_host: str, _port: int) -> list[str]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await go.wait()
        running -= 1
        return ["10.0.0.7"]

    resolver = Resolver(slow)
    waiting = [asyncio.create_task(resolver.sight((f"host{n}", 7337))) for n in range(3 * MAX_LOOKUPS)]
    await asyncio.sleep(0.05)
    go.set()
    await asyncio.gather(*waiting)
    assert most == MAX_LOOKUPS


async def test_closing_ends_what_is_running() -> None:
    """The guards of the suite look for tasks left behind."""

    async def never(_host: str, _port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    resolver = Resolver(never)
    waiting = asyncio.create_task(resolver.sight(("nas", 7337)))
    await asyncio.sleep(0.01)
    await resolver.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
