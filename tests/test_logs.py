from __future__ import annotations

import errno
import io
import json
import logging
import os
import pty
import re
from typing import TYPE_CHECKING, Any

import pytest

from peerd import logs
from peerd.core.device_id import short_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logs.get("peerd.example")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(format_: str, say: Callable[[], object], *, level: str = "info", stream: io.StringIO | None = None) -> str:
    stream = stream or io.StringIO()
    logs.configure(level, format_, stream=stream, strict=False)
    say()
    return stream.getvalue()


# --- the closed list ----------------------------------------------------------------------------------


def test_a_key_outside_the_list_raises_when_strict() -> None:
    with pytest.raises(logs.UnknownKeyError, match="colour"):
        log.info("painted", colour="red")


def test_a_key_outside_the_list_is_dropped_and_reported_once_in_production() -> None:
    def say() -> None:
        log.info("painted", colour="red", count=1)
        log.info("painted", colour="red", count=2)

    lines = [json.loads(line) for line in written("json", say).splitlines()]
    assert [(line["event"], line.get("key"), line.get("count")) for line in lines] == [
        ("log key dropped", "colour", None),
        ("painted", None, 1),
        ("painted", None, 2),
    ]
    assert "red" not in str(lines)


@pytest.mark.parametrize("phrase", ["Opened", "opened: 3", "", "x" * 81, "opened\n", None])
def test_an_event_that_is_no_phrase_raises_when_strict(phrase: Any) -> None:
    with pytest.raises(logs.UnknownKeyError, match="static lower-case phrase"):
        log.info(phrase)


def test_every_key_of_the_list_is_accepted(log_events: Callable[[], list[dict[str, Any]]]) -> None:
    log.info("everything", **dict.fromkeys(logs.KEYS - {"code"}, "x"), code="not-found")
    (event,) = log_events()
    assert set(event) == logs.KEYS | {"time", "level", "event", "logger"}


@pytest.mark.parametrize("code", ["not-found", 4400, 0])
def test_codes_of_errors_are_shown(code: Any, log_events: Callable[[], list[dict[str, Any]]]) -> None:
    log.info("refused", code=code)
    assert log_events()[0]["code"] == code


@pytest.mark.parametrize("code", ["48219073", 48219073, "0042 1907", b"48219073", "4821-9073"])
def test_a_pairing_code_is_never_written(code: Any) -> None:
    with pytest.raises(logs.UnknownKeyError, match="error codes"):
        log.info("refused", code=code)
    text = written("json", lambda: log.info("refused", code=code))
    assert json.loads(text)["code"] == "[withheld]"
    assert "9073" not in text


# --- values --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", ["console", "journal", "json"])
def test_a_strangers_value_cannot_break_the_line_or_paint_the_terminal(format_: str) -> None:
    evil = "a\n<0>panic\r\x1b[31m\u202etxt\u2028end"
    text = written(format_, lambda: log.info("named", peer=evil))
    assert text.count("\n") == 1
    assert text.removesuffix("\n").isprintable()


def test_a_long_value_is_cut() -> None:
    text = written("json", lambda: log.info("named", peer="x" * 100_000))
    assert len(text) < logs.MAX_VALUE_CHARS + 200


def test_bytes_are_written_in_hexadecimal() -> None:
    assert json.loads(written("json", lambda: log.info("seen", space=b"\x01\xff")))["space"] == "01ff"


def test_a_device_is_written_as_people_see_it() -> None:
    device = bytes(range(32))
    line = json.loads(written("json", lambda: log.info("seen", peer=device, origin=device)))
    assert (line["peer"], line["origin"]) == (short_id(device), device.hex())


def test_numbers_stay_numbers() -> None:
    assert json.loads(written("json", lambda: log.info("seen", seq=7, took_ms=1.5)))["seq"] == 7


# --- formats -------------------------------------------------------------------------------------------


def test_json_has_time_level_event_and_module() -> None:
    line = json.loads(written("json", lambda: log.warning("link lost", peer="nas")))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {"level": "warning", "event": "link lost", "peer": "nas", "logger": "peerd.example"}


@pytest.mark.parametrize(("method", "priority"), [("debug", 7), ("info", 6), ("warning", 4), ("error", 3)])
def test_the_journal_gets_a_priority(method: str, priority: int) -> None:
    text = written("journal", lambda: getattr(log, method)("link lost", cause='no "route"'), level="debug")
    assert text == f'<{priority}>link lost cause="no \\"route\\"" logger=peerd.example\n'


def test_every_line_of_a_traceback_has_the_priority() -> None:
    def fail() -> None:
        try:
            [].pop()
        except IndexError:
            log.exception("reading failed")

    lines = written("journal", fail).splitlines()
    assert len(lines) > 3
    assert all(line.startswith("<3>") for line in lines)
    assert lines[-1] == "<3>IndexError: pop from empty list"


def test_the_console_is_for_people() -> None:
    text = written("console", lambda: log.warning("link lost", peer="nas"))
    assert re.fullmatch(r"\d\d:\d\d:\d\d warning link lost peer=nas\n", text)


def test_colour_only_on_a_terminal_and_not_against_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[33m" in written("console", lambda: log.warning("link lost"), stream=Terminal())
    assert "\x1b" not in written("console", lambda: log.warning("link lost"))
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in written("console", lambda: log.warning("link lost"), stream=Terminal())


@pytest.fixture
def pipe() -> Iterator[io.TextIOWrapper]:
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "w") as stream:
        yield stream


def test_auto_is_the_journal_only_when_the_stream_is_the_journals_own(pipe: io.TextIOWrapper) -> None:
    status = os.fstat(pipe.fileno())
    assert logs.resolve_format(pipe, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}) == "journal"
    assert logs.resolve_format(pipe, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"}) == "json"
    assert logs.resolve_format(pipe, {}) == "json"
    assert logs.resolve_format(io.StringIO(), {"JOURNAL_STREAM": "1:2"}) == "json"


def test_auto_is_the_console_on_a_terminal() -> None:
    leader, follower = pty.openpty()
    with os.fdopen(leader, "rb"), os.fdopen(follower, "w") as terminal:
        assert logs.resolve_format(terminal, {}) == "console"


# --- levels and reload ----------------------------------------------------------------------------------


def test_what_is_below_the_level_is_not_written() -> None:
    assert written("json", lambda: log.info("link lost"), level="warning") == ""
    assert written("json", lambda: log.warning("link lost"), level="warning") != ""


def test_a_reload_reaches_loggers_that_are_already_bound() -> None:
    stream = io.StringIO()
    logs.configure("info", "json", stream=stream)
    bound = log.bind(peer="nas")
    bound.debug("before")
    logs.configure("debug", "journal", stream=stream)
    bound.debug("after")
    assert stream.getvalue() == "<7>after peer=nas logger=peerd.example\n"


# --- libraries -----------------------------------------------------------------------------------------


def test_what_a_library_says_becomes_an_event(log_events: Callable[[], list[dict[str, Any]]]) -> None:
    logging.getLogger("some.library").warning("odd packet from %s", "10.0.0.1")
    logging.getLogger("some.library").info("chatter")
    (event,) = log_events()
    assert (event["level"], event["event"], event["cause"], event["logger"]) == (
        "warning",
        "library message",
        "odd packet from 10.0.0.1",
        "some.library",
    )


def test_a_library_whose_message_does_not_fit_its_arguments_is_still_heard(
    log_events: Callable[[], list[dict[str, Any]]],
) -> None:
    record = logging.LogRecord("zeroconf", logging.ERROR, "", 1, "two %s %s", ("one",), None)
    logs._FromLibraries().handle(record)
    assert log_events()[0]["cause"] == "two %s %s"


def test_a_librarys_traceback_is_for_debugging_only() -> None:
    def fail() -> None:
        try:
            [].pop()
        except IndexError:
            logging.getLogger("websockets").exception("handshake failed")

    assert "Traceback" not in written("json", fail)
    assert "Traceback" in written("json", fail, level="debug")


def test_configuring_twice_does_not_say_things_twice() -> None:
    logs.configure("info", "json")
    assert written("json", lambda: logging.getLogger("x").warning("once")).count("once") == 1


# --- where nothing can be written ----------------------------------------------------------------------


class Full(io.StringIO):
    """A file on a disk that is full, until there is room."""

    room = False

    def flush(self) -> None:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_line_that_cannot_be_written_stops_nothing_and_is_counted() -> None:
    stream = Full()

    def say() -> None:
        log.info("link opened")
        log.error("commit failed")
        stream.truncate(0)
        stream.seek(0)
        stream.room = True
        log.info("link closed")
        log.info("link opened")

    lines = [json.loads(line) for line in written("json", say, stream=stream).splitlines()]
    assert [(line["event"], line.get("count"), line.get("cause")) for line in lines] == [
        ("link closed", None, None),
        ("log could not be written", 2, "No space left on device"),
        ("link opened", None, None),
    ]
