"""How a history must end: the same everywhere, what causality demands, and nothing that was acknowledged lost."""

from __future__ import annotations

from functools import partial

from peerd.core import digest, entry
from peerd.core.chain import Run
from peerd.core.clocks import Clock, Dot, includes
from peerd.core.copy import CopyState
from peerd.core.entry import Kind
from peerd.core.record import Record
from peerd.core.record_form import digest_of, encode_body, encode_stamps
from peerd.core.values import pack
from peerd.engine.space import Space
from peerd.engine.store_ports import Transaction
from tests.network_simulation.device import Device
from tests.network_simulation.fork_checks import Name, Wrong, check_forked
from tests.network_simulation.ledger import context_of
from tests.network_simulation.spaces import SimSpace
from tests.network_simulation.world import World
from tests.simulation.oracle import Event, Expected, Meant, differences, expected_records


async def check(world: World) -> None:
    for space in world.spaces:
        members = world.members(space)
        reference: tuple[object, ...] | None = None
        for device in members:
            live = device.running.spaces.by_id[space.id]
            records = await _records(device, live)
            _check_copy(live, records)
            listed = await device.do(
                partial(
                    device.running.service.conflicts, space.name, collection=None, key=None, limit=10_000, cursor=None
                )
            )
            ids = [(one.id, one.kind, one.etag) for one in listed.conflicts]
            forms = {name: _form(record) for name, record in records.items()}
            found = (live.copy.clock(), live.copy.digest, forms, ids, live.roster.digest())
            if reference is None:
                reference = found
                _count(world, live)
                _check_story(world, space, live.copy, records)
            what = ("clocks", "digests", "records", "conflicts", "rosters")
            for name, ours, theirs in zip(what, found, reference, strict=True):
                if ours != theirs:
                    raise Wrong(f"{space.name}: the {name} of {device.name} and {members[0].name} differ")
            reached = [one.id for one in members if not world.apart]
            _check_at_rest(device, live, reached, was_forked=world.was_forked(space))
            await _check_log(device, live)
            world.counts["damage put right"] += sum(bool(one.done) for one in live.damage.findings.all)
    await _check_removed(world)
    _check_secrecy(world)


def _count(world: World, live: Space) -> None:
    world.counts["records in the end"] += live.copy.visible
    world.counts["forks healed"] += len(live.roster.closed_forks)


def _check_story(world: World, space: SimSpace, copy: CopyState, records: dict[Name, Record]) -> None:
    story = _Story(world.ledger.story(copy), frozenset(world.ledger.ends(copy)))
    unsure = world.rotten if space.name in world.damaged_everywhere else None
    world.counts["of which nobody knows what was dropped"] += unsure is not None
    _check_causality(story, records, unsure)
    changes = [change for one in story.entries.values() for change in one.changes]
    world.counts["edits that won over a delete"] += sum(change.kind == Kind.RESTORE for change in changes)
    _check_acknowledged(world, space, story)
    check_forked(world, space, copy, records)


async def _records(device: Device, live: Space) -> dict[Name, Record]:
    names: list[Name] = []
    for count in await device.do(live.store.collections):
        after: str | None = None
        while True:
            page = await device.do(partial(live.store.page, count.name, "", after, 1000))
            names += [(count.name, key) for key, _ in page.records]
            if not page.more:
                break
            after = page.records[-1][0]
    names += [name for name, _ in await device.do(lambda: live.store.flagged(None, 100_000))]

    def reading(transaction: Transaction) -> dict[Name, Record]:
        return {name: stored.record for name, stored in transaction.records(dict.fromkeys(names)).items()}

    return await device.do(lambda: live.store.read(reading))


async def _check_log(device: Device, live: Space) -> None:
    """Of every origin it goes from the horizon to the clock."""
    reached = dict(live.copy.horizon())
    position = 0
    while (found := await device.do(partial(live.store.runs_after, position, 8 << 20, 10_000))).rows:
        for row in found.rows:
            if row.run.first != reached.get(row.run.origin, 0) + 1:
                raise Wrong("the log has gaps")
            reached[row.run.origin] = row.run.last
        position = found.read_up_to
    if reached != live.copy.clock():
        raise Wrong("the log does not end where the clock is")


def _form(record: Record) -> tuple[object, ...]:
    return record.births, record.fields, record.stamps


def _check_copy(live: Space, records: dict[Name, Record]) -> None:
    """The incremental sums are those of the rows."""
    steps = []
    for name, record in records.items():
        order, stamps = encode_stamps(record.stamps)
        steps.append(digest_of(*name, stamps, encode_body(record.births, record.fields, order)))
    if digest.moved(digest.EMPTY, steps) != live.copy.digest:
        raise Wrong(f"{live.name}: the digest is not that of the records")
    if sum(record.visible for record in records.values()) != live.copy.visible:
        raise Wrong(f"{live.name}: the count of records is wrong")


class _Story:
    """A log as the oracle wants it: what each transaction said, and which others its author knew."""

    def __init__(self, runs: list[Run], ends: frozenset[bytes]) -> None:
        self.events: list[Event] = []
        self.entries: dict[tuple[bytes, int], entry.Entry] = {}
        self._known: dict[bytes, list[int]] = {}  # of an origin: masks of its first n transactions
        self._numbers: dict[tuple[bytes, int], int] = {}
        self._contexts: dict[bytes, Clock] = {}
        self.ends = ends
        for run in runs:
            for seq, data in enumerate(run.entries, run.first):
                self._take(Dot(run.origin, seq), data)

    def _take(self, dot: Dot, data: bytes) -> None:
        decoded = entry.decode(data)
        known = self._known.setdefault(dot.origin, [0])
        if dot.seq != len(known):
            raise Wrong("the log of an origin has gaps")
        mask = known[-1] | self._seen(dot.origin, decoded)
        number = len(self._numbers)
        self._numbers[dot] = number
        self.entries[dot] = decoded
        known.append(known[-1] | 1 << number)
        meant = tuple(self._meant(change, mask) for change in decoded.changes)
        self.events.append(Event(number, dot, data, decoded.t_ms, decoded.tq, meant))

    def _seen(self, origin: bytes, decoded: entry.Entry) -> int:
        context = self._contexts.setdefault(origin, {})
        context.update({head.origin: head.seq for head in decoded.delta})
        if any(len(self._known.get(other, [0])) <= upto for other, upto in context.items()):
            raise Wrong("the log is not causal")
        mask = 0
        for other, upto in context.items():
            mask |= self._known[other][upto]
        return mask

    def _meant(self, change: entry.Change, mask: int) -> Meant:
        for dot in dict.fromkeys(change.keep):
            mask &= ~(1 << self._numbers[dot]) if dot in self._numbers else -1
        packed = {name: bytes(raw) for name, raw in change.set.items()}
        return Meant(Kind(change.kind), change.record, packed, change.drop, mask, change.answers)


def _check_causality(story: _Story, records: dict[Name, Record], unsure: Name | None) -> None:
    """Of `unsure` what was dropped may be there again (docs/promises.md): no less than there must be, and nothing that
    nobody has written.
    """
    expected = expected_records(story.events)
    if unsure is not None and unsure in records:
        _check_unsure(story, unsure, records[unsure], expected.pop(unsure, Expected()))
        records = {name: record for name, record in records.items() if name != unsure}
    if expected.keys() != records.keys():
        raise Wrong(f"records {sorted(expected.keys() ^ records.keys())} should (not) be there")
    for name, record in records.items():
        found = differences(record, expected[name])
        if found:
            raise Wrong(f"{name}: {found}")


def _check_unsure(story: _Story, name: Name, record: Record, expected: Expected) -> None:
    lost = {one for one in expected.births if one not in record.births}
    lost |= {
        dot for field, cells in expected.fields.items() for dot in cells if dot not in record.fields.get(field, {})
    }
    if lost:
        raise Wrong(f"{name}: {lost} are lost")
    for field, siblings in record.fields.items():
        for dot, value in siblings.items():
            written = [one.set.get(field) for one in story.entries[dot].changes if one.record == name]
            if [value] != [bytes(raw) for raw in written if raw is not None]:
                raise Wrong(f"{name}: nobody has written {field} so: {dot}")


def _check_acknowledged(world: World, space: SimSpace, story: _Story) -> None:
    for one in world.acknowledged:
        if one.space != space.id or (one.origin, one.seq) in space.losses:
            continue
        if world.was_forked(space) and one.end not in story.ends:
            continue  # of the history that fell: see `fork_checks`
        written = story.entries.get((one.origin, one.seq))
        if written is None:
            raise Wrong(f"an acknowledged write is lost: {one}")
        wanted = {(change.collection, change.key): change for change in one.changes}
        for change in written.changes:
            values = wanted[change.record].value or wanted[change.record].set
            if any(pack(values[field]) != bytes(raw) for field, raw in change.set.items()):
                raise Wrong(f"an acknowledged write was written otherwise: {one}")


def _check_at_rest(device: Device, live: Space, members: list[bytes], *, was_forked: bool) -> None:
    running = device.running
    clock = live.copy.clock()
    for staged in live.commits.staging.runs.values():
        # What it waits for may have been lost: a relay keeps the one and not the other, and then the writer went back.
        if staged.run.first == clock.get(staged.run.origin, 0) + 1 and includes(clock, context_of(staged.run)):
            raise Wrong(f"{device.name} still has a staged run that waits for nothing")
    # The old copy of who was let in again waits for a person; one that a fork set aside does not.
    if live.recopying.pending is not None or (was_forked and set(live.store.asides.offered()) - device.made_way):
        raise Wrong(f"{device.name} still has a copy to take in")
    if live.forks.are_seen:
        raise Wrong(f"{device.name} still shows a fork")
    linked = [link for link in running.switchboard.links.values() if live.id in link.sessions]
    if {link.theirs for link in linked} != set(members) - {device.id}:  # `members`: those that can be reached
        raise Wrong(f"{device.name} is not linked with every member")
    for link in linked:
        session = link.sessions[live.id]
        if session.inbound._waiting or session._outbound._waiting or link._control or link._bulk:
            raise Wrong(f"{device.name} still has queues")
        if session.machine._outflow._queue or session.machine._inflow._owed_bytes:
            raise Wrong(f"{device.name}: bytes are owed or queued")
        if session.diverged:
            raise Wrong(f"{device.name} thinks that copies diverged")
    if live.id in running.switchboard.turns.receiving or running.switchboard.turns.waiting.get(live.id):
        raise Wrong(f"{device.name}: somebody still has a turn, or waits for one")


async def _check_removed(world: World) -> None:
    for space in world.spaces:
        members = world.members(space)
        for target in space.removed:
            live = target.running.spaces.by_id[space.id]
            for device in members if target not in members else []:
                links = device.running.switchboard.links.values()
                if any(live.id in link.sessions for link in links if link.theirs == target.id):
                    raise Wrong("a removed device still has a session")


def _check_secrecy(world: World) -> None:
    """Nothing on a relay shows a value, a name of a device, or a device."""
    secrets = [b"value ", b"notes", *(device.name.encode() for device in world.devices)]
    secrets += [device.id for device in world.devices]
    for relay in world.relays:
        for name, kept in relay.objects.items():
            if any(secret in kept.data or secret.hex() in name for secret in secrets):
                raise Wrong("a relay shows what it must not")
