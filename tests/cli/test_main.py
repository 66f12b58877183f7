"""What all commands share: options, exit codes, errors, ends, and how little is imported."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from peerd import __version__
from peerd.cli import exits
from peerd.cli.main import parser
from peerd.control.client import Problem

HEAVY = (
    "asyncio msgspec structlog cryptography websockets zeroconf aiosqlite sqlite3 httptools spake2 zstandard ifaddr "
    "pathlib subprocess logging tomllib dataclasses importlib.metadata threading queue http ssl email ctypes"
)


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_starting_imports_nothing_of_the_daemon() -> None:
    """Only the commands, the client, and what any program needs; no library but the standard one, nothing slow of that.

    What the interpreter of this environment loads by itself does not count.
    """
    loaded = modules_after("import peerd.cli.main") - modules_after("pass")
    ours = {name for name in loaded if name.split(".")[0] == "peerd"}
    expected = ("peerd.cli", "peerd.control.client", "peerd.control.exchange")
    of_any_program = {"peerd", "peerd.control", "peerd.errors", "peerd.standard_streams"}
    assert {name for name in ours if not name.startswith(expected)} == of_any_program
    assert loaded & set(HEAVY.split()) == set()
    assert {name.split(".")[0] for name in loaded} - sys.stdlib_module_names == {"peerd"}


def commands(top: argparse.ArgumentParser) -> list[str]:
    groups = [action for action in top._actions if isinstance(action, argparse._SubParsersAction)]
    return [name for group in groups for name in group.choices]


def test_the_commands_are_those_that_scripts_rely_on() -> None:
    promised = (
        "status peers space invite join admit members remove device get put patch delete list watch import export "
        "conflicts resolve collection log doctor explain reload"
    )
    assert set(promised.split()) <= set(commands(parser()))


@pytest.mark.parametrize("name", commands(parser()))
def test_every_command_has_help(peerctl: Any, name: str) -> None:
    got = peerctl(name, "--help")
    assert got.code == 0
    assert got.out.startswith(f"usage: peerctl {name}")
    assert "--socket PATH" in got.out


@pytest.mark.parametrize("argv", [(), ("nope",), ("status", "more"), ("get", "home"), ("status", "--nope"), ("space",)])
def test_wrong_usage_is_exit_2_on_stderr(peerctl: Any, argv: tuple[str, ...]) -> None:
    got = peerctl(*argv)
    assert (got.code, got.out) == (2, "")
    assert "usage: peerctl" in got.err


@pytest.mark.parametrize(
    ("argv", "said", "step"),
    [
        (("foo",), "argument COMMAND: there is no 'foo'", "`peerctl --help` shows how"),
        (("stauts",), "argument COMMAND: there is no 'stauts'; did you mean status?", "`peerctl --help` shows how"),
        (
            ("tables", "lst"),
            "argument COMMAND: there is no 'lst'; did you mean list?",
            "`peerctl tables --help` shows how",
        ),
        (
            ("invite", "home", "--role", "king"),
            "argument --role: there is no 'king'; there are admin, member",
            "`peerctl invite --help` shows how",
        ),
        (
            ("get", "home"),
            "the following arguments are required: COLLECTION, KEY",
            "`peerctl get --help` shows how",
        ),
        (("status", "more"), "unrecognized arguments: more", "`peerctl --help` shows how"),
    ],
)
@pytest.mark.parametrize("before", [True, False])
def test_wrong_usage_is_a_document_too_and_says_what_was_meant(
    daemon: Any,
    peerctl: Any,
    argv: tuple[str, ...],
    said: str,
    step: str,
    before: bool,  # noqa: FBT001 - a parameter
) -> None:
    got = peerctl("--json", *argv) if before else peerctl(*argv, "--json")
    assert (got.code, daemon.asked) == (2, [])
    assert json.loads(got.out) == {"error": {"code": "usage", "detail": said, "next_step": step}}
    assert got.err.startswith("usage: peerctl")
    assert got.err.endswith(f"peerctl: {said} [usage]\n  next: {step}\n")


def test_what_stands_behind_dashes_asks_for_no_document(peerctl: Any) -> None:
    got = peerctl("get", "home", "--", "--json")
    assert (got.code, got.out) == (2, "")


@pytest.mark.parametrize("argv", [("put", "home", "notes", "-k", "{}"), ("get", "home", "notes", "-k")])
def test_a_key_with_a_dash_is_told_where_it_goes(daemon: Any, peerctl: Any, argv: tuple[str, ...]) -> None:
    got = peerctl(*argv)
    assert got.code == 2
    assert "if -k is a key or a value: put -- before it" in got.err
    daemon.on("GET", "/v1/spaces/home/records/notes/-k", {"collection": "notes", "key": "-k", "value": {}, "etag": ""})
    assert peerctl("get", "home", "notes", "--", "-k").code == 0
    assert "put --" not in peerctl("get", "home", "--", "-k").err


def test_options_may_not_be_abbreviated(peerctl: Any) -> None:
    """A script that says --js would break when another option begins so."""
    assert peerctl("--js", "status").code == 2
    assert peerctl("status", "--js").code == 2


def test_version_is_that_of_the_package(peerctl: Any) -> None:
    assert peerctl("--version").out == f"peerctl {__version__}\n"


@pytest.mark.parametrize(
    "argv",
    [
        ("--socket", "/nowhere/s", "status"),
        ("status", "--socket", "/nowhere/s"),
        ("space", "list", "--socket", "/nowhere/s"),
    ],
)
def test_the_socket_is_named_before_or_after_the_command(peerctl: Any, argv: tuple[str, ...]) -> None:
    got = peerctl(*argv)
    assert (got.code, got.out) == (3, "")
    assert got.err.startswith("peerctl: peerd is not running: there is no socket at /nowhere/s [not-running]\n  next: ")


def test_with_json_an_error_is_a_document_too(daemon: Any, peerctl: Any) -> None:
    daemon.on(
        "GET", "/v1/status", {"code": "internal", "detail": "no\x1b", "next_step": "report it", "more": 1}, status=500
    )
    got = peerctl("status", "--json")
    assert got.code == 1
    error = json.loads(got.out)["error"]
    assert (error["code"], error["detail"], error["next_step"], error["more"]) == ("internal", "no\x1b", "report it", 1)
    assert got.err == "peerctl: no\\x1b [internal]\n  next: report it\n"


@pytest.mark.parametrize(("status", "code"), [(400, 2), (500, 1), (404, 1), (403, 6), (409, 6), (412, 6), (503, 1)])
def test_the_exit_code_follows_the_daemons_answer(daemon: Any, peerctl: Any, status: int, code: int) -> None:
    daemon.problem("GET", "/v1/peers", status, code="x")
    assert peerctl("peers").code == code
    assert Problem(status, {}).exit_code == code


def test_an_answer_that_lacks_what_was_asked_is_an_error_without_a_traceback(daemon: Any, peerctl: Any) -> None:
    """Another version of the daemon, or something else that speaks HTTP at the socket."""
    bodies: list[Any] = [{}, [], None, {"peers": [{"name": "x"}]}]
    for body in bodies:
        daemon.on("GET", "/v1/peers", body)
        got = peerctl("peers")
        assert (got.code, got.out) == (1, "")
        assert "[bad-answer]" in got.err


def test_json_is_utf8_in_every_locale(daemon: Any, start: Any) -> None:
    """Elsewhere what the locale cannot show is an escape, not a failure."""
    daemon.on("GET", "/v1/spaces/home/records/books/k", {"value": {"t": "Küche"}, "key": "k"})
    daemon.on(
        "GET",
        "/v1/spaces",
        {"spaces": [{"name": "Küche", "id": "", "state": "", "records": 0, "conflicts": 0, "peers": []}]},
    )
    latin = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    process = start("get", "home", "books", "k", "--json", env=latin)
    assert json.loads(process.communicate()[0].decode())["value"] == {"t": "Küche"}
    process = start("space", "list", env=latin)
    assert process.communicate()[0].startswith(b"K\\xfcche\t")


def test_a_closed_stdout_is_quiet(daemon: Any, start: Any) -> None:
    """The reader is gone before the first byte, which only the last flush notices."""
    daemon.on("GET", "/v1/status", {"device": {"id": "X"}})
    process = start("device")
    process.stdout.close()
    assert process.wait() == exits.INTERRUPTED
    assert process.stderr.read() == b""


def test_an_output_that_cannot_be_written_is_an_error_without_a_traceback(daemon: Any, start: Any) -> None:
    """A backup onto a full disk must not look like a fault of peerctl, nor like success."""
    daemon.on("GET", "/v1/status", {"device": {"id": "X"}})
    with Path("/dev/full").open("w") as full:
        process = start("device", stdout=full)
        said = process.communicate()[1].decode()
    assert process.returncode == exits.FAILED
    assert said == "peerctl: the output cannot be written: No space left on device [output-failed]\n"
