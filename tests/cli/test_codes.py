"""Every error code of the source has a text."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import peerd
from peerd.cli.codes import TEXTS
from peerd.control.problems import CODES
from peerd.protocol.pairing.messages import REASONS

CODE_COMES_FIRST = {"refusal", "Refusal", "DialFailed", "Trouble", "Blocked"}


def codes_of(tree: ast.AST) -> Iterator[str]:
    """Codes given as `code="…"`, as the first argument of those above, and as a class's `code`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            given = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            if isinstance(node.func, ast.Name) and node.func.id in CODE_COMES_FIRST:
                given += node.args[:1]
            yield from texts(given)
        elif isinstance(node, ast.ClassDef):
            assigned = [statement for statement in node.body if isinstance(statement, ast.Assign)]
            yield from texts([each.value for each in assigned if ast.unparse(each.targets[0]) == "code"])


def texts(nodes: list[ast.expr]) -> Iterator[str]:
    """The strings that an expression may give: itself, or either branch of a choice."""
    for node in nodes:
        if isinstance(node, ast.IfExp):
            yield from texts([node.body, node.orelse])
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_every_code_in_the_source_is_explained() -> None:
    found: dict[str, str] = {}
    for file in Path(peerd.__file__).parent.rglob("*.py"):
        found |= dict.fromkeys(codes_of(ast.parse(file.read_text(encoding="utf-8"))), file.name)
    assert {"precondition-failed", "not-running", "disk-full", "bad-line"} <= found.keys()
    assert {code: file for code, file in found.items() if code not in TEXTS} == {}


def test_every_refusal_of_the_socket_and_of_pairing_is_explained() -> None:
    assert CODES.keys() - TEXTS.keys() == set()
    assert REASONS.keys() - TEXTS.keys() == set()


def test_texts_are_sentences() -> None:
    for code, text in TEXTS.items():
        assert code == code.lower()
        assert text[0].isupper(), code
        assert text.endswith("."), code
