"""The gate before the parser: what may pass, and how much."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from zeroconf import DNSOutgoing, DNSPointer, DNSQuestion  # type: ignore[attr-defined] # absent from its __all__

from peerd.discovery.gate import BURST_PACKETS, MAX_RECORDS, PACKETS_PER_S, Allowance, Gate, concerns_us
from peerd.discovery.station import SERVICE_TYPE


def question(flags: int = 0, name: str = SERVICE_TYPE) -> bytes:
    out = DNSOutgoing(flags)
    out.add_question(DNSQuestion(name, 12, 1))
    return out.packets()[0]


def answer(count: int = 1) -> bytes:
    out = DNSOutgoing(0x8400)
    for n in range(count):
        out.add_answer_at_time(DNSPointer(SERVICE_TYPE, 12, 1, 120, f"n{n}.{SERVICE_TYPE}", 0.0), 0)
    return out.packets()[0]


def test_questions_and_answers_about_peerd_pass() -> None:
    """A question from any port (a one-shot resolver), an answer from port 5353."""
    assert concerns_us(question(), 5353)
    assert concerns_us(question(), 40000)
    assert concerns_us(answer(), 5353)


@pytest.mark.parametrize(
    ("packet", "port"),
    [
        (b"", 5353),
        (b"peerd", 5353),
        (question(name="_ipp._tcp.local."), 5353),
        (question(name="_services._dns-sd._udp.local."), 5353),
        (question(flags=0x0200), 5353),
        (answer(), 5354),
        (answer(MAX_RECORDS + 1), 5353),
        (answer() + bytes(1500), 5353),
    ],
    ids=["empty", "header cut", "printer", "enumeration", "truncated", "wrong port", "too many", "too long"],
)
def test_everything_else_is_dropped_as_bytes(packet: bytes, port: int) -> None:
    """Other services, lists in several packets, answers from elsewhere, and what no device of ours sends."""
    assert not concerns_us(packet, port)


def test_any_bytes_are_judged_without_raising() -> None:
    """The judgement reads a few bytes and needs no form."""
    chance = random.Random(5)
    for _ in range(5000):
        packet = chance.randbytes(chance.randrange(40)) + b"peerd" * chance.randrange(2)
        assert concerns_us(packet, 5353) in (True, False)


def test_the_rate_is_limited_and_recovers() -> None:
    """A burst passes, then as many as the rate gives, never more than a burst at once."""
    allowance = Allowance(0.0)
    assert sum(allowance.take(0.0) for _ in range(10_000)) == BURST_PACKETS
    assert sum(allowance.take(1.0) for _ in range(10_000)) == PACKETS_PER_S
    assert sum(allowance.take(1e6) for _ in range(10_000)) == BURST_PACKETS


async def test_the_gate_hands_on_what_passes_and_nothing_once_it_is_closed() -> None:
    """Errors go to the owner and not to the library."""
    heard: list[bytes] = []
    errors: list[OSError] = []

    class Inner(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, _addr: tuple[Any, int]) -> None:
            heard.append(data)

    gate = Gate(Inner(), Allowance(asyncio.get_running_loop().time()), errors.append)
    gate.datagram_received(question(), ("10.0.0.1", 5353))
    gate.datagram_received(b"noise", ("10.0.0.1", 5353))
    assert heard == [question()]
    gate.error_received(PermissionError(1, "no"))
    assert [type(error) for error in errors] == [PermissionError]
    gate.closed = True
    gate.datagram_received(question(), ("10.0.0.1", 5353))
    assert len(heard) == 1
