from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from peerd.errors import ConfigError
from peerd.net import sockets
from peerd.net.sockets import address_of, open_listening

BOTH = [("127.0.0.1", 0), ("::1", 0)]


@pytest.fixture
def opened() -> Iterator[list[socket.socket]]:
    """Sockets that are closed with the test."""
    held: list[socket.socket] = []
    yield held
    for sock in held:
        sock.close()


def test_port_zero_is_one_free_port_for_all(opened: list[socket.socket]) -> None:
    """Two entries with port 0 get the same port, IPv4 and IPv6."""
    held, problems = open_listening(BOTH)
    opened += held
    names = [address_of(sock.getsockname()) for sock in held]
    assert [host for host, _ in names] == ["127.0.0.1", "::1"]
    assert names[0][1] == names[1][1] != 0
    assert not problems


def test_all_addresses_of_both_kinds_share_a_port(opened: list[socket.socket]) -> None:
    """0.0.0.0 and [::] are bound side by side, because the second takes IPv6 only."""
    held, _ = open_listening([("0.0.0.0", 0), ("::", 0)])  # noqa: S104 - the case in question
    opened += held
    assert held[0].getsockname()[1] == held[1].getsockname()[1]
    assert held[1].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1


def test_a_shared_port_that_is_taken_is_chosen_anew(
    opened: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the port the first entry got is in use for the second, both get another."""
    bind = sockets._Attempt._bind
    collisions = 0

    def collide(attempt: Any, family: int, sockaddr: tuple[Any, ...], port: int) -> None:
        nonlocal collisions
        if family == socket.AF_INET6 and collisions < 2:
            collisions += 1
            raise OSError(errno.EADDRINUSE, "in use")
        bind(attempt, family, sockaddr, port)

    monkeypatch.setattr(sockets._Attempt, "_bind", collide)
    held, problems = open_listening(BOTH)
    opened += held
    assert collisions == 2
    assert held[0].getsockname()[1] == held[1].getsockname()[1]
    assert not problems


def test_a_port_in_use_names_the_setting(opened: list[socket.socket]) -> None:
    """The error names `network.listen`, the address and what to do, and nothing stays bound."""
    opened.append(socket.create_server(("127.0.0.1", 0)))
    port = opened[0].getsockname()[1]
    with pytest.raises(ConfigError) as refused:
        open_listening([("::1", 0), ("127.0.0.1", port)])
    assert len(refused.value.problems) == 1
    assert f"network.listen: cannot listen on 127.0.0.1:{port}" in str(refused.value)
    assert "in use" in str(refused.value)


def test_every_bad_entry_is_reported_at_once() -> None:
    """A name that does not exist and an address of another machine, in one error."""
    with pytest.raises(ConfigError) as refused:
        open_listening([("no such name.invalid", 0), ("192.0.2.1", 0), ("127.0.0.1", 0)])
    assert len(refused.value.problems) == 2
    assert all(problem.startswith("network.listen: ") for problem in refused.value.problems)


def test_nothing_to_listen_on_is_an_error() -> None:
    """An empty list is not a listener that nobody can reach."""
    with pytest.raises(ConfigError, match=r"network\.listen"):
        open_listening([])


@pytest.mark.parametrize("code", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_a_machine_without_ipv6_listens_on_ipv4(
    opened: list[socket.socket], monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """IPv6 switched off, in either way the kernel says so, is a problem that is reported and stops nothing."""
    bind = sockets._Attempt._bind

    def without_ipv6(attempt: Any, family: int, sockaddr: tuple[Any, ...], port: int) -> None:
        if family == socket.AF_INET6:
            raise OSError(code, "no IPv6")
        bind(attempt, family, sockaddr, port)

    monkeypatch.setattr(sockets._Attempt, "_bind", without_ipv6)
    held, problems = open_listening([("::", 0), ("127.0.0.1", 0)])
    opened += held
    assert len(held) == 1
    assert problems == ["network.listen: cannot listen on [::]:0: this machine has no IPv6"]
    with pytest.raises(ConfigError, match="no IPv6"):
        open_listening([("::", 0)])


def test_an_address_carries_its_scope() -> None:
    """A link-local address without its interface leads nowhere."""
    loopback = socket.if_nametoindex("lo")
    assert address_of(("192.0.2.1", 7337)) == ("192.0.2.1", 7337)
    assert address_of(("2001:db8::1", 7337, 0, 0)) == ("2001:db8::1", 7337)
    assert address_of(("fe80::1", 7337, 0, loopback)) == ("fe80::1%lo", 7337)
    assert address_of(("fe80::1%lo", 7337, 0, loopback)) == ("fe80::1%lo", 7337)
    assert address_of(("fe80::1", 7337, 0, 99_999)) == ("fe80::1%99999", 7337)
