"""What can be told from the text of a schema: SQL in tokens, and the few questions asked of them.

SQLite's pragmas say nearly everything about a schema. This is for the rest: CHECK constraints, AUTOINCREMENT, deferred
foreign keys, and which tables a trigger writes. The text has been accepted by SQLite, so it is read, never judged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from peerd.core.tables.shape import folded

_TOKEN = re.compile(
    r"""
      (?P<space> [ \t\n\f\r]+ | --[^\n]* | /\*.*?(?:\*/|\Z) )
    | (?P<string> [xX]?'(?:[^']|'')*' )
    | (?P<name> "(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^\]]*\] )
    | (?P<number> \.?[0-9][0-9A-Za-z_.]* )
    | (?P<word> [A-Za-z_\x80-\U0010ffff][0-9A-Za-z_$\x80-\U0010ffff]* )
    """,
    re.VERBOSE | re.DOTALL,
)
_ACTIONS = frozenset({"INSERT", "REPLACE", "UPDATE", "DELETE"})


class Token(NamedTuple):
    """`kind`: word (an identifier or keyword without quotes), name (a quoted identifier), string, number, sign.
    `depth` is the number of parentheses around it; a parenthesis has the depth of what stands outside of it.
    """

    kind: str
    text: str
    start: int
    end: int
    depth: int

    def is_word(self, *words: str) -> bool:
        """Is it one of these keywords?"""
        return self.kind == "word" and self.text.upper() in words

    @property
    def identifier(self) -> str:
        """The name it stands for; SQLite takes strings for names, too."""
        if self.kind == "word":
            return self.text
        closing = self.text[-1]
        inner = self.text[1:-1]
        return inner if closing == "]" else inner.replace(closing * 2, closing)


def tokens(sql: str) -> list[Token]:
    """The tokens of `sql`, without spaces and comments."""
    found, depth, position = [], 0, 0
    while position < len(sql):
        match = _TOKEN.match(sql, position)
        kind, end = ("sign", position + 1) if match is None else (match.lastgroup or "sign", match.end())
        text = sql[position:end]
        if text == ")":
            depth -= 1
        if kind != "space":
            found.append(Token(kind, text, position, end, depth))
        if text == "(":
            depth += 1
        position = end
    return found


def has_autoincrement(table_sql: str) -> bool:
    """Does this CREATE TABLE say AUTOINCREMENT?"""
    return any(token.depth == 1 and token.is_word("AUTOINCREMENT") for token in tokens(table_sql))


def checks(table_sql: str) -> tuple[str, ...]:
    """The expression of each CHECK of a CREATE TABLE, in order, without its parentheses."""
    found, parts = [], tokens(table_sql)
    for number, token in enumerate(parts):
        if token.depth == 1 and token.is_word("CHECK"):
            opening = parts[number + 1]
            closing = next(part for part in parts[number + 2 :] if part.depth == 1 and part.text == ")")
            found.append(table_sql[opening.end : closing.start].strip())
    return tuple(found)


def columns_named(expression: str, columns: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `columns` that an expression may name: in doubt, one more."""
    words = {folded(token.identifier) for token in tokens(expression) if token.kind in {"word", "name"}}
    return tuple(column for column in columns if folded(column) in words)


def deferred_references(table_sql: str) -> tuple[bool, ...]:
    """For each foreign key of a CREATE TABLE in the order of the text: is it DEFERRABLE INITIALLY DEFERRED?"""
    found: list[bool] = []
    parts = [token for token in tokens(table_sql) if token.depth == 1]
    for number, token in enumerate(parts):
        if token.is_word("REFERENCES"):
            found.append(False)
        elif token.is_word("DEFERRABLE") and found:
            initially = [part.text.upper() for part in parts[number + 1 : number + 3]]
            found[-1] = initially == ["INITIALLY", "DEFERRED"] and not parts[number - 1].is_word("NOT")
    return tuple(found)


def trigger_writes(trigger_sql: str) -> frozenset[str]:
    """The tables that the body of a CREATE TRIGGER inserts into, updates or deletes from, as its text names them."""
    return frozenset(_targets(_body(tokens(trigger_sql))))


def _body(parts: list[Token]) -> list[Token]:
    """What stands behind BEGIN, which some may call a table or a column, too."""
    on = next(number for number, token in enumerate(parts) if token.is_word("ON") and token.depth == 0)
    after_table = on + (4 if parts[on + 2].text == "." else 2)
    for number in range(after_table, len(parts)):
        if parts[number].depth == 0 and parts[number].is_word("BEGIN") and parts[number - 1].text != ".":
            return parts[number + 1 :]
    return []


def _targets(body: list[Token]) -> Iterator[str]:
    for number, token in enumerate(body):
        if token.depth or not token.is_word(*_ACTIONS) or (number and body[number - 1].text != ";"):
            continue
        rest = body[number + 1 : number + 7]
        if rest and rest[0].is_word("OR"):
            rest = rest[2:]
        if rest and rest[0].is_word("INTO", "FROM"):
            rest = rest[1:]
        if len(rest) > 2 and rest[1].text == ".":
            rest = rest[2:]
        if rest:
            yield rest[0].identifier


def module_of(virtual_table_sql: str) -> str:
    """The module that a CREATE VIRTUAL TABLE names."""
    parts = tokens(virtual_table_sql)
    using = next(number for number, token in enumerate(parts) if token.is_word("USING"))
    return parts[using + 1].identifier
