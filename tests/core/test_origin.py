"""Origins prove themselves."""

from __future__ import annotations

import msgspec
import pytest

from peerd.core.origin import Announcement, origin_of

SPACE = b"s" * 16
ANNOUNCEMENT = Announcement(b"d" * 32, b"a" * 16, b"n" * 16)


def test_an_origin_has_sixteen_bytes_and_is_always_the_same() -> None:
    """It is a function of space and announcement."""
    assert len(origin_of(SPACE, ANNOUNCEMENT)) == 16
    assert origin_of(SPACE, ANNOUNCEMENT) == origin_of(SPACE, Announcement(b"d" * 32, b"a" * 16, b"n" * 16))


@pytest.mark.parametrize(
    "other",
    [
        Announcement(b"e" * 32, b"a" * 16, b"n" * 16),
        Announcement(b"d" * 32, b"b" * 16, b"n" * 16),
        Announcement(b"d" * 32, b"a" * 16, b"m" * 16),
    ],
)
def test_device_admission_and_nonce_all_matter(other: Announcement) -> None:
    """So nobody announces another device's origin, and a second admission has origins of its own."""
    assert origin_of(SPACE, other) != origin_of(SPACE, ANNOUNCEMENT)


def test_the_space_matters() -> None:
    """An announcement is worth nothing in another space."""
    assert origin_of(b"t" * 16, ANNOUNCEMENT) != origin_of(SPACE, ANNOUNCEMENT)


@pytest.mark.parametrize("wrong", [[b"d" * 31, b"a" * 16, b"n" * 16], [b"d" * 32, b"a" * 16], ["d" * 32, b"", b""]])
def test_an_announcement_of_another_shape_is_refused(wrong: list[object]) -> None:
    """Lengths are checked where bytes become an announcement."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(wrong), type=Announcement)
