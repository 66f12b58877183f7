"""What is said on the control socket about copies that were set aside, as JSON. The rules are those of
`messages`.
"""

from __future__ import annotations

from msgspec import Struct

from peerd.protocol.control.messages import Request


class AsideView(Struct, kw_only=True):
    """A copy of the space that was set aside, and that nobody took in yet. `differing` is how many of its records have
    something that this copy lacks; `unreadable` are those that cannot be read. `damaged`: it may have lost records, so
    what it lacks is not taken for deleted. `written_ms` is when its file was last written. With a `cause` nothing of it
    can be read.
    """

    name: str
    records: int
    differing: int
    unreadable: int
    damaged: bool
    written_ms: int
    cause: str = ""


class AsideList(Struct, kw_only=True):
    asides: list[AsideView]


class NewRecopy(Request):
    """One of the two: `aside` is the file of a copy that was set aside, or "latest"; `device` is a member whose copy is
    to take the place of this one, which is set aside and then taken in.
    """

    aside: str | None = None
    device: str | None = None


class Recopied(Struct, kw_only=True):
    """`records` were written here, `unreadable` of the old copy could not be read; its file is `aside` now. With
    `device`, that is whose copy took the place of the one that was here.
    """

    space: str
    records: int
    unreadable: int
    aside: str
    device: str = ""


class ForkView(Struct, kw_only=True):
    """Two histories of one origin: `ours` and `theirs` are the first 8 bytes of the hash at the end of a run, "" where
    it is not known; `seq` is where they were found to differ, `shared` the last transaction that both have, None as
    long as that is not found out. `device` is whose origin it is, `peer` who holds the other history. `stands`: "ours"
    or "theirs" goes on, "" if that is not settled.
    """

    origin: str
    device: str
    device_name: str
    seq: int
    shared: int | None
    ours: str
    theirs: str
    peer: str
    peer_name: str
    stands: str
