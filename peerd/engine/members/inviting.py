"""Letting devices in: one open invitation at a time, and devices that were named by their id.

An invitation is a stream of events for whoever opened it: the code, then each wrong one, then who asks, then who was
admitted, or why not. Closing the stream ends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

from peerd.core.device_id import format_device_id, short_id
from peerd.core.roster import compose
from peerd.core.roster.statements import ADMIN
from peerd.core.stored import Awaited
from peerd.engine.members.pairing_link import drive
from peerd.engine.ports import Keys, Link, Times
from peerd.engine.space import Space
from peerd.engine.spaces import Spaces
from peerd.errors import UserError
from peerd.logs import get
from peerd.protocol.control.reports import InvitationEvent
from peerd.protocol.pairing.inviter import Inviter
from peerd.protocol.pairing.messages import GrantBody
from peerd.protocol.pairing.pairing import Admit, AskPerson, Effect, Failed, Finished, Store
from peerd.protocol.pairing.window import InvitationWindow, State, draw_code

log = get(__name__)

NAMED = 1_000  # devices that may be awaited by name at once
NAMED_MS = 7 * 24 * 3600 * 1000  # so long each of them is


class Invitation:
    """An open invitation. `events` is what its owner reads."""

    def __init__(self, number: str, space: Space, window: InvitationWindow, *, ask: bool) -> None:
        self.number = number
        self.space = space
        self.window = window
        self.ask = ask
        self.events: asyncio.Queue[InvitationEvent | UserError] = asyncio.Queue()  # two wrong codes, one asks, one ends
        self.answer: asyncio.Future[bool] | None = None
        self.closed = False  # nobody is admitted by it any more


class Inviting:
    """`window_changed` is called when an invitation opens or closes: discovery shows our name while one is open."""

    def __init__(self, spaces: Spaces, keys: Keys, times: Times, device_name: Callable[[], str]) -> None:
        self.window_changed: Callable[[], None] = lambda: None
        self.open: Invitation | None = None
        self._spaces = spaces
        self._keys = keys
        self._times = times
        self._device_name = device_name

    # ---- for whoever invites

    async def invite(self, space: Space, *, assume_yes: bool) -> AsyncGenerator[InvitationEvent, None]:
        """Open an invitation and give its events.

        Raises:
            UserError: invitation-open, not-admin; the stream raises what goes wrong later.
        """
        if self.open is not None:
            raise UserError(
                "an invitation is open already",
                code="invitation-open",
                status=409,
                next_step="Interrupt the `peerctl invite` that waits on this device, or wait two minutes.",
            )
        compose.check_admin(space.roster, self._keys.device)
        code = draw_code(self._times.random_bytes)
        window = InvitationWindow(code, self._times.boottime_s())
        invitation = Invitation(self._times.random_bytes(6).hex(), space, window, ask=not assume_yes)
        self.open = invitation
        self.window_changed()
        log.info("invitation opened", space=space.name)
        return _Stream(self._events(invitation), lambda: self._close(invitation))

    async def _events(self, invitation: Invitation) -> AsyncGenerator[InvitationEvent, None]:
        window = invitation.window
        try:
            left_s = window.expires_s - self._times.boottime_s()
            yield InvitationEvent(id=invitation.number, code=window.code, expires_in_s=round(left_s))
            while True:
                event = await self._next(invitation)
                if isinstance(event, UserError):
                    raise event
                if event.admitted is not None:
                    self._close(invitation)
                    yield event
                    return
                yield event
        finally:
            self._close(invitation)

    def _close(self, invitation: Invitation) -> None:
        if invitation.closed:
            return
        invitation.closed = True
        if invitation.answer is not None and not invitation.answer.done():
            invitation.answer.set_result(False)
        if self.open is invitation:
            self.open = None
            self.window_changed()
            log.info("invitation closed", space=invitation.space.name)

    async def _next(self, invitation: Invitation) -> InvitationEvent | UserError:
        """What happens next, at the latest that the time is over; an attempt in progress may still end."""
        while True:
            left_s = invitation.window.expires_s - self._times.boottime_s()
            if left_s <= 0 and invitation.events.empty() and not self._is_busy(invitation):
                return UserError(
                    "nobody used the code in time",
                    code="expired",
                    status=409,
                    next_step="Start a new invitation with `peerctl invite`.",
                )
            try:
                async with asyncio.timeout(max(left_s, 1.0)):
                    return await invitation.events.get()
            except TimeoutError:
                continue

    def _is_busy(self, invitation: Invitation) -> bool:
        return invitation.window.state(self._times.boottime_s()) in {State.BUSY, State.SPENT}

    def _find(self, number: str) -> Invitation:
        if self.open is None or self.open.number != number:
            raise UserError("there is no such invitation", code="invitation-not-found", status=404)
        return self.open

    def confirm(self, number: str, *, admit: bool) -> None:
        """A person answers for the device that asks."""
        invitation = self._find(number)
        if invitation.answer is None or invitation.answer.done():
            raise UserError("nobody asks to be admitted", code="nobody-asks", status=409)
        invitation.answer.set_result(admit)

    def cancel(self, number: str) -> None:
        invitation = self._find(number)
        self._close(invitation)
        invitation.events.put_nowait(UserError("the invitation was cancelled", code="cancelled", status=409))

    async def await_device(self, space: Space, device: bytes, role: str) -> Awaited:
        """Admit exactly this device when it comes and names us within seven days, also after a restart.

        Raises:
            UserError: not-admin, already-member, too-busy. DiskFull, StoreError.
        """
        compose.check_admin(space.roster, self._keys.device)
        if device in space.roster.members and space.presence.was_here(device):  # else its join may have failed
            raise UserError(f"that device is a member of {space.name} already", code="already-member", status=409)
        now_ms = self._times.wall_ms()
        for each in self._spaces.by_id.values():
            await each.stop_awaiting([one.device for one in each.awaited.values() if one.expires_ms <= now_ms])
        count = sum(len(each.awaited) for each in self._spaces.by_id.values())
        if count >= NAMED and device not in space.awaited:
            raise UserError("too many devices are awaited", code="too-busy", status=503)
        awaited = Awaited(device, role, now_ms + NAMED_MS)
        await space.await_device(awaited)
        self.window_changed()
        return awaited

    async def stop_awaiting(self, space: Space, device: bytes) -> None:
        """It may not come any more, at once. Raises DiskFull, StoreError: then it may again after a restart."""
        space.awaited.pop(device, None)
        self.window_changed()
        await space.store.drop_awaited([device])
        log.info("device not awaited any more", space=space.name, device=short_id(device))

    def _named(self, device: bytes) -> tuple[Space, str] | None:
        """The space that a device was named for, and the role; of several the one that was said last."""
        found = [
            (one.expires_ms, space, one.role)
            for space in self._spaces.by_id.values()
            if (one := space.awaited.get(device)) is not None and one.expires_ms > self._times.wall_ms()
        ]
        if not found:
            return None
        _, space, role = max(found, key=lambda one: one[0])
        return space, role

    def forget(self, space: bytes) -> None:
        """Nobody is let into this space any more."""
        if self.open is not None and self.open.space.id == space:
            self.cancel(self.open.number)

    # ---- for links on peerd.pair.1

    def is_expected(self, device: bytes) -> bool:
        """May this device talk to us about pairing now?"""
        return self._named(device) is not None or self.open is not None

    async def run_link(self, link: Link) -> None:
        """One attempt of one device."""
        named = self._named(link.theirs)
        invitation = self.open
        machine = Inviter(
            ours=self._keys.device,
            name=self._device_name(),
            theirs=link.theirs,
            window=invitation.window if invitation is not None else None,
            named=named is not None,
            ask=invitation is not None and invitation.ask,
            entropy=self._times.random_bytes,
            now_s=self._times.boottime_s(),
        )
        attempt = _Attempt(self, machine, link.theirs, invitation, named)
        end = await drive(machine, link, self._times, attempt.perform)
        if isinstance(end, Finished) and machine.by_name and named is not None:
            await named[0].stop_awaiting([link.theirs])  # else it has not got the grant, and comes again
        attempt.report(end)

    async def admit(self, space: Space, effect: Admit, role: str) -> GrantBody:
        """Make a device a member and say what it needs; a member that asks again gets the same grant."""
        if compose.needs_admission(space.roster, effect.card, effect.ended):
            await self._spaces.admit(space, effect.card, role, ended=effect.ended)
        return GrantBody(space.id, space.roster.name, space.roster.statements)

    @property
    def times(self) -> Times:
        return self._times


class _Attempt:
    """What one device's attempt needs of the daemon."""

    def __init__(
        self,
        inviting: Inviting,
        machine: Inviter,
        theirs: bytes,
        invitation: Invitation | None,
        named: tuple[Space, str] | None,
    ) -> None:
        self._inviting = inviting
        self._machine = machine
        self._theirs = theirs
        self._invitation = invitation
        self._named = named
        self._admitted: dict[str, Any] | None = None
        self._space: Space | None = None

    async def perform(self, effect: AskPerson | Admit | Store) -> list[Effect]:
        now_s = self._inviting.times.boottime_s
        if isinstance(effect, AskPerson):
            answer = self._machine.by_name or await self._ask(effect)  # whoever was named needs no asking
            return self._machine.confirmed(answer, now_s())
        assert isinstance(effect, Admit)  # noqa: S101 - an inviter stores nothing
        if self._machine.by_name and self._named is not None:
            space, role = self._named
        elif self._invitation is not None and self._invitation.closed:
            return self._machine.fail("cancelled", now_s())
        elif self._machine.took_window and self._invitation is not None:
            space = self._invitation.space
            member = space.roster.members.get(effect.card.device)
            role = ADMIN if member is None else member.role
        else:
            return self._machine.fail("failed", now_s())
        grant = await self._inviting.admit(space, effect, role)
        self._space = space
        self._admitted = {"device": format_device_id(self._theirs), "name": effect.card.name, "space": space.name}
        return self._machine.granted(grant, now_s())

    async def _ask(self, effect: AskPerson) -> bool:
        invitation = self._invitation
        if invitation is None or invitation.closed:
            return False
        invitation.answer = asyncio.get_running_loop().create_future()
        asking = {"device": format_device_id(self._theirs), "name": effect.name, "short_id": effect.short_id}
        invitation.events.put_nowait(InvitationEvent(id=invitation.number, asking=asking))
        try:
            async with asyncio.timeout(110):
                return await invitation.answer
        except TimeoutError:
            return False

    def report(self, end: Finished | Failed) -> None:
        """Tell whoever invited how it ended."""
        invitation = self._invitation
        if isinstance(end, Finished) and self._space is not None:
            self._space.presence.note_seen(self._theirs)  # it has said that it keeps a copy
        if isinstance(end, Failed):
            log.warning("pairing refused", device=short_id(self._theirs), code=end.code, cause=end.text)
        if invitation is None or invitation.closed or not self._machine.took_window:
            return  # another device's attempt ends nobody's invitation
        if self._admitted is not None:
            self._admitted["confirmed"] = isinstance(end, Finished)
            invitation.events.put_nowait(InvitationEvent(id=invitation.number, admitted=self._admitted))
        elif isinstance(end, Failed) and end.code == "wrong-code" and not end.theirs:
            wrong = {"device": format_device_id(self._theirs), "tries_left": invitation.window.tries_left}
            invitation.events.put_nowait(InvitationEvent(id=invitation.number, wrong_code=wrong))
        elif isinstance(end, Failed) and self._machine.used_up:
            invitation.events.put_nowait(UserError(end.text, code=end.code, status=409, next_step=end.next_step))


class _Stream(AsyncGenerator[InvitationEvent, None]):
    """A generator whose end is told even if it was never begun; Python's own says nothing then."""

    def __init__(self, events: AsyncGenerator[InvitationEvent, None], closed: Callable[[], None]) -> None:
        self._events = events
        self._closed = closed

    async def asend(self, value: None) -> InvitationEvent:
        return await self._events.asend(value)

    async def athrow(self, *problem: Any) -> InvitationEvent:
        return await self._events.athrow(*problem)

    async def aclose(self) -> None:
        await self._events.aclose()
        self._closed()
