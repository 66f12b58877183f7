"""Known-wrong variants of the core, and of what a daemon does around it. Each must be caught by random histories.

A variant replaces one rule while its context is open. What is caught here proves that the histories would notice if
the rule were lost; a rule whose loss nobody notices is not tested.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from peerd.core import batch, clocks, digest, entry, intents, reading, record, record_form, restore, writes
from peerd.core.batch import Batch, Verdict
from peerd.core.chain import Run
from peerd.core.clocks import Clock, Dot, ReadClock
from peerd.core.copy import CopyState, OriginState, context_before
from peerd.core.entry import Change, Entry, Kind
from peerd.core.intents import Intent
from peerd.core.limits import INT64_MAX
from peerd.core.reading import Rules
from peerd.core.record import Dropped, Record, Stamp
from peerd.core.restore import Image
from peerd.core.snapshots import merge as snapshot_merge
from peerd.core.snapshots.intake import SideOrigin
from tests.simulation import device as devices
from tests.simulation import snapshots
from tests.simulation.device import Device, Work

Variant = Callable[[], AbstractContextManager[Any]]
VARIANTS: dict[str, Variant] = {}


def variant(make: Variant) -> Variant:
    VARIANTS[make.__name__] = make
    return make


# ---- what a change does to a record

Apply = Callable[[Record, Change, Dot, Stamp, ReadClock], Dropped]
_apply: Apply = record.apply_change


def _applying(apply: Apply) -> AbstractContextManager[Any]:
    return patch.object(batch, "apply_change", apply)


class _Everything(dict[bytes, int]):
    """A context that covers whatever it is asked for."""

    def get(self, _origin: bytes, _default: Any = None) -> Any:
        return INT64_MAX


@variant
def delete_ignores_context() -> AbstractContextManager[Any]:
    """A delete removes whatever stands there, seen or not."""

    def apply(on: Record, change: Change, dot: Dot, stamp: Stamp, context: ReadClock) -> Dropped:
        return _apply(on, change, dot, stamp, _Everything() if change.kind == Kind.DELETE else context)

    return _applying(apply)


@variant
def patch_covers_unnamed_fields() -> AbstractContextManager[Any]:
    """A patch drops the seen siblings of every field."""
    drop = record._drop

    def drop_all(on: Record, seen: set[Dot], named: tuple[str, ...] | None) -> Dropped:
        return drop(on, seen, named and tuple(on.fields))

    return patch.object(record, "_drop", drop_all)


@variant
def put_keeps_old_fields() -> AbstractContextManager[Any]:
    """A put replaces only the fields that it names."""

    def apply(on: Record, change: Change, dot: Dot, stamp: Stamp, context: ReadClock) -> Dropped:
        if change.kind == Kind.PUT:
            born = replace(change, set={})
            on.births.add(dot)
            on.stamps[dot] = stamp
            return _apply(on, replace(born, kind=Kind.PATCH, set=change.set), dot, stamp, context)
        return _apply(on, change, dot, stamp, context)

    return _applying(apply)


@variant
def keep_ignored() -> AbstractContextManager[Any]:
    """What the writer had not seen is dropped as well."""
    return _applying(lambda on, change, *rest: _apply(on, replace(change, keep=()), *rest))


@variant
def drop_forgotten() -> AbstractContextManager[Any]:
    """A patch sets fields and removes none."""
    return _applying(lambda on, change, *rest: _apply(on, replace(change, drop=()), *rest))


@variant
def later_clock_beats_causality() -> AbstractContextManager[Any]:
    """A value with a later time survives a write that had seen it."""

    def apply(on: Record, change: Change, dot: Dot, stamp: Stamp, context: ReadClock) -> Dropped:
        before = {name: dict(cells) for name, cells in on.fields.items()}
        stamps = dict(on.stamps)
        dropped = _apply(on, change, dot, stamp, context)
        for name in change.set:
            for old, value in before.get(name, {}).items():
                if stamps[old].t_ms > stamp.t_ms:
                    on.fields[name][old] = value
                    on.stamps[old] = stamps[old]
        return dropped

    return _applying(apply)


@variant
def restore_forgets_that_it_is_one() -> AbstractContextManager[Any]:
    """Restored values rank like written ones, and nothing is listed."""

    def apply(on: Record, change: Change, dot: Dot, stamp: Stamp, context: ReadClock) -> Dropped:
        dropped = _apply(on, change, dot, stamp, context)
        if change.kind == Kind.RESTORE:
            on.stamps[dot] = stamp
        return dropped

    return _applying(apply)


@variant
def restore_drops_what_it_saw() -> AbstractContextManager[Any]:
    """A restore removes the siblings that its author had seen."""

    def apply(on: Record, change: Change, dot: Dot, stamp: Stamp, context: ReadClock) -> Dropped:
        if change.kind == Kind.RESTORE:
            _apply(on, replace(change, kind=Kind.DELETE, set={}, answers=None), dot, stamp, context)
        return _apply(on, change, dot, stamp, context)

    return _applying(apply)


# ---- who wins


def _preceding(rank: Callable[[Record, Dot], Any]) -> AbstractContextManager[Any]:
    return patch.object(Record, "precedence", rank)


@variant
def quality_of_time_ignored() -> AbstractContextManager[Any]:
    return _preceding(lambda on, dot: (not on.stamps[dot].restored, on.stamps[dot].t_ms, dot))


@variant
def quality_of_time_graded() -> AbstractContextManager[Any]:
    """Tq 2 beats tq 1, where only "any" against "none" counts."""
    return _preceding(lambda on, dot: (not on.stamps[dot].restored, on.stamps[dot].tq, on.stamps[dot].t_ms, dot))


@variant
def time_ignored() -> AbstractContextManager[Any]:
    return _preceding(lambda on, dot: (not on.stamps[dot].restored, on.stamps[dot].tq > 0, dot))


@variant
def ties_left_to_chance() -> AbstractContextManager[Any]:
    """Of two equal times the one that came first wins here."""
    return _preceding(lambda on, dot: (not on.stamps[dot].restored, on.stamps[dot].tq > 0, on.stamps[dot].t_ms))


@variant
def restored_values_rank_like_written_ones() -> AbstractContextManager[Any]:
    return _preceding(lambda on, dot: (on.stamps[dot].tq > 0, on.stamps[dot].t_ms, dot))


@variant
def python_decides_what_is_the_same() -> AbstractContextManager[Any]:
    """1 and true are equal, as in Python: a change from one to the other is lost, or not listed."""

    def same(one: bytes, other: bytes) -> bool:
        return bool(msgspec.msgpack.decode(one) == msgspec.msgpack.decode(other))

    return _both(patch.object(intents, "same", same), patch.object(reading, "same", same))


@variant
def equal_values_conflict() -> AbstractContextManager[Any]:
    return patch.object(reading, "same", lambda _one, _other: False)


@contextmanager
def _both(one: AbstractContextManager[Any], other: AbstractContextManager[Any]) -> Iterator[None]:
    with one, other:
        yield


# ---- edit against delete


@variant
def no_restore() -> AbstractContextManager[Any]:
    return patch.object(restore, "is_ours_to_restore", lambda *_: False)


@variant
def restore_by_authors_only() -> AbstractContextManager[Any]:
    """If the author of the edit is gone, nobody restores."""

    def is_ours(on: Record, us: bytes, device_of: Callable[[bytes], bytes | None], *_: Any) -> bool:
        return us in {device_of(origin) for origin in on.writers()}

    return patch.object(restore, "is_ours_to_restore", is_ours)


@variant
def restore_as_put() -> AbstractContextManager[Any]:
    """A restore writes the whole record again: siblings that nobody was shown are gone."""

    def put(work: Work, name: tuple[str, str], image: Image) -> Change:
        on = work.batch.records[name]
        assert on is not None
        whole = image.values | on.winners()
        return Change(Kind.PUT, *name, {field: Raw(value) for field, value in whole.items()})

    return patch.object(Work, "_restore", put)  # with its check, so that the end of the history has to notice


@variant
def restore_writes_every_field() -> AbstractContextManager[Any]:
    def full(_on: Record, name: tuple[str, str], image: Image) -> Change:
        raw = {field: Raw(value) for field, value in image.values.items()}
        return Change(Kind.RESTORE, *name, raw, answers=image.removed_by)

    return patch.object(restore, "restore", full)


@variant
def restore_after_remote_commits_only() -> AbstractContextManager[Any]:
    looked = Work.restore_parked

    def remote_only(work: Work) -> None:
        if any(applied.run.origin != work.device.author.origin for applied in work.batch.runs):
            looked(work)

    return patch.object(Work, "restore_parked", remote_only)


@variant
def image_of_the_first_delete() -> AbstractContextManager[Any]:
    """A record that is deleted again is remembered as it was the first time."""
    image = Batch.image

    def first(of: Batch, name: tuple[str, str]) -> Image | None:
        return of._reader.images([name]).get(name) or image(of, name)

    return patch.object(Batch, "image", first)


# ---- runs

Take = Callable[[Batch, Run, Sequence[Entry]], Verdict]
_take: Take = Batch.take


def _taking(take: Take) -> AbstractContextManager[Any]:
    return patch.object(Batch, "take", take)


@variant
def gap_accepted() -> AbstractContextManager[Any]:
    """A run that comes too early is applied, and the clock moves to it."""

    def take(into: Batch, run: Run, entries: Sequence[Entry]) -> Verdict:
        at = into.state.origins.get(run.origin)
        if at is not None and run.first > at.seq + 1:
            moved = replace(at, seq=run.first - 1)
            into.state = replace(into.state, origins={**into.state.origins, run.origin: moved})
            with patch.object(into, "_verify", lambda *_: True):
                return _take(into, run, entries)
        return _take(into, run, entries)

    return _taking(take)


@variant
def context_not_waited_for() -> AbstractContextManager[Any]:
    """A run is applied before what its author had seen."""

    def take(into: Batch, run: Run, entries: Sequence[Entry]) -> Verdict:
        with patch.object(CopyState, "seq", lambda *_: INT64_MAX), heads_unchecked():
            return _take(into, run, entries)

    return _taking(take)


@variant
def heads_unchecked() -> AbstractContextManager[Any]:
    return patch.object(Batch, "_is_of_ours", lambda *_: True)


@variant
def signature_unchecked() -> AbstractContextManager[Any]:
    return patch.object(devices, "verify", lambda *_: True)


@variant
def own_run_left_open() -> AbstractContextManager[Any]:
    """Foreign entries are committed inside a run of our own."""
    close = Batch.close_run

    def take(into: Batch, run: Run, entries: Sequence[Entry]) -> Verdict:
        with patch.object(Batch, "close_run", lambda _: None):
            verdict = _take(into, run, entries)
        if verdict is not Verdict.APPLIED:
            close(into)
        return verdict

    return _taking(take)


@variant
def heads_in_the_middle_accepted() -> AbstractContextManager[Any]:
    """Only the first entry's heads are looked at; others are let through and mean nothing."""
    return _taking(lambda into, run, entries: _take(into, run, [entries[0], *_without_heads(entries[1:])]))


def _without_heads(entries: Sequence[Entry]) -> list[Entry]:
    return [replace(one, delta=()) for one in entries]


@variant
def own_heads_not_named() -> AbstractContextManager[Any]:
    """Our entries do not say what we had seen."""
    return patch.object(Batch, "_new_heads", lambda *_: ())


@variant
def context_does_not_add_up() -> AbstractContextManager[Any]:
    """What earlier entries of an origin had seen is forgotten."""

    def only_the_delta(at: OriginState, origin: bytes, delta: ReadClock) -> Clock:
        return {**delta, origin: at.seq}

    return patch.object(batch, "context_before", only_the_delta)


@variant
def context_of_the_run_for_every_entry() -> AbstractContextManager[Any]:
    """All entries of a run are applied as if none had seen the one before it."""

    def apply_run(into: Batch, run: Run, head: bytes, entries: Sequence[Entry]) -> None:
        into.load([change.record for decoded in entries for change in decoded.changes])
        at = into.state.origins[run.origin]
        context = context_before(at, run.origin, {named.origin: named.seq for named in entries[0].delta})
        for seq, decoded in enumerate(entries, run.first):
            into._apply(decoded, Dot(run.origin, seq), context)
        into._move(run.origin, run.last, head, context)
        into.runs.append(batch.AppliedRun(run, head))

    return patch.object(Batch, "_apply_run", apply_run)


# ---- limits


@variant
def limits_not_enforced() -> AbstractContextManager[Any]:
    return patch.object(entry, "check", lambda *_: None)


@variant
def values_unchecked() -> AbstractContextManager[Any]:
    return patch.object(entry, "check_packed", lambda _: None)


@variant
def record_named_twice_accepted() -> AbstractContextManager[Any]:
    check = entry.check

    def each_alone(whole: Entry, _encoded: bytes | None = None) -> None:
        for change in whole.changes:
            check(replace(whole, changes=(change,)))

    return patch.object(entry, "check", each_alone)


@variant
def run_shape_unchecked() -> AbstractContextManager[Any]:
    return patch.object(batch, "_check_shape", lambda *_: None)


# ---- what a caller had seen

Past = Callable[[], Mapping[str, Mapping[Dot, bytes]]]
Plan = Callable[[Record | None, Intent, Rules, Past], Change | None]
_plan: Plan = intents.plan


def _planning(plan: Plan) -> AbstractContextManager[Any]:
    return patch.object(intents, "plan", plan)


@variant
def tokens_ignored() -> AbstractContextManager[Any]:
    return _planning(lambda on, intent, *rest: _plan(on, intent._replace(seen=None), *rest))


@variant
def put_not_minimal() -> AbstractContextManager[Any]:
    """A put of a visible record stays a put."""

    def plan(on: Record | None, intent: Intent, rules: Rules, past: Past) -> Change | None:
        change = _plan(on, intent, rules, past)
        if change is not None and intent.kind == Kind.PUT and change.kind == Kind.PATCH:
            raw = {name: Raw(value) for name, value in intent.set.items()}
            return Change(Kind.PUT, *change.record, raw, keep=change.keep)
        return change

    return _planning(plan)


@variant
def put_sets_unchanged_fields() -> AbstractContextManager[Any]:
    return patch.object(intents, "same", lambda _one, _other: False)


@variant
def put_drops_nothing() -> AbstractContextManager[Any]:
    def plan(on: Record | None, intent: Intent, rules: Rules, past: Past) -> Change | None:
        change = _plan(on, intent, rules, past)
        return replace(change, drop=()) if change is not None and intent.kind == Kind.PUT else change

    return _planning(plan)


@variant
def parked_values_seen_by_a_put() -> AbstractContextManager[Any]:
    """A put where a record is parked overwrites what nobody was shown."""

    def plan(on: Record | None, intent: Intent, rules: Rules, past: Past) -> Change | None:
        change = _plan(on, intent, rules, past)
        return replace(change, keep=()) if change is not None and change.kind == Kind.PUT else change

    return _planning(plan)


@variant
def compared_with_the_oldest_value() -> AbstractContextManager[Any]:
    """A stale put is compared with the first value that went, not with the last that its caller saw."""

    def plan(on: Record | None, intent: Intent, rules: Rules, past: Past) -> Change | None:
        return _plan(on, intent, rules, lambda: {n: dict(reversed(tuple(old.items()))) for n, old in past().items()})

    return _planning(plan)


@variant
def history_not_asked() -> AbstractContextManager[Any]:
    return _planning(lambda on, intent, rules, _past: _plan(on, intent, rules, dict))


# ---- stored forms and the digest


@variant
def digest_over_dots_only() -> AbstractContextManager[Any]:
    of = record_form.digest_of

    def dots_only(collection: str, key: str, stamps: list[list[Any]], _body: bytes) -> tuple[int, int]:
        return of(collection, key, [row[:2] for row in stamps], b"")

    return _everywhere("digest_of", dots_only)


@contextmanager
def _everywhere(name: str, other: Any) -> Iterator[None]:
    from tests.simulation import check, memory  # noqa: PLC0415 - check imports the world, which variants replace

    with (
        patch.object(writes, name, other),
        patch.object(memory, name, other),
        patch.object(check, name, other),
    ):
        yield


@variant
def digest_forgets_what_is_gone() -> AbstractContextManager[Any]:
    moved = digest.moved
    return patch.object(digest, "moved", lambda sums, steps: moved(sums, [step for step in steps if step[1] > 0]))


@variant
def stored_in_the_order_of_arrival() -> AbstractContextManager[Any]:
    """The same record has another body on another device."""
    encode = record_form.encode_stamps

    def unsorted(stamps: dict[Dot, Stamp]) -> tuple[list[Dot], list[list[Any]]]:
        order, rows = encode(stamps)
        by_dot = dict(zip(order, rows, strict=True))
        return list(stamps), [by_dot[dot] for dot in stamps]

    return patch.object(writes, "encode_stamps", unsorted)


@variant
def visible_records_miscounted() -> AbstractContextManager[Any]:
    """A parked record is counted."""
    return patch.object(Record, "visible", property(lambda on: not on.empty))


@variant
def restored_birth_not_flagged() -> AbstractContextManager[Any]:
    flags = writes.flags_of
    return patch.object(writes, "flags_of", lambda on: flags(on) & ~writes.RESTORED)


# ---- lives and members


@variant
def origin_reused_after_rollback() -> AbstractContextManager[Any]:
    return patch.object(Device, "take_new_origin", _only_once)


def _only_once(device: Device) -> None:
    if not hasattr(device, "author"):
        _take_new_origin(device)


_take_new_origin = Device.take_new_origin


@variant
def removal_not_enforced() -> AbstractContextManager[Any]:
    return patch.object(Device, "limit_of", lambda *_: None)


@variant
def nobody_vouches() -> AbstractContextManager[Any]:
    """Whoever learns of a removal does not say what it had applied by then."""

    def learn(device: Device, removals: dict[bytes, dict[bytes, int]]) -> None:
        for removed, accepted in removals.items():
            device.removed.setdefault(removed, dict(accepted))

    return patch.object(Device, "learn_removals", learn)


# ---- snapshots: `run(seed, snapshots=True)`

SNAPSHOT_VARIANTS: dict[str, Variant] = {}


def snapshot_variant(make: Variant) -> Variant:
    SNAPSHOT_VARIANTS[make.__name__] = make
    return make


Merge = Callable[[Record | None, Record | None, ReadClock, ReadClock], Record | None]
_merge: Merge = snapshot_merge.merge


def _merging(merge: Merge) -> AbstractContextManager[Any]:
    return patch.object(snapshot_merge, "merge", merge)


@snapshot_variant
def snapshot_as_union() -> AbstractContextManager[Any]:
    """What one side has stays, whatever the clock of the other says."""
    return _merging(lambda ours, theirs, *_: _merge(ours, theirs, {}, {}))


@snapshot_variant
def snapshot_of_equal_clocks() -> AbstractContextManager[Any]:
    """Both clocks are taken for the larger one: what only one side has is gone."""

    def merge(ours: Record | None, theirs: Record | None, one: ReadClock, other: ReadClock) -> Record | None:
        larger = clocks.join(one, other)
        return _merge(ours, theirs, larger, larger)

    return _merging(merge)


@snapshot_variant
def snapshot_instead_of_ours() -> AbstractContextManager[Any]:
    """Theirs takes the place of ours."""
    return _merging(lambda _ours, theirs, *_: theirs)


@snapshot_variant
def snapshot_at_the_clock_of_its_last_row() -> AbstractContextManager[Any]:
    """The runs since the first row are not applied, and the clock says that they are."""

    def complete(transfer: snapshots.Transfer) -> None:
        disk = transfer.sender.disk
        numbers = transfer.numbers
        transfer._new_numbers()
        there = {
            origin: SideOrigin(
                numbers[origin], origin, at.announcement, at.seq, at.head, disk.signatures.get(origin, b""), at.context
            )
            for origin, at in disk.state.origins.items()
        }
        transfer.standing = replace(transfer.standing, origins=there)

    return patch.object(snapshots.Transfer, "complete", complete)


@snapshot_variant
def log_with_a_hole() -> AbstractContextManager[Any]:
    """Whoever switched sends the log as if it had all of it."""
    return patch.object(snapshots, "horizon_after", lambda horizon, _: horizon)


@snapshot_variant
def origins_of_the_snapshot_alone() -> AbstractContextManager[Any]:
    """The copy stands where the snapshot does, also where it was further."""
    return patch.object(snapshots, "ahead", lambda _, theirs: {key: at for key, at in theirs.items() if at.seq})


@snapshot_variant
def images_not_kept() -> AbstractContextManager[Any]:
    """What the merge takes away leaves no image: an edit that it meets stays parked."""
    merge_all = snapshot_merge.merge_all

    def without(*arguments: Any) -> snapshot_merge.Merged:
        return replace(merge_all(*arguments), images={})

    return patch.object(snapshots, "merge_all", without)
