"""What the commands' arguments have in common."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

from peerd.cli.exits import USAGE
from peerd.errors import PeerdError

if TYPE_CHECKING:
    from collections.abc import Sequence


_FEW: Final = 8  # choices that are all named


class Misused(PeerdError):
    """An argument or a file that cannot mean what it should."""

    code = "usage"
    exit_code = USAGE


class Parser(argparse.ArgumentParser):
    """argparse's, but for what it says of wrong arguments, and how: by `Misused`, as of all else that is misused. It
    takes a key such as `-k` for an option: it says how to give one.
    """

    _given: tuple[str, ...] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self._given = tuple(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        before = self._given[: self._given.index("--")] if "--" in self._given else self._given
        dashed = message.removeprefix("unrecognized arguments: ").split() if "unrecognized" in message else before
        unknown = [one for one in dashed if len(one) > 1 and one[0] == "-" and one[1] != "-"]
        unknown = [one for one in unknown if one not in self._option_string_actions]
        step = f"`{self.prog} --help` shows how"
        if unknown:
            step = f"if {unknown[0]} is a key or a value: put -- before it, behind all options; else {step}"
        self.print_usage(sys.stderr)
        raise Misused(message, next_step=step)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """With a guess at what was meant; the list that argparse would give is long."""
        if action.choices is None or value in action.choices:
            return
        import difflib  # noqa: PLC0415 - peerctl starts without it

        choices = [str(one) for one in action.choices]
        hint = f"; there are {', '.join(choices)}" if len(choices) <= _FEW else ""
        if close := difflib.get_close_matches(str(value), choices, n=1):
            hint = f"; did you mean {close[0]}?"
        raise argparse.ArgumentError(action, f"there is no {value!r}{hint}")


def wants_json(given: Sequence[str]) -> bool:
    """Is `--json` among these arguments, whatever else is wrong with them?"""
    return "--json" in (given[: given.index("--")] if "--" in given else given)


class Commands:
    """A group of subcommands under construction; every command also takes the options that stand before it."""

    def __init__(self, group: Any, common: argparse.ArgumentParser) -> None:
        self._group = group
        self._common = common

    def add(self, name: str, summary: str, more: str = "") -> argparse.ArgumentParser:
        """Add a command. `summary` is one line for the list; `more` follows it in the command's own help."""
        parser: argparse.ArgumentParser = self._group.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.{' ' + more if more else ''}",
            parents=[self._common],
            allow_abbrev=False,
        )
        return parser

    def family(self, name: str, summary: str) -> Commands:
        """Add a command that has subcommands of its own."""
        parser = self.add(name, summary)
        group = parser.add_subparsers(dest=f"{name}_command", metavar="COMMAND", required=True)
        return Commands(group, self._common)


def json_value(text: str) -> Any:
    """The value of a JSON text. Raises `Misused` for what JSON, or the protocol's numbers, cannot hold."""
    if not text.strip():
        raise Misused("no JSON was given, neither as an argument nor on stdin", code="bad-json")
    try:
        text.encode()
        return _decode(text)
    except UnicodeEncodeError:
        raise Misused("not JSON: not UTF-8", code="bad-json", next_step="JSON text is UTF-8") from None
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text else ""
        raise Misused(
            f"not JSON: {error.msg} at {line}column {error.colno}", code="bad-json", next_step="check quotes and commas"
        ) from None
    except ValueError as error:
        raise Misused(f"not JSON that a record can hold: {error}", code="bad-json") from None
    except RecursionError:
        raise Misused("JSON nested too deeply", code="bad-json") from None


def json_object(text: str) -> dict[str, Any]:
    value = json_value(text)
    if not isinstance(value, dict):
        raise Misused(
            "a record is a JSON object", code="bad-json", next_step='write fields in braces: {"title": "Milk"}'
        )
    return value


def from_argument_or_stdin(text: str | None) -> str:
    """The argument itself, or all of stdin for `-` and for nothing."""
    if text is not None and text != "-":
        return text
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Misused("stdin is not UTF-8", code="bad-json", next_step="JSON text is UTF-8") from None


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # A parser that keeps one of two members of a name loses the other without a word.
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object names a member twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    number = float(text)
    if number in {float("inf"), float("-inf")}:
        raise ValueError(f"the number {text[:40]} is too large")
    return number


_decode = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_named_once).decode
