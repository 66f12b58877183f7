"""How tables are bound: what was decided for each, once and for every device of the space.

    natural     equal key = same row. The record's key is the key's value
    surrogate   the application's own integers: each row has a global id, drawn when it is first seen; every device
                maps it to a local integer, the origin's own if that is free
    content     identity by named columns (a tag by its name); its integer is mapped as with a surrogate

A *reference* is a column that holds the local integer of a row of a surrogate or content table. Everywhere but in the
file it holds that row's record key instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct


class KeyClass(StrEnum):
    NATURAL = "natural"
    SURROGATE = "surrogate"
    CONTENT = "content"


class TablePlan(Struct, frozen=True):
    """One bound table. `number` is the suffix of what we keep in the file for it. `identity` are the columns that make
    the record's key (empty for a surrogate). `references`: column -> table. `run_triggers`: the application's triggers
    run when we write (those that keep an index up to date), else they do not.
    """

    number: int
    table: str
    collection: str
    key_class: KeyClass
    identity: tuple[str, ...] = ()
    references: Mapping[str, str] = {}
    run_triggers: bool = False

    @property
    def maps_integers(self) -> bool:
        """Does its integer key differ between devices?"""
        return self.key_class is not KeyClass.NATURAL


class BindingPlan(Struct, frozen=True):
    """A binding: its name in the space, and its tables, parents before children."""

    name: str
    tables: tuple[TablePlan, ...]
