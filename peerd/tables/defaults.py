"""What SQLite puts into a column that an INSERT does not name, or that ALTER TABLE adds to rows."""

from __future__ import annotations

from functools import lru_cache

import apsw

from peerd.core.tables.cells import Cell, pack_cell, packed_hash
from peerd.core.tables.shape import Column

_NULL = pack_cell(None)


def packed_default(column: Column) -> bytes | None:
    """The packed cell; None if it is not always the same (the time, a random number), or not known to this SQLite."""
    return _NULL if column.default is None else _evaluated(column.declared, column.default)


def default_hash(column: Column) -> bytes | None:
    """The hash of the cell, or None as in `packed_default`."""
    packed = packed_default(column)
    return None if packed is None else packed_hash(packed)


@lru_cache(maxsize=1_000)
def _evaluated(declared: str, default: str) -> bytes | None:
    """Rows can be given a column with a literal alone, and a generated column takes expressions that are always the
    same.
    """
    row = "INSERT INTO t(x) VALUES(1)"
    is_constant = (
        _asked("CREATE TABLE t(x)", row, f"ALTER TABLE t ADD COLUMN c DEFAULT {default}")
        or _asked(f"CREATE TABLE t(x, c AS ({default}))", row)
    )  # fmt: skip
    stored = _asked(f"CREATE TABLE t(x, c {declared} DEFAULT {default})", row) if is_constant else None
    return None if stored is None else pack_cell(stored[0])


def _asked(*statements: str) -> tuple[Cell] | None:
    """What a row has as its `c`; None if SQLite refuses."""
    memory = apsw.Connection(":memory:")
    try:
        for statement in statements:
            memory.execute(statement)
        ((cell,),) = memory.execute("SELECT c FROM t").fetchall()
    except (apsw.Error, UnicodeDecodeError):
        return None
    else:
        return (cell,)
    finally:
        memory.close()
