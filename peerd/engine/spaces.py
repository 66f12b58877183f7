"""The spaces of this device: opened, founded, joined; and who belongs to them.

Whatever changes a roster is a statement, taken in by our own roster before anybody hears of it. The secrets of the key
epochs are opened here and kept in memory only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from itertools import islice

from peerd.core.device_id import parse_device_id, short_id
from peerd.core.names import check_space_name
from peerd.core.roster import compose, epochs, tickets
from peerd.core.roster.roster import Member, Roster
from peerd.core.roster.statements import ADMIN, DeviceCard, Final, SignedStatement, decode_statement
from peerd.core.slowness import Slowness
from peerd.core.stored import Opened
from peerd.engine.ports import Crypto, Keys, Times
from peerd.engine.repair.scrubbing import Scrubbing
from peerd.engine.space import Space
from peerd.engine.store_ports import Shelf, SpaceStore
from peerd.errors import RemoteProtocolError, StoreError, UserError
from peerd.logs import get

log = get(__name__)

WITHDRAWN_AT_ONCE = 32  # a device can make more invitations than another one has room to withdraw
_HALF_AN_ID = 28


class Spaces:
    """`opened` is called for every space that becomes live, `closed` for one that ends before the daemon does."""

    def __init__(self, shelf: Shelf, keys: Keys, crypto: Crypto, times: Times, device_name: Callable[[], str]) -> None:
        self.by_id: dict[bytes, Space] = {}
        self.opened: Callable[[Space], None] = lambda _: None
        self.closed: Callable[[Space], None] = lambda _: None
        self._coming: list[str] = []  # names of those that are being made
        self._shelf = shelf
        self._keys = keys
        self._crypto = crypto
        self._times = times
        self._device_name = device_name

    async def open_all(self) -> None:
        for opened, store in await self._shelf.open_all():
            with suppress(StoreError):  # it is listed as failed, and the others go on
                await self._make_live(opened, store)

    def passing(self) -> Sequence[str]:
        """The names of spaces that could not be opened for a reason that may have passed."""
        return self._shelf.passing()

    async def open_again(self, name: str) -> None:
        """One of these, if its reason has passed. Raises StoreError."""
        for opened, store in await self._shelf.open_again(name):
            await self._make_live(opened, store)

    async def reopen(self, space: Space) -> None:
        """Close a space whose store is unsynced, and open it from what is on the disk. Raises StoreError."""
        why = space.store.failure or StoreError(f"{space.name} was closed")
        space.makes_way = True
        await self._end(space)
        self._shelf.lay_down(space.id, space.name, why, unsynced=True)
        await self.open_again(space.name)

    async def close(self) -> None:
        async with AsyncExitStack() as each:  # though one of them fails
            for space in self.by_id.values():
                each.push_async_callback(space.close)

    def slowness(self) -> list[Slowness]:
        """What is kept of the commits of each open space."""
        return [space.store.slowness for space in self.by_id.values()]

    def scrubs(self) -> dict[str, Scrubbing]:
        """That of each open space, by its name."""
        return {space.name: space.scrub for space in self.by_id.values()}

    async def _make_live(self, opened: Opened, store: SpaceStore) -> Space:
        space = Space(opened, store, self._keys, self._times, self._crypto.verify)
        try:
            await space.open()
        except StoreError as problem:
            await space.close()
            self._shelf.lay_down(space.id, space.name, problem, unsynced=store.is_unsynced)
            log.warning("space not opened", space=space.name, code=problem.code, cause=str(problem))
            raise
        self.by_id[space.id] = space
        self.opened(space)
        log.info("space opened", space=space.name)
        return space

    @property
    def failed(self) -> dict[str, Exception]:
        return dict(self._shelf.failed)

    def named(self, name: str) -> Space:
        """The space of this name here. Raises UserError 404."""
        for space in self.by_id.values():
            if space.name == name:
                return space
        failure = self._shelf.failed.get(name)
        if failure is not None:
            raise failure
        lost = f" One could not be opened and may be it: {', '.join(self._shelf.failed)}." if self._shelf.failed else ""
        raise UserError(
            f"there is no space {name!r} on this device",
            code="space-not-found",
            status=404,
            next_step=f"`peerctl space list` shows those there are.{lost}",
        )

    def card(self) -> DeviceCard:
        return DeviceCard(self._keys.public_key, self._keys.sealing_public_key, self._device_name())

    def ended(self) -> tuple[bytes, ...]:
        """Our admissions that are over, of all spaces."""
        return tuple(one for space in self.by_id.values() for one in space.roster.ended(self._keys.device))

    # ---- founding and joining

    async def found(self, name: str) -> Space:
        """A new space with this device as its only member."""
        check_space_name(name)
        self._check_free(name)
        genesis = compose.signed(compose.found_space(name, self.card(), self._times.random_bytes(16)), self._keys.sign)
        space_id = decode_statement(genesis.data).space
        roster, _ = Roster(space_id, self._crypto.verify).with_statements([genesis])
        return await self._create(space_id, name, [genesis, self._epoch(roster)])

    async def _create(self, space_id: bytes, name: str, statements: Sequence[SignedStatement]) -> Space:
        """Until it is there no other space takes its name."""
        self._coming.append(name)
        try:
            return await self._make_live(*await self._shelf.create(space_id, name, statements))
        finally:
            self._coming.remove(name)

    async def adopt(self, space_id: bytes, name: str, statements: Sequence[SignedStatement]) -> Space:
        """Our copy of a space that we were let into; of one that we were removed from, a new and empty copy. What we
        know of its members and who lets us in does not is kept, but for what would keep us out.
        """
        existing, ours = self.by_id.get(space_id), self._keys.device
        if existing is None:
            name = self._shelf.failed_name(space_id) or self._free_name(name)
            return await self._create(space_id, name, list(statements))
        before = existing.roster.members.get(ours)
        larger, _ = existing.roster.with_statements(statements)
        if before is not None and larger.goes_on(before):  # else it ended, perhaps without our knowing
            await existing.learn(statements)
            return existing
        return await self._renew(existing, larger.statements if larger.is_member(ours) else statements)

    async def _renew(self, space: Space, statements: Sequence[SignedStatement]) -> Space:
        """A new and empty copy in the place of this one, which is set aside. If there can be none, the old one stays,
        among those that are opened again.
        """
        space.makes_way = True
        await self._end(space)
        try:
            made = await self._shelf.create(space.id, space.name, list(statements))
        except BaseException as problem:
            why = problem if isinstance(problem, StoreError) else StoreError(f"{space.name} was closed")
            self._shelf.lay_down(space.id, space.name, why, unsynced=space.store.is_unsynced)
            raise
        return await self._make_live(*made)

    async def _end(self, space: Space) -> None:
        await space.close()
        del self.by_id[space.id]
        self.closed(space)

    async def forget(self, name: str, *, delete: bool) -> tuple[bytes, str]:
        """Be rid of our copy of a space, also of one that cannot be opened; nobody else hears of it. Gives its id and
        where the database was set aside, "" if it was deleted.

        Raises:
            UserError: space-not-found. StoreError.
        """
        space_id = self._shelf.failed_space(name)
        if space_id is None:
            space = self.named(name)
            space_id = space.id
            await self._end(space)
        aside = self._shelf.forget(space_id, delete=delete)
        log.info("space forgotten", space=name, path=str(aside or ""))
        return space_id, str(aside or "")

    async def rebuild(self, name: str) -> Space:
        """A new and empty copy in the place of one that is damaged or missing, with the members that it knew of; what
        they have fills it. The old file is set aside. What only the old one had stays only there.

        Raises:
            UserError: space-not-found, not-rebuilt, only-copy. StoreError.
        """
        live: Space | None = None
        space_id = self._shelf.failed_space(name)
        if space_id is None:
            live = self.named(name)
            space_id, roster = live.id, live.roster
        else:
            roster, _ = Roster(space_id, self._crypto.verify).with_statements(self._shelf.salvage(space_id))
        ours = self._keys.device
        if not roster.is_member(ours):
            raise UserError(
                f"what is left of {name} does not say that this device is a member",
                code="not-rebuilt",
                status=409,
                next_step=f"Let a member invite this device again (`peerctl invite {name}`, here `peerctl join`): it "
                "stays the member it was.",
            )
        if not set(roster.members) - {ours}:
            raise UserError(
                f"this device is the only member of {name}: nobody else has a copy",
                code="only-copy",
                status=409,
                next_step="Keep the file. Restore a backup, or try `sqlite3 FILE .recover` on a copy of it.",
            )
        if live is not None:
            made = await self._renew(live, roster.statements)
        else:
            made = await self._make_live(*await self._shelf.create(space_id, name, roster.statements))
        log.info("space rebuilt", space=name)
        return made

    def check_joinable_as(self, name: str) -> None:
        """May a space that we join be called so here? A copy that we were removed from makes way.

        Raises:
            UserError: bad-name, space-exists.
        """
        check_space_name(name)
        ours = self._keys.device
        removed = {space.name for space in self.by_id.values() if not space.roster.is_member(ours)}
        if name not in removed:
            self._check_free(name)

    def _check_free(self, name: str) -> None:
        if name in self._names():
            raise UserError(
                f"there is a space {name!r} already",
                code="space-exists",
                status=409,
                next_step="Choose another name; `peerctl space list` shows those there are.",
            )

    def _free_name(self, name: str) -> str:
        taken = self._names()
        if name not in taken:
            return name
        return next(other for number in range(2, 10_000) if (other := f"{name[:58]}-{number}") not in taken)

    def _names(self) -> set[str]:
        return {space.name for space in self.by_id.values()} | {*self._shelf.failed, *self._coming}

    # ---- members

    async def admit(
        self,
        space: Space,
        card: DeviceCard,
        role: str = ADMIN,
        ticket: bytes | None = None,
        ended: Collection[bytes] = (),
    ) -> None:
        """State that a device belongs to the space, with every secret that we know sealed to it. `ticket`: the id of
        the one that it came by; `ended`: its admissions that are over, as it says.

        Raises:
            UserError: not-admin, bad-name, already-member, roster-full. StoreError.
        """
        secrets = self.secrets(space)
        wraps = {
            one: self._crypto.seal(card.sealing_key, secrets[one], epochs.wrap_info(space.id, one, card.device))
            for one in epochs.handed_on(space.roster, secrets)
        }
        await self._state(space, compose.admit(space.roster, self._keys.device, card, role, wraps, ticket, ended))
        log.info("member admitted", space=space.name, device=short_id(card.device))

    async def remove(self, space: Space, device: bytes) -> None:
        """Remove a device for good, with what it wrote as far as we have it, and change the secret of the space. The
        invitations by file that it has made end with its admission; who waits with one of the first of them is told.

        Raises:
            UserError: not-admin, not-member, roster-full; only-member, only-admin. StoreError.
        """
        if device == self._keys.device:
            compose.check_others_go_on(space.roster, space.name, device)
        finals = {
            origin: Final(at.seq, at.head[:8])
            for origin, at in space.copy.origins.items()
            if at.announcement.device == device and at.seq
        }
        made = tickets.open_tickets_of(space.roster, device, self._times.wall_ms())[:WITHDRAWN_AT_ONCE]
        removal = compose.remove(space.roster, self._keys.device, device, finals)
        withdrawals = [compose.withdraw(space.roster, self._keys.device, ticket) for ticket in made]
        # The removal first: there is always room for that.
        await self._state(space, removal, *withdrawals)
        log.info("member removed", space=space.name, device=short_id(device))
        await self.renew_epoch(space)

    async def renew_epoch(self, space: Space) -> None:
        """Make a new secret if the one in use is known to somebody who is no member (any more); state it again for
        members who lack it, because they were admitted while it was made.
        """
        roster, ours = space.roster, self._keys.device
        if not roster.is_admin(ours):
            return
        epoch = epochs.current(roster)
        if epoch is None:
            await space.learn([self._epoch(roster)])
            return
        without = epochs.without_wrap(roster, epoch)
        secret = self.secrets(space).get(epoch.id) if without else None
        if secret is not None:
            wraps = {
                member.device: self._crypto.seal(
                    member.sealing_key, secret, epochs.wrap_info(space.id, epoch.id, member.device)
                )
                for member in without
            }
            stated = compose.new_epoch(roster, ours, epoch.number, epoch.id, wraps)
            await space.learn([compose.signed(stated, self._keys.sign)])

    def _epoch(self, roster: Roster) -> SignedStatement:
        secret = self._times.random_bytes(epochs.SECRET_BYTES)
        one = epochs.epoch_id(roster.space, secret)
        wraps = {
            device: self._crypto.seal(member.sealing_key, secret, epochs.wrap_info(roster.space, one, device))
            for device, member in islice(self._ourselves_first(roster), epochs.WRAPS_AT_ONCE)
        }
        number = epochs.next_number(roster)
        return compose.signed(compose.new_epoch(roster, self._keys.device, number, one, wraps), self._keys.sign)

    def _ourselves_first(self, roster: Roster) -> Iterator[tuple[bytes, Member]]:
        """The members by whom a new secret must be known: whoever has no wrap at first gets one of us."""
        ours = self._keys.device
        yield ours, roster.members[ours]
        yield from ((device, member) for device, member in roster.members.items() if device != ours)

    async def _state(self, space: Space, data: bytes, *more: bytes) -> None:
        """Raises UserError "roster-full" if there is no room for the first of these statements."""
        await space.learn([compose.signed(one, self._keys.sign) for one in (data, *more)])
        compose.check_taken(space.roster, data)

    def secrets(self, space: Space) -> dict[bytes, bytes]:
        """The secrets of the space that were sealed to us: epoch id -> 32 bytes."""
        found: dict[bytes, bytes] = {}
        for one, sealed in epochs.wraps_to(space.roster, self._keys.device):
            try:
                secret = self._keys.open(sealed, epochs.wrap_info(space.id, one, self._keys.device))
            except RemoteProtocolError:
                continue  # sealed to a key that we no longer have
            if epochs.epoch_id(space.id, secret) == one:
                found[one] = secret
        return found

    def verify(self, public_key: bytes, signature: bytes, data: bytes) -> bool:
        return self._crypto.verify(public_key, signature, data)

    def discovery_keys(self, space: Space) -> list[bytes]:
        """The keys by which members recognise each other's announcements, the one in use first."""
        secrets = self.secrets(space)
        return [
            epochs.discovery_key(space.id, secrets[epoch.id])
            for epoch in epochs.announced(space.roster)
            if epoch.id in secrets
        ]

    def device_from(self, text: str, space: Space | None = None) -> bytes:
        """A device id from its text form; of a member also from its name or short id. Raises UserError."""
        if space is not None:
            known = {*space.roster.members, *space.roster.removed, *space.awaited}
            named = [device for device in known if space.name_of(device) == text]
            named = named or [device for device in known if short_id(device) == text.upper()]
            if len(named) == 1:
                return named[0]
            if len(named) > 1:
                raise UserError(
                    f"{len(named)} members are called {text!r}",
                    code="bad-device-id",
                    next_step="Use the device id that `peerctl members` shows.",
                )
            if len(text) < _HALF_AN_ID:  # it was meant as a name
                raise UserError(
                    f"no member of {space.name} is called {text!r}, and it is no device id",
                    code="bad-device-id",
                    next_step="`peerctl members` lists names and ids.",
                )
        return parse_device_id(text)
