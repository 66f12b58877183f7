"""What is said on the control socket about devices, spaces and those who come and go, as JSON.

The same rules as in `messages`, where what is said about data stands.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from peerd.protocol.control.growth import HoldingBack, RelayHolding, SpaceSizes
from peerd.protocol.control.messages import Request
from peerd.protocol.control.recopy import ForkView

# --- devices and spaces ---------------------------------------------------------------------------


class PeerStatus(Struct, kw_only=True):
    """Another member of a space, seen from here.

    `behind` is the number of transactions it has and we lack, `ahead` the opposite, None where unknown. `since_ms` is
    when it came to be in sync with us in this space, or not to be; without a session, when its link came or went; of
    one that is `relayed` (not linked, and seen on a relay that both use) when it last wrote there.
    `reason` is empty if all is well; otherwise `next_step` says what to do. `clock_off_ms` is its wall clock less ours,
    while it is linked.
    """

    device: str
    name: str
    state: str
    reason: str = ""
    next_step: str = ""
    behind: int | None = None
    ahead: int | None = None
    since_ms: int | None = None
    clock_off_ms: int | None = None


class TableNotice(Struct, kw_only=True):
    """What a person should know of tables that are bound to a space. `code`: one of the errors about files,
    `table-missing`, `table-new`, `held`, or `parked-` and why (`parked-unique`, `parked-parent`, ...). `rows` is how
    many rows it is about, 0 if it is not about rows.
    """

    binding: str
    code: str
    reason: str
    next_step: str
    table: str = ""
    rows: int = 0


class FindingView(Struct, kw_only=True):
    """Something that was wrong with this device's copy. `found`: changed, unreadable, missing, differs (from another
    device's), or log (a run of the log: `key` is its origin and first number). `device` is whom it was found out or
    put right with. `done`: how it was put right, "" as long as it is not. `text` says all that as a sentence.
    """

    at_ms: int
    found: str
    collection: str
    key: str
    device: str = ""
    done: str = ""
    text: str


class ScrubView(Struct, kw_only=True):
    """What the scrub of a copy looked at and found. `records`, `runs` and `found` are of the last whole round, which
    ended at `finished_ms`; `progress` (0 to 1) is how far the present one is. `damaged` are findings that are not put
    right yet, `repaired` those that are; the newest of them are listed, and all are forgotten after 30 days.
    """

    running: bool = False
    progress: float = 0.0
    finished_ms: int | None = None
    records: int = 0
    runs: int = 0
    found: int = 0
    damaged: int = 0
    repaired: int = 0
    findings: list[FindingView] = []
    reason: str = ""
    next_step: str = ""


class AsideNotice(Struct, kw_only=True):
    """A copy of the space that was set aside and may hold what this one lacks. `differing` is how many of its records
    do, None while that is being found out.
    """

    name: str
    reason: str
    next_step: str
    differing: int | None = None


class SnapshotView(Struct, kw_only=True):
    """A snapshot that is being taken in beside the copy: of about `of_records` records, in `of_bytes` bytes, so many
    are here. `state`: receiving, or merging, when it is whole and takes its place. `left_s` are the seconds until all
    records are here, None while nobody knows. `device` and `name`, who made it, are "" if that is not known.
    """

    device: str
    name: str
    state: Literal["receiving", "merging"]
    records: int
    of_records: int
    bytes: int
    of_bytes: int
    left_s: float | None = None


class TakenView(Struct, kw_only=True):
    """Whose snapshot this copy is: what it knows of earlier times begins at `time_ms`. `agreed`: another member than
    that one has had the same digest since.
    """

    device: str
    name: str
    time_ms: int
    agreed: bool


class RetryView(Struct, kw_only=True):
    """How often a space that its disk stopped was tried since then, and in how many seconds it is again."""

    tries: int
    in_s: float


class SpaceView(Struct, kw_only=True):
    """`reason` is the worst of what is wrong with it, also with its tables; `tables` is all that there is to say of
    them. `scrub` says whether the copy is what was written, `sizes` what it takes; `asides` are copies that were set
    aside and wait for a person; `forks` are histories that went two ways and are not healed between this device and a
    peer. `retry`: it is tried by itself whether it can go on.
    """

    name: str
    id: str
    state: str
    records: int
    conflicts: int
    parked: int = 0
    clock: dict[str, int]
    digest: str
    peers: list[PeerStatus]
    reason: str = ""
    next_step: str = ""
    tables: list[TableNotice] = []
    scrub: ScrubView | None = None
    asides: list[AsideNotice] = []
    sizes: SpaceSizes | None = None
    snapshot: SnapshotView | None = None
    taken: TakenView | None = None
    forks: list[ForkView] = []
    retry: RetryView | None = None


class SpaceList(Struct, kw_only=True):
    spaces: list[SpaceView]


class Forgotten(Struct, kw_only=True):
    """A space that this device has no more. `set_aside` is where its database is now, "" if it was deleted."""

    space: str
    id: str
    set_aside: str


class SpaceCheck(Struct, kw_only=True, omit_defaults=True):
    """A database of which every page was read; `problem` is empty if it is whole."""

    space: str
    problem: str = ""
    next_step: str = ""


class NewSpace(Request):
    name: str


class FurtherReason(Struct, kw_only=True):
    reason: str
    next_step: str = ""


class DeviceStatus(Struct, kw_only=True):
    """`clock_off_ms`: by how much this device's clock is ahead of those of the others, if they say that it is wrong.
    `further`: what else is wrong with the device as a whole, beside `reason`.
    """

    id: str
    name: str
    state: str
    reason: str = ""
    next_step: str = ""
    clock_off_ms: int | None = None
    further: list[FurtherReason] = []


class MachineStatus(Struct, kw_only=True):
    """What the daemon has of its machine: addresses that are bound, mDNS (running, failed, off), room for data; file
    descriptors that are open (null: none is left to count them) and may be; of the last hour, the longest that a write
    took (0: none took too long), how often the loop stood still, and for how long at most; the interfaces on which mDNS
    is listened to.
    """

    listen: list[str] = []
    mdns: str = "off"
    state_dir: str = ""
    free_bytes: int | None = None
    open_files: int | None = None
    max_files: int = 0
    slowest_write_s: float = 0.0
    stalls: int = 0
    longest_stall_s: float = 0.0
    mdns_interfaces: list[str] = []


class Status(Struct, kw_only=True):
    version: str
    device: DeviceStatus
    machine: MachineStatus | None = None
    spaces: list[SpaceView]
    since_ms: int | None = None


class PeerView(Struct, kw_only=True):
    """A device: how we reach it or why not, and which spaces we share with it."""

    device: str
    name: str
    state: str
    reason: str = ""
    next_step: str = ""
    addresses: list[str] = []
    spaces: list[str] = []
    version: str = ""
    since_ms: int | None = None


class AstrayAddress(Struct, kw_only=True):
    address: str
    reason: str
    next_step: str = ""


class PeerList(Struct, kw_only=True):
    """`astray`: addresses of network.peers at which no member answered when they were last tried."""

    peers: list[PeerView]
    astray: list[AstrayAddress] = []


class Health(Struct, kw_only=True):
    """live: the daemon answers. ready: its spaces are open.

    converged: nothing is behind, refused or in doubt.
    """

    live: bool
    ready: bool
    converged: bool
    reason: str = ""


class Reloaded(Struct, kw_only=True):
    """Names of settings: those that took effect, and those that wait for a restart."""

    changed: list[str]
    needs_restart: list[str]


# --- people and machines that come and go ---------------------------------------------------------


class NewInvitation(Request):
    """`yes` admits whoever knows the code without asking again."""

    space: str
    yes: bool = False


class InvitationEvent(Struct, kw_only=True, omit_defaults=True):
    """One line of an invitation's stream; the first has `code`, the last `admitted` or `error` (a problem
    document).

    `wrong_code` has `device` and `tries_left`: somebody tried a code that is not this one.
    `admitted.confirmed` is false if the device did not say that it keeps a copy: it is a member, and may join again.
    `asking` is the device that knows the code and waits for an answer to `POST /v1/invitations/{id}`. The code stands
    first, so that eight digits in the id are not taken for it.
    """

    code: str | None = None
    expires_in_s: int | None = None
    wrong_code: dict[str, Any] | None = None
    asking: dict[str, Any] | None = None
    admitted: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    id: str


class InvitationAnswer(Request):
    admit: bool


class NewJoin(Request):
    """By `code`, or, without one, by `device`: the id of the member that admits this device.

    `host` (`HOST:PORT`) replaces finding the other by mDNS. `name` is what the space is called here.
    """

    code: str | None = None
    device: str | None = None
    host: str | None = None
    name: str | None = None
    yes: bool = False


class Joined(Struct, kw_only=True):
    space: str
    id: str
    device: str
    device_name: str
    aside: str = ""  # the file of an old copy that made way for this one
    called: str = ""  # what that device calls the space, where that is not `space`


class Admission(Request):
    """`device` is the text form of its id, with check characters."""

    device: str
    role: Literal["admin", "member"] = "admin"


class MemberView(Struct, kw_only=True):
    """`expires_ms` is until when a device is awaited that was named by its id, None of others. `holding` is said of
    other members.
    """

    device: str
    name: str
    role: str
    state: str
    own: bool = False
    seen_ms: int | None = None
    expires_ms: int | None = None
    holding: HoldingBack | None = None


class OpenTicket(Struct, kw_only=True):
    """An invitation file by which a device may still come, and what it becomes. `id` is for withdrawing it."""

    id: str
    role: str
    expires_ms: int


class MemberList(Struct, kw_only=True):
    """`relays`: what those that this space goes through hold back. `tickets`: whoever has one of these files and its
    code is let in.
    """

    members: list[MemberView]
    relays: list[RelayHolding] = []
    tickets: list[OpenTicket] = []
