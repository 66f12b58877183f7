"""Statements are kept as they came, once each."""

from __future__ import annotations

from peerd.core.roster.statements import SignedStatement
from tests.store.copies import Copy


async def test_statements_come_back_in_their_order_and_once(copy: Copy) -> None:
    """The bytes are the statement: the same ones under another signature are no second statement."""
    first, second = SignedStatement(b"one", b"1" * 64), SignedStatement(b"two", b"2" * 64)
    await copy.store.add_statements([first])
    await copy.store.add_statements([second, first, SignedStatement(b"one", b"x" * 64)])
    await copy.store.add_statements([])
    assert (await copy.reopen()).statements == (first, second)
