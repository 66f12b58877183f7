"""SQL text is read as SQLite reads it: quotes, comments, brackets, and names that look like keywords."""

from __future__ import annotations

import pytest

from peerd.tables import sql_text


def texts(sql: str) -> list[str]:
    return [token.text for token in sql_text.tokens(sql)]


def test_quotes_comments_and_brackets_are_one_token_or_none() -> None:
    sql = "a -- b(\n /* c ' */ 'd''e' [f]g\"h\"\"i\" `j` x'00' 1.5e3 é_1$ ; /* open"
    assert texts(sql) == ["a", "'d''e'", "[f]", "g", '"h""i"', "`j`", "x'00'", "1.5e3", "é_1$", ";"]


@pytest.mark.parametrize(
    ("written", "name"),
    [("a", "a"), ('"a""b"', 'a"b'), ("`a``b`", "a`b"), ("[a]", "a"), ("'it''s'", "it's"), ('""', "")],
)
def test_a_name_is_what_the_quotes_hold(written: str, name: str) -> None:
    assert sql_text.tokens(written)[0].identifier == name


def test_parentheses_have_the_depth_of_what_is_around_them() -> None:
    assert [(t.text, t.depth) for t in sql_text.tokens("a(b(c))d")] == [
        ("a", 0), ("(", 0), ("b", 1), ("(", 1), ("c", 2), (")", 1), (")", 0), ("d", 0),
    ]  # fmt: skip


def test_checks_are_found_wherever_they_stand_and_nowhere_else() -> None:
    sql = """CREATE TABLE t( -- CHECK (no)
        a INT CHECK (a > 0 AND (b OR ')')), "CHECK" TEXT DEFAULT 'CHECK (x)', b DEFAULT (1),
        g AS (a /* CHECK (1) */ + 1), CONSTRAINT c CHECK(a<>b ) )"""
    assert sql_text.checks(sql) == ("a > 0 AND (b OR ')')", "a<>b")


def test_columns_of_an_expression_are_found_in_any_case_and_quotes() -> None:
    assert sql_text.columns_named("A > [b c] AND length('d') > \"e\"", ("a", "b c", "d", "e")) == ("a", "b c", "e")


def test_autoincrement_is_a_keyword_and_no_text() -> None:
    assert sql_text.has_autoincrement("CREATE TABLE t(a INTEGER PRIMARY KEY autoincrement)")
    sql = "CREATE TABLE t(\"autoincrement\" INTEGER PRIMARY KEY, b DEFAULT 'autoincrement')"
    assert not sql_text.has_autoincrement(sql)


def test_deferred_references_are_told_in_order() -> None:
    sql = """CREATE TABLE t(a REFERENCES p DEFERRABLE INITIALLY DEFERRED,
        b REFERENCES p NOT DEFERRABLE INITIALLY DEFERRED,
        c REFERENCES p ON DELETE CASCADE, d REFERENCES p DEFERRABLE INITIALLY IMMEDIATE,
        FOREIGN KEY(a, b) REFERENCES q(x, y) ON UPDATE SET NULL DEFERRABLE INITIALLY DEFERRED)"""
    assert sql_text.deferred_references(sql) == (True, False, False, False, True)


@pytest.mark.parametrize(
    ("body", "written"),
    [
        ("INSERT INTO a VALUES(1);", {"a"}),
        ("INSERT OR REPLACE INTO [a b](x) SELECT 1;", {"a b"}),
        ("REPLACE INTO 'a' VALUES(replace('x', 'y', 'z'));", {"a"}),
        ("UPDATE OR IGNORE a SET x = 1 FROM b WHERE c = (SELECT 1 FROM d); DELETE FROM e;", {"a", "e"}),
        ("INSERT INTO a VALUES(1) ON CONFLICT(x) DO UPDATE SET y = 1;", {"a"}),
        ("SELECT RAISE(ABORT, 'DELETE FROM x; UPDATE y') WHERE CASE WHEN 1 THEN 2 END;", set()),
        ("/* DELETE FROM x; */ DELETE FROM -- y\n begin;", {"begin"}),
    ],
)
def test_what_a_trigger_writes_stands_in_its_body(body: str, written: set[str]) -> None:
    head = 'CREATE TRIGGER IF NOT EXISTS begin AFTER UPDATE OF "on", begin ON begin FOR EACH ROW WHEN NEW.begin > (1) '
    assert sql_text.trigger_writes(f"{head} BEGIN {body} END") == written


def test_a_module_is_named_behind_using() -> None:
    assert sql_text.module_of('CREATE VIRTUAL TABLE "using" USING "vec0"(a float[3])') == "vec0"
