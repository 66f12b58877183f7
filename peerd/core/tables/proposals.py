"""What a person asked for, and how tables would be bound by that."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from peerd.core.tables.plans import TablePlan


class Choices(Struct, frozen=True):
    """What is decided already, by a person here or by the device that bound first; see `protocol.control_tables`."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    keys: Mapping[str, str] = {}
    match: Mapping[str, tuple[str, ...]] = {}
    references: Mapping[str, str] = {}
    triggers: Mapping[str, str] = {}


class Question(Struct, frozen=True):
    """What the schema does not tell: which option of the choices answers it, and the answers that there are."""

    table: str
    option: str
    question: str
    answers: tuple[str, ...] = ()


class Proposal(Struct, frozen=True):
    """Tables that can be bound, parents before children, with remarks for people on each and what becomes of its
    triggers (`run`, `skip`; absent if it has none); tables that cannot, and why; and what is open.
    """

    tables: tuple[TablePlan, ...]
    notes: Mapping[str, tuple[str, ...]] = {}
    triggers: Mapping[str, str] = {}
    left_out: Mapping[str, str] = {}
    questions: tuple[Question, ...] = ()
