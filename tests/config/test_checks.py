from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from peerd.config.checks import (
    MAX_SOCKET_PATH_BYTES,
    Addresses,
    BindingName,
    ByName,
    Check,
    Directory,
    File,
    Flag,
    Group,
    Interfaces,
    Name,
    OneOf,
    Socket,
    TableName,
    TableNames,
    WholeNumber,
    parse_address,
)

if TYPE_CHECKING:
    from peerd.config.places import Surroundings

LISTEN = Addresses(lowest_port=0)
LONGEST_SOCKET = "/" + "s" * (MAX_SOCKET_PATH_BYTES - 1)


@pytest.mark.parametrize(
    ("check", "given", "kept"),
    [
        (Flag(), True, True),
        (Flag(), False, False),
        (OneOf(("a", "b")), "b", "b"),
        (WholeNumber(1, 9, "days"), 1, 1),
        (WholeNumber(1, 9, "days"), 9, 9),
        (Name(8), "Küche 2", "Küche 2"),
        (Group(), "", ""),
        (File(), "/home/ann/todo.db", Path("/home/ann/todo.db")),
        (BindingName(), "todo.2", "todo.2"),
        (TableNames(), ["a", "b", "a"], ("a", "b")),
        (ByName(TableName(), "A = B"), {"a.b": "c"}, {"a.b": "c"}),
        (Group(), "peerd", "peerd"),
        (Directory(), "~/x", Path("/home/ann/x")),
        (Directory(), "/x", Path("/x")),
        (Socket(), LONGEST_SOCKET, Path(LONGEST_SOCKET)),
        (LISTEN, [], ()),
        (LISTEN, ["10.0.0.1:0", "[::]:7337", "nas.lan:1"], (("10.0.0.1", 0), ("::", 7337), ("nas.lan", 1))),
        (LISTEN, ["[fe80::1%eth0]:65535"], (("fe80::1%eth0", 65535),)),
        (LISTEN, ["a:1", "a:1"], (("a", 1),)),
        (Interfaces(), ["*"], ("*",)),
        (Interfaces(), ["eth0", "wl*", "eth0"], ("eth0", "wl*")),
    ],
)
def test_what_is_allowed_is_kept_in_the_form_peerd_uses(
    check: Check, given: Any, kept: Any, here: Surroundings
) -> None:
    assert check(given, here) == kept


@pytest.mark.parametrize(
    ("check", "given"),
    [
        (Flag(), 1),
        (Flag(), "true"),
        (OneOf(("a", "b")), "c"),
        (OneOf(("a", "b")), ["a"]),
        (WholeNumber(1, 9, "days"), 0),
        (WholeNumber(1, 9, "days"), 10),
        (WholeNumber(0, 9, "days"), True),
        (WholeNumber(1, 9, "days"), 2.0),
        (Name(8), ""),
        (Name(8), " a"),
        (Name(8), "a\nb"),
        (Name(8), "a\u202eb"),
        (Name(8), "ü" * 5),
        (Name(8), 7),
        (Group(), "two words"),
        (Group(), "-x"),
        (Group(), 100),
        (Directory(), "relative"),
        (Directory(), "~bob/x"),
        (Directory(), "/a\0b"),
        (Directory(), 7),
        (Socket(), LONGEST_SOCKET + "s"),
        (LISTEN, "0.0.0.0:7337"),
        (LISTEN, [7337]),
        (LISTEN, ["10.0.0.1"]),
        (LISTEN, [":7337"]),
        (LISTEN, ["::1:7337"]),
        (LISTEN, ["[::g]:7337"]),
        (LISTEN, ["[1.2.3.4]:7337"]),
        (LISTEN, ["a:65536"]),
        (LISTEN, ["a:-1"]),
        (LISTEN, ["a b:1"]),
        (LISTEN, ["a:1\n"]),
        (LISTEN, ["a:\u0661"]),
        (Addresses(lowest_port=1), ["a:0"]),
        (File(), "todo.db"),
        (BindingName(), ""),
        (BindingName(), "my todo"),
        (BindingName(), "-todo"),
        (TableNames(), "a"),
        (TableNames(), [1]),
        (ByName(TableName(), "A = B"), ["a"]),
        (ByName(TableName(), "A = B"), {"a": ""}),
        (ByName(TableName(), "A = B"), {"a": 1}),
        (Interfaces(), "eth0"),
        (Interfaces(), [""]),
        (Interfaces(), ["much-too-long-name"]),
        (Interfaces(), ["a b"]),
    ],
)
def test_what_is_not_allowed_is_refused(check: Check, given: Any, here: Surroundings) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the sentence is `allowed`, the error has none
        check(given, here)


@pytest.mark.parametrize(
    "check",
    [
        Flag(),
        OneOf(("a", "b")),
        WholeNumber(1, 9, "days"),
        Name(8),
        Group(),
        Directory(),
        Socket(),
        LISTEN,
        Interfaces(),
        File(),
        BindingName(),
        TableNames(),
        ByName(TableName(), "A = B"),
    ],
)
def test_every_check_says_what_it_allows(check: Check) -> None:
    """The sentence goes on from "must be" and has no end of its own."""
    assert check.allowed
    assert not check.allowed.endswith(".")


def test_an_address_to_dial_needs_a_port_that_exists() -> None:
    assert parse_address("nas.lan:7337") == ("nas.lan", 7337)
    with pytest.raises(ValueError, match="nas"):
        parse_address("nas.lan:0")
