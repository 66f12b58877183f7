"""What a person, or the configuration, wants of a binding, and why it is refused."""

from __future__ import annotations

from pathlib import Path

from peerd.core.tables.extending import against_what_is_bound
from peerd.core.tables.plans import BindingPlan
from peerd.core.tables.proposals import Choices
from peerd.core.tables.shape import Schema
from peerd.core.tables.wrong_names import wrong_names
from peerd.errors import StoreError, TableTrouble, UserError
from peerd.protocol.control.tables import BindingReport, NewBinding, Unbound


def choices_of(wish: NewBinding) -> Choices:
    match = {table: tuple(columns) for table, columns in wish.match.items()}
    return Choices(tuple(wish.include), tuple(wish.exclude), wish.keys, match, wish.references, wish.triggers)


def check_names(schema: Schema, choices: Choices, database: Path, *, declared: bool) -> None:
    """All names that the database lacks, at once. `declared`: they stand in the configuration.

    Raises:
        UserError: tables-unknown.
    """
    wrong = wrong_names(schema, choices)
    if wrong:
        told = "; ".join(one.told(declared=declared) for one in wrong)
        where = f"[[spaces.NAME.tables]] of {database}" if declared else "the options of `peerctl tables bind`"
        raise UserError(
            f"{database} does not have what was named: {told}",
            code="tables-unknown",
            status=409,
            next_step=f"Nothing was changed. Correct {where}; `sqlite3 FILE .schema` shows all names.",
        )


def check_against(plan: BindingPlan, choices: Choices, space: str, *, declared: bool) -> None:
    """What is bound stays as it is. Raises UserError: tables-refused."""
    wrong = against_what_is_bound(plan, choices)
    if wrong:
        raise UserError(
            "what is bound stays as it is: " + "; ".join(one.told(declared=declared) for one in wrong),
            code="tables-refused",
            status=409,
            next_step=f"Leave that out; or `peerctl tables unbind {space} {plan.name}` and bind again, on all devices.",
        )


def check_decided(report: BindingReport, database: Path) -> None:
    """Raises UserError: tables-undecided, tables-refused, both-have-data."""
    if report.questions:
        open_ones = "; ".join(f"{one.table}: {one.question}" for one in report.questions)
        raise UserError(
            f"the schema leaves something open: {open_ones}",
            code="tables-undecided",
            status=409,
            next_step=f"Answer with {answers_of(report)}; or run `peerctl tables bind` on a terminal, where it asks.",
            report=report,
        )
    if not report.tables and not report.changes:
        reasons = "; ".join(f"{one.table}: {one.reason}" for one in report.left_out)
        raise UserError(
            f"no table of {database} can be bound{': ' + reasons if reasons else ''}",
            code="tables-refused",
            status=409,
            report=report,
        )
    if report.first == "undecided":
        raise UserError(
            "both the file and the space have data",
            code="both-have-data",
            status=409,
            next_step="--merge brings them together; --adopt lets the file's rows give way, after a backup.",
            report=report,
        )


def answers_of(report: BindingReport) -> str:
    """The options that answer what is open, as a person would type them."""
    options = {"keys": "--key", "match": "--match", "triggers": "--triggers"}
    typed = []
    for one in report.questions:
        option = options.get(one.option, f"--{one.option}")
        answers = [answer.replace(", ", ",") for answer in one.answers] or ["COLUMN,..."]
        typed.append(f"{option} {one.table}={' or '.join(answers)}")
    return "; ".join(typed)


def exists(sentence: str) -> UserError:
    return UserError(sentence, code="binding-exists", status=409, next_step="`peerctl tables list` shows it.")


# ---- the end of a binding

_CLEAN = "`peerctl tables unbind --file PATH` takes out what peerd kept in it, wherever it is"


def unbound(name: str, database: Path, *, cleaned: bool, why: str = "") -> Unbound:
    """What is left of a binding. `why` the file could not be looked at; without it, another file stands there."""
    answer = Unbound(binding=name, database=str(database), cleaned=cleaned)
    if not cleaned:
        cause = why or f"{database} does not carry this binding, so it is not the file that was bound, or was clean"
        answer.left = f"{cause}; tables and triggers of peerd may be left in the file that was bound"
        answer.next_step = f"{_CLEAN}."
    return answer


def still_bound(space: str, name: str, problem: StoreError) -> StoreError:
    """The trouble that keeps a file bound, with the ways out."""
    force = f"`peerctl tables unbind {space} {name} --force` forgets the binding and leaves the file as it is"
    step = f"Put that right and unbind again; or {force}. Then {_CLEAN}."
    return TableTrouble(f"{name} stays bound: {problem}", code=problem.code or "table-failed", next_step=step)


def known_file(database: Path, name: str, space: str) -> UserError:
    return UserError(
        f"{database} is bound, as {name}, or was moved from where that one stood",
        code="file-bound",
        status=409,
        next_step=f"`peerctl tables unbind {space} {name}` first, with --force if the file was moved.",
    )
