"""Our own transactions that wait for a commit: those that arrive while one is syncing share the next.

There is no timer: whoever finds nobody before it is committed at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple, TypeAlias

from peerd.core.batch import Author, Batch
from peerd.core.clocks import Dot
from peerd.core.intents import Intent
from peerd.core.stored import Note
from peerd.engine.collection_rules import CollectionRules
from peerd.engine.ports import Times
from peerd.engine.store_ports import Transaction
from peerd.engine.works import Works
from peerd.engine.writing import Written, write_one
from peerd.errors import UserError

GROUP_WRITES = 2_000

Transact: TypeAlias = Callable[
    [Callable[[Transaction, Batch], None], Iterable[tuple[Note, Dot]]],
    Awaitable[None],
]


class _Waiting(NamedTuple):
    intents: Sequence[Intent]
    note: Note | None
    answer: asyncio.Future[Written]


class GroupCommit:
    """`transact` runs a decision in one SQL transaction; it is only called alone. `author` gives who we are by then."""

    def __init__(
        self, works: Works, transact: Transact, author: Callable[[], Author], rules: CollectionRules, times: Times
    ) -> None:
        self._works = works
        self._transact = transact
        self._author = author
        self._rules = rules
        self._times = times
        self._waiting: list[_Waiting] = []
        self._drain: asyncio.Task[None] | None = None

    def close(self) -> None:
        """Refuse those that wait. Idempotent."""
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.answer.done():
                one.answer.set_exception(_stopping())

    async def write(self, intents: Sequence[Intent], note: Note | None) -> Written:
        """As `Commits.write`."""
        if self._works.is_closed:
            raise _stopping()
        answer: asyncio.Future[Written] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(intents, note, answer))
        if self._drain is None or self._drain.done():
            self._drain = self._works.begin(self._commit_all(), "group commit")
        return await answer

    async def _commit_all(self) -> None:
        while self._waiting:
            async with self._works.alone():
                group, self._waiting = self._waiting[:GROUP_WRITES], self._waiting[GROUP_WRITES:]
                group = [one for one in group if not one.answer.done()]
                if group:
                    await self._commit(group)

    async def _commit(self, group: Sequence[_Waiting]) -> None:
        answers: list[Written | UserError] = []
        notes: list[tuple[Note, Dot]] = []

        def decide(transaction: Transaction, batch: Batch) -> None:
            answers.clear()
            notes.clear()
            batch.load([(intent.collection, intent.key) for one in group for intent in one.intents])
            author = self._author()
            t_ms, tq = self._times.wall_ms(), self._times.quality()
            for one in group:
                try:
                    written = write_one(transaction, batch, author, one.intents, self._rules, t_ms, tq)
                except UserError as refusal:
                    answers.append(refusal)
                    continue
                answers.append(written)
                if one.note is not None and written.dot is not None:
                    notes.append((one.note, written.dot))

        try:
            await self._transact(decide, notes)
        except Exception as problem:  # noqa: BLE001 - whatever it is, each writer has to hear of it
            _answer_all(group, [problem] * len(group))
        else:
            _answer_all(group, answers)


def _answer_all(group: Sequence[_Waiting], answers: Sequence[Written | Exception]) -> None:
    """Tell those that still wait what became of them."""
    for one, answer in zip(group, answers, strict=True):
        if one.answer.done():
            continue
        if isinstance(answer, Exception):
            one.answer.set_exception(answer)
        else:
            one.answer.set_result(answer)


def _stopping() -> UserError:
    return UserError("the daemon is stopping", code="stopping", status=503)
