"""Spaces in which nothing happens let go of the memory that made the last writes fast."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from peerd.engine.spaces import Spaces
from peerd.errors import StoreError


class _Stood(NamedTuple):
    """Where the log of a copy ended when we looked, and whether it has rested there."""

    copy_id: bytes
    position: int
    has_rested: bool = False


class Resting:
    """`look` is called now and then; a space rests when nothing was committed between two looks, once."""

    def __init__(self, spaces: Spaces) -> None:
        self._spaces = spaces
        self._stood: dict[bytes, _Stood] = {}

    async def look(self) -> None:
        before, self._stood = self._stood, {}
        for space in list(self._spaces.by_id.values()):
            now = _Stood(space.copy_id, space.commits.last_position)
            stood = before.get(space.id)
            is_quiet = stood is not None and stood[:2] == now[:2]
            self._stood[space.id] = now._replace(has_rested=is_quiet)
            if is_quiet and stood is not None and not stood.has_rested:
                with suppress(StoreError):  # whatever is wrong with it, the next work finds out
                    await space.store.upkeep.rest()
