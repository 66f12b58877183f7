"""What is said on the control socket about bound tables, as JSON. The rules are those of `messages`."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from peerd.protocol.control.messages import Request

KeyName = Literal["natural", "surrogate", "content"]


class NewBinding(Request):
    """Bind the tables of a database; what is left out is proposed, and refused where it cannot be told.

    include, exclude  names of tables; none included: all that can be bound
    keys              table -> what makes a row the same row on other devices
    match             table -> the columns by which rows of a table with the class `content` are the same
    references        "TABLE.COLUMN" -> the table whose keys that column holds
    triggers          table -> whether the application's own triggers run when peerd writes
    suggested         answer what is open as suggested, where one of the answers does no harm
    merge             both sides have data: rows and records of the same key become one
    adopt             both sides have data: a backup of the file is made, and its rows give way
    dry_run           only report
    """

    database: str
    name: str | None = None
    include: list[str] = []
    exclude: list[str] = []
    keys: dict[str, KeyName] = {}
    match: dict[str, list[str]] = {}
    references: dict[str, str] = {}
    triggers: dict[str, Literal["run", "skip"]] = {}
    suggested: bool = False
    merge: bool = False
    adopt: bool = False
    dry_run: bool = False


class TableReport(Struct, kw_only=True):
    """How a table is bound, or would be. `triggers` is empty if the application has none on it. `known` rows were bound
    before, stand as they stood then, and meet their records.
    """

    table: str
    collection: str
    key: str
    identity: list[str] = []
    references: dict[str, str] = {}
    triggers: str = ""
    rows: int = 0
    records: int = 0
    known: int = 0
    notes: list[str] = []


class LeftOut(Struct, kw_only=True):
    """A table that is not bound, and why."""

    table: str
    reason: str


class TableQuestion(Struct, kw_only=True):
    """What the schema does not tell. `option` is the member of the request (of `peerctl tables bind`, the option) that
    answers it, `answers` are what it may be, if that is a short list, `suggestion` the one that does no harm.
    """

    table: str
    option: str
    question: str
    answers: list[str] = []
    suggestion: str = ""


class BindingReport(Struct, kw_only=True):
    """What binding does, or would do. `first` is what happens with the data that is there: `harvest` (the file has
    some), `project` (the space has), `merge`, `adopt`, `nothing`, or `undecided`. `backup` is where the file's copy is.

    Of a file that is bound already, `tables` and `first` are about tables that are new; `kept` are those that were
    bound and stay as they are, `changes` what becomes of them all the same.
    """

    name: str
    database: str
    bound: bool
    first: str
    tables: list[TableReport]
    left_out: list[LeftOut] = []
    questions: list[TableQuestion] = []
    backup: str | None = None
    kept: list[str] = []
    changes: list[str] = []


class ParkedRow(Struct, kw_only=True):
    """A record that its table cannot show at the moment."""

    table: str
    collection: str = ""
    key: str
    code: str
    reason: str
    next_step: str = ""


class BoundTable(Struct, kw_only=True):
    """`waiting` rows are to be harvested, `parked` records cannot be shown, `held` deletes wait for a person."""

    table: str
    collection: str
    key: str
    rows: int | None = None
    waiting: int | None = None
    parked: int | None = None
    held: int | None = None


class BindingView(Struct, kw_only=True):
    """`parked` are the first hundred. `not_captured` are rows that cannot become records."""

    name: str
    database: str
    state: str
    reason: str = ""
    next_step: str = ""
    tables: list[BoundTable]
    parked: list[ParkedRow] = []
    not_captured: list[LeftOut] = []


class BindingList(Struct, kw_only=True):
    bindings: list[BindingView]


class Unbound(Struct, kw_only=True):
    """A binding that is no more. `cleaned`: what peerd kept in the file is gone from it. Else `left` says why it may
    still be in there, and `next_step` how it is taken out.
    """

    binding: str
    database: str
    cleaned: bool
    left: str = ""
    next_step: str = ""


class UnboundFile(Request):
    """A file that no binding knows any more, and that may hold what peerd kept in it."""

    database: str


class CleanedFile(Struct, kw_only=True):
    """`cleaned`: there was something, and it is gone."""

    database: str
    cleaned: bool


class HeldTable(Struct, kw_only=True):
    table: str
    rows: int


class HeldList(Struct, kw_only=True):
    """Deletes that are held, because too many rows were deleted at once."""

    held: list[HeldTable]


class HeldAnswer(Request):
    """`approve`: the rows were meant to be deleted, and are on every device. `restore`: they come back into the file.
    Without a table: of all.
    """

    action: Literal["approve", "restore"]
    table: str | None = None
