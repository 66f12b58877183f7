"""What is said on the control socket about copies that were set aside, as JSON. The rules are those of
`control_messages`.
"""

from __future__ import annotations

from msgspec import Struct

from peerd.protocol.control_messages import Request


class AsideView(Struct, kw_only=True):
    """A copy of the space that was set aside, and that nobody took in yet. `differing` is how many of its records have
    something that this copy lacks; `unreadable` are those that cannot be read. `damaged`: it may have lost records, so
    what it lacks is not taken for deleted. `written_ms` is when its file was last written.
    """

    name: str
    records: int
    differing: int
    unreadable: int
    damaged: bool
    written_ms: int


class AsideList(Struct, kw_only=True):
    asides: list[AsideView]


class NewRecopy(Request):
    """`aside` is the file of a copy that was set aside, or "latest"."""

    aside: str


class Recopied(Struct, kw_only=True):
    """`records` were written here, `unreadable` of the old copy could not be read; its file is `aside` now."""

    space: str
    records: int
    unreadable: int
    aside: str
