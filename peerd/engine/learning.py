"""What is said of the members of a space, taken into its roster: checked, durable, and vouched for where that is due.

Whoever brought it may go away meanwhile, a link that ends for instance: what was learnt is told all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from peerd.core.copy import CopyState
from peerd.core.roster import compose
from peerd.core.roster.acceptance import vouches_due
from peerd.core.roster.roster import Refusal, Roster
from peerd.core.roster.statements import SignedStatement
from peerd.engine.commits import Commits
from peerd.engine.ports import Keys
from peerd.engine.store_ports import SpaceStore
from peerd.engine.works import Works
from peerd.logs import get

log = get(__name__)


class Learning:
    """`name` is the space's, for the log; `grown` is called with the roster before."""

    def __init__(
        self, name: str, commits: Commits, store: SpaceStore, keys: Keys, grown: Callable[[Roster], Awaitable[None]]
    ) -> None:
        self._name = name
        self._commits = commits
        self._store = store
        self._keys = keys
        self._grown = grown
        self._works = Works()

    async def close(self) -> None:
        """Let those end that have begun."""
        await self._works.close()

    async def learn(self, statements: Iterable[SignedStatement], bringer: bytes | None = None) -> bool:
        """Take in statements of a peer (`bringer`), or of our own. True if the roster grew."""
        return await asyncio.shield(self.begin(statements, bringer))

    def begin(self, statements: Iterable[SignedStatement], bringer: bytes | None = None) -> asyncio.Task[bool]:
        """As `learn`, for those who do not wait."""
        return self._works.begin(self._learn(tuple(statements), bringer), "learn statements")

    async def _learn(self, offered: tuple[SignedStatement, ...], bringer: bytes | None) -> bool:
        refusals: list[Refusal] = []

        def grow(roster: Roster, copy: CopyState) -> Roster:
            larger, _ = roster.with_statements(offered, bringer)
            refusals[:] = larger.refused
            return self._with_vouches(larger, copy)

        before = await self._commits.grow_roster(grow, self._store.add_statements)
        for refusal in refusals:
            log.warning("statement refused", space=self._name, code=refusal.code, cause=refusal.message)
        if self._commits.roster == before:
            return False
        await self._grown(before)
        return True

    def _with_vouches(self, roster: Roster, copy: CopyState) -> Roster:
        """The roster with our word for what we have applied of those who left; a statement holds only so much."""
        applied = {origin: (at.seq, at.head[:8]) for origin, at in copy.origins.items()}
        announced = {origin: at.announcement for origin, at in copy.origins.items()}
        while due := vouches_due(roster, self._keys.device, applied, announced):
            vouch = compose.signed(compose.vouch(roster, self._keys.device, due), self._keys.sign)
            roster, added = roster.with_statements([vouch])
            if not added:
                break
        return roster
