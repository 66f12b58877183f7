from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from peerd.net.limits import Gate, Limits


def test_the_defaults_are_those_of_the_specification() -> None:
    """Five seconds, 4 per address, 32 in all, 10 handshakes a second."""
    limits = Limits()
    assert (limits.opening_s, limits.per_address, limits.in_all, limits.handshakes_per_s) == (5, 4, 32, 10)


def test_one_address_has_four_connections() -> None:
    """The fifth is refused, another address is not, and one that leaves makes room."""
    gate = Gate(Limits(), 0)
    assert [gate.enter("a", 0) for _ in range(4)] == [None] * 4
    assert gate.enter("a", 0) == "too many connections from this address"
    assert gate.enter("b", 0) is None
    gate.leave("a")
    assert gate.enter("a", 0) is None


def test_all_addresses_together_have_32() -> None:
    """However many addresses an attacker has."""
    gate = Gate(Limits(), 0)
    assert [gate.enter(f"host {number}", number) for number in range(32)] == [None] * 32
    assert gate.enter("one more", 100) == "too many connections that have not said who they are"
    gate.leave("host 0")
    assert gate.enter("one more", 100) is None
    assert gate.waiting == 32


def test_ten_handshakes_a_second() -> None:
    """Ten at once, then one every tenth of a second, and never more than ten saved up."""
    gate = Gate(Limits(in_all=1000), 50)

    def burst(now_s: float) -> int:
        return sum(gate.enter(f"{now_s} {number}", now_s) is None for number in range(30))

    assert [burst(now_s) for now_s in (50, 50, 50.25, 51.5, 9999)] == [10, 0, 2, 10, 10]


def test_a_refused_connection_costs_nothing() -> None:
    """Neither a slot nor a handshake: an address that knocks on and on does not lock itself or others out."""
    gate = Gate(Limits(), 0)
    for _ in range(4):
        gate.enter("a", 0)
    for _ in range(1000):
        assert gate.enter("a", 0) is not None
    assert [gate.enter("b", 0) for _ in range(4)] == [None] * 4
    assert gate.waiting == 8


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=200))
def test_counting_is_exact(steps: list[tuple[str, bool]]) -> None:
    """Whatever comes and goes, what counts is what is there, and nothing is remembered of who has left."""
    gate = Gate(Limits(handshakes_per_s=1e9), 0)
    there: list[str] = []
    for host, comes in steps:
        if comes:
            if gate.enter(host, 0) is None:
                there.append(host)
        elif host in there:
            gate.leave(host)
            there.remove(host)
        assert gate.waiting == len(there)
    for host in there:
        gate.leave(host)
    assert not gate._open
