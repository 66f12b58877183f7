"""What a courier makes of a look at the relay: which heads are there, which of them are others than it knows, and what
those say.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from peerd.protocol.relay.courier_parts import Parts
from peerd.protocol.relay.courier_steps import Damage, Moment, SeenHead

_OURS = {
    "relay-damaged": "the head that we left is of no use",
    "relay-rolled-back": "an older head than we left is there",
    "relay-cloned": "somebody else writes heads as this device: another copy of it may be running",
}
_OLDER = "its head is an older one than we saw before"
_FOR_OTHERS = "what it leaves there is sealed for other devices: this one was removed, or the file is not its"


class Looking:
    """`looked_s`: when we looked last, None if that means nothing (any more). `to_fetch`: devices whose head is another
    than the one we know; `unseen`: ours is among them, so we must not write over it.
    """

    def __init__(self, parts: Parts) -> None:
        self.looked_s: float | None = None
        self.to_fetch: dict[bytes, None] = {}
        self.unseen = False
        self._parts = parts

    def polled(self, asked: Collection[bytes], tags: Mapping[bytes, str], moment: Moment) -> None:
        """`tags` of the heads that are there, by device, of those that were `asked` for."""
        parts = self._parts
        parts.polling.done(moment)
        parts.reports.expire(moment.wall_ms)
        self.looked_s = moment.now_s
        ours = tags.get(parts.us)
        had_head = parts.memory.put is not None
        self.unseen = parts.head.polled(ours)
        if had_head and ours is None:
            parts.collecting.doubt()
            parts.report("relay-rolled-back", parts.us, "the head that we left is gone", moment)
        for device in [device for device in parts.view.heads if device not in tags]:
            if device in asked:
                self._gone(device, moment)
            else:
                parts.view.forget(device)
        changed = parts.view.changed({device: tag for device, tag in tags.items() if device != parts.us})
        changed = [device for device in changed if parts.former.worth(device, moment.now_s)]
        again = [device for device in parts.view.incomplete(moment.now_s) if device in tags]
        self.to_fetch = dict.fromkeys([*([parts.us] if self.unseen else []), *changed, *again])
        if any(device not in parts.former.devices for device in changed):
            parts.polling.lively(moment)

    def fetched(self, asked: Iterable[bytes], heads: Mapping[bytes, SeenHead], moment: Moment) -> None:
        """The heads of those that were `asked` for; one that is left out is not there any more."""
        for device in asked:
            self.to_fetch.pop(device, None)
            seen = heads.get(device)
            if device == self._parts.us:
                self._see_ours(seen, moment)
            elif seen is not None:
                self._see(device, seen, moment)
            elif device in self._parts.view.heads:
                self._gone(device, moment)

    def put_off(self, asked: Iterable[bytes]) -> None:
        """Their heads could not be fetched: until the next look, so that others are not held up."""
        for device in asked:
            self.to_fetch.pop(device, None)

    def _gone(self, device: bytes, moment: Moment) -> None:
        """The head of a member, or of one that was, is not there any more."""
        parts = self._parts
        parts.view.forget(device)
        if device not in parts.former.devices:
            parts.report("relay-rolled-back", device, "the head that it left is gone", moment)

    def _see(self, device: bytes, seen: SeenHead, moment: Moment) -> None:
        """The head of a member was fetched, or of one that was removed."""
        parts = self._parts
        before = parts.view.heads.get(device)
        parts.view.learn(device, seen, moment.now_s)
        if seen.damage is Damage.REMOVED:
            parts.former.told_nothing(device, moment.now_s)
            return
        if seen.head is None:
            parts.fetching.roster_seen(device, seen.missing, moment.now_s)
        if seen.damage in {Damage.FAREWELL, Damage.BEFORE}:  # it was let in again, and has yet to look
            if before is not None and before.head is not None:
                parts.report("relay-rolled-back", device, _OLDER, moment)
            return
        if seen.head is None and seen.damage is Damage.UNKNOWN_KEY:
            parts.report("relay-unknown-key", device, _FOR_OTHERS, moment)
            return
        parts.reports.clear("relay-unknown-key", device)
        if seen.head is None:
            what = seen.damage.value if seen.damage else Damage.UNREADABLE.value
            parts.report("relay-damaged", device, f"its head is of no use: {what}", moment)
            return
        parts.reports.clear("relay-damaged", device)
        if parts.fetching.head_seen(device, seen.head):
            parts.reports.clear("relay-rolled-back", device)
        else:
            parts.report("relay-rolled-back", device, _OLDER, moment)
        parts.fetching.roster_seen(device, seen.missing, moment.now_s)

    def _see_ours(self, seen: SeenHead | None, moment: Moment) -> None:
        """What stands in our name was fetched; None: nothing does any more."""
        parts = self._parts
        self.unseen = False
        if seen is None:
            parts.polling.soon(moment)
            return
        code = parts.head.seen(seen, moment)
        if code or parts.head.former is not None:
            parts.collecting.doubt()
        if code:
            parts.report(code, parts.us, _OURS[code], moment)
        former = parts.head.former
        if former is not None:
            parts.fetching.head_seen(parts.us, former)
            parts.collecting.adopt(former.snapshot, moment)
