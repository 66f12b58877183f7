"""Writes `docs/commands.md` and `docs/errors.md` from the parser and the tables: `python -m peerd.cli.reference DIR`.

Not imported by `peerctl`. A test compares the files with what this gives.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peerd.cli import codes, exits
from peerd.cli.main import parser

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMMON = {"--socket", "--json", "--no-color", "--help"}

_INTRODUCTION = """\
# peerctl

    peerctl [--socket PATH] [--json] [--no-color] COMMAND ...

`peerctl` asks the daemon on this machine through its socket and prints what it says. The options above may
stand before or after the command; a key that begins with a dash goes behind `--`.

- Data goes to stdout, everything said about it to stderr.
- With `--json` a command prints one document. `watch` and `invite` print one document per line, as it
  happens; `import` and `export` read and write one record per line. An error is a document too:
  `{"error": {"code": ..., "detail": ..., "next_step": ...}}`, beside the sentence on stderr.
- On a terminal there are tables and a little colour, none with `--no-color`, with `NO_COLOR` set, or on a
  dumb terminal. Anywhere else every row is a line with tabs between its cells, without a heading.
- Names and values come from other devices: what could command a terminal or hide in a name (control
  characters, direction marks, invisible characters) is shown as an escape, in JSON as a JSON escape.
- The socket is `--socket`, else `PEERD_SOCKET`, else the first that exists of
  `$XDG_RUNTIME_DIR/peerd/peerd.sock`, `/run/peerd/peerd.sock` and `~/.local/state/peerd/peerd.sock`.
"""

_EXAMPLES = """\
## Examples

Two machines share a space:

    kitchen$ peerctl space create home
    kitchen$ peerctl invite home
    48219073
    laptop$ peerctl join 48219073

Without people, `invite SPACE --yes --json` prints `{"code": ...}` at once, `{"wrong_code": ...}` for each
wrong one, and `{"admitted": ...}` or an `{"error": ...}` when it is decided; `join CODE --yes --json`
answers with the space. For many machines:
`peerctl device` on the new one, `peerctl admit SPACE DEVICE-ID` on a member, `peerctl join --from DEVICE-ID`
on the new one.

A file of records, written to a space and out of it again:

    peerctl import home books books.ndjson --key isbn
    peerctl export home books > books.ndjson

An edit that overwrites nothing which its author had not seen:

    etag=$(peerctl get home books k1 --json | jq -r .etag)
    peerctl put home books k1 '{"title": "Milk"}' --seen "$etag"     # later edits of others stay beside it
    peerctl put home books k1 '{"title": "Milk"}' --if-match "$etag" # refused (6) if there are any

An application's database, on two machines; the second one has nothing in it yet:

    kitchen$ peerctl tables bind home ~/.local/share/todo/todo.db
    laptop$ peerctl tables bind home ~/.local/share/todo/todo.db
    peerctl tables list

Where devices disagree:

    peerctl conflicts home
    peerctl resolve home ID --choose 2

Somebody deleted what was needed:

    peerctl log home --since yesterday
    peerctl show home books k1 --at "yesterday 10:00"
    peerctl revert home --device laptop --since yesterday
"""


def commands_page() -> str:
    """The text of `docs/commands.md`."""
    lines = [_INTRODUCTION, "## Exit codes\n", "| code | meaning |", "|---|---|"]
    lines += [f"| {code} | {meaning} |" for code, meaning in exits.MEANINGS.items()]
    lines += [
        "",
        "`status` gives 4 before 5. Where a command writes, 6 means that nothing was written. An",
        "interrupted command ends without a word.",
        "",
        "## Commands\n",
    ]
    for command in _commands(parser()):
        lines += [*_section(command), ""]
    return "\n".join(lines) + "\n" + _EXAMPLES


def errors_page() -> str:
    """The text of `docs/errors.md`."""
    lines = [
        "# Error codes",
        "",
        "Every error has a code that stays what it is. It stands in brackets behind the message of `peerctl`, and as",
        "`code` in the problem documents of the socket. `peerctl explain CODE` prints the text below.",
        "",
    ]
    for code, text in sorted(codes.TEXTS.items()):
        lines += [f"## {code}", "", text, ""]
    return "\n".join(lines)


def _commands(top: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    for group in (action for action in top._actions if isinstance(action, argparse._SubParsersAction)):  # noqa: SLF001 - argparse shows its parts nowhere else
        for command in group.choices.values():
            below = list(_commands(command))
            yield from below or [command]


def _section(command: argparse.ArgumentParser) -> Iterator[str]:
    actions = [action for action in command._actions if not _COMMON & set(action.option_strings)]  # noqa: SLF001 - as above
    words = [command.prog, *_usage(command, actions)]
    yield f"### `{' '.join(words)}`\n"
    yield command.description or ""
    explained = [action for action in actions if action.help]
    if explained:
        yield ""
    for action in explained:
        yield f"- `{_named(action)}`: {action.help}{_choices(action)}"


def _usage(command: argparse.ArgumentParser, actions: list[argparse.Action]) -> Iterator[str]:
    positional = [action for action in actions if not action.option_strings]
    groups = [(group.required, group._group_actions) for group in command._mutually_exclusive_groups]  # noqa: SLF001 - as above
    exclusive = [action for _, alternatives in groups for action in alternatives]
    for action in positional:
        yield f"[{action.metavar}]" if action.nargs == "?" else str(action.metavar)
    for required, alternatives in groups:
        choice = " | ".join(map(_named, alternatives))
        yield f"({choice})" if required else f"[{choice}]"
    for action in actions:
        if action.option_strings and action not in exclusive:
            yield _named(action) if action.required else f"[{_named(action)}]"


def _named(action: argparse.Action) -> str:
    if not action.option_strings:
        return str(action.metavar)
    name = action.option_strings[-1]
    if action.nargs == 0:
        return name
    value: Any = action.metavar or ("|".join(action.choices) if action.choices else action.dest.upper())
    return f"{name} [{value}]" if action.nargs == "?" else f"{name} {value}"


def _choices(action: argparse.Action) -> str:
    return f" (one of {', '.join(action.choices)})" if action.choices and action.metavar else ""


def main() -> None:
    """Write both pages into the folder that the first argument names."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
    (folder / "commands.md").write_text(commands_page(), encoding="utf-8")
    (folder / "errors.md").write_text(errors_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
