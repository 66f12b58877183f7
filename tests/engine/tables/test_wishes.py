"""What is wanted of a binding, and why it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from peerd.engine.tables.wishes import answers_of, check_decided, check_names, choices_of
from peerd.errors import UserError
from peerd.protocol.control.tables import BindingReport, NewBinding, TableQuestion
from tests.support.proposed import schema_of

DATABASE = Path("/home/ada/todo.db")


def report(*questions: TableQuestion, first: str = "harvest") -> BindingReport:
    return BindingReport(
        name="todo", database=str(DATABASE), bound=False, first=first, tables=[], questions=list(questions)
    )


def question(option: str, *answers: str) -> TableQuestion:
    return TableQuestion(table="tasks", option=option, question="Which?", answers=list(answers))


def test_the_options_that_answer_are_named_as_they_are_typed() -> None:
    found = report(
        question("keys", "surrogate", "natural"), question("match", "a, b", "c"), question("triggers", "run", "skip")
    )
    typed = "--key tasks=surrogate or natural; --match tasks=a,b or c; --triggers tasks=run or skip"
    assert answers_of(found) == typed
    assert answers_of(report(question("match"))) == "--match tasks=COLUMN,..."
    with pytest.raises(UserError) as refused:
        check_decided(found, DATABASE)
    assert refused.value.code == "tables-undecided"
    assert typed in refused.value.next_step


def test_names_are_told_where_they_stand() -> None:
    choices = choices_of(NewBinding(database=str(DATABASE), match={"tags": ["nam"]}))
    schema = schema_of("tags(id INTEGER PRIMARY KEY, name)")
    with pytest.raises(UserError) as refused:
        check_names(schema, choices, DATABASE, declared=False)
    assert "--match tags=nam: tags has no column nam; perhaps name" in str(refused.value)
    with pytest.raises(UserError) as refused:
        check_names(schema, choices, DATABASE, declared=True)
    assert "; perhaps name" in str(refused.value)
    assert "--match" not in str(refused.value)
    assert str(DATABASE) in refused.value.next_step
