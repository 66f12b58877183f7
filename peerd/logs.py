"""What peerd says about itself: one event per line, a static phrase and keys from a closed list.

`configure` once at the start and again at a reload; `get(__name__)` anywhere. An event is a lower-case
phrase that never changes ("session opened"); what does change stands in a key, and only the keys of `KEYS`
exist, so that a log can be searched without guessing. Levels:

    debug     a decision that was made, for whoever follows one
    info      something a person who looks after the machine wants in the journal
    warning   it goes on, but somebody should look
    error     something that was asked for did not happen

A key outside the list is a bug. Strict (tests, `python -X dev`) it raises; otherwise it is dropped and its
name is reported once. A value can come from a stranger, so it is cut and cannot break a line or paint a
terminal. No value is a secret: `code` carries error codes only, what looks like a pairing code is withheld.

A line that cannot be written, to a full disk or a terminal that was closed, stops nothing: how many there were
is said as soon as one can be written again.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from os import environ, fstat
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

import structlog

from peerd.core.device_id import DEVICE_ID_BYTES, short_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

KEYS: Final = frozenset(
    {
        "device", "space", "peer", "address", "interface", "origin", "seq", "count", "size_bytes", "took_ms",
        "cause", "hint", "code", "state", "path", "key", "version", "signal", "relay",
    }
)  # fmt: skip
LEVELS: Final = ("debug", "info", "warning", "error")
FORMATS: Final = ("auto", "console", "json", "journal")
MAX_VALUE_CHARS: Final = 500

_OURS: Final = frozenset({"event", "level", "logger", "exc_info", "exception"})
_EVENT: Final = re.compile(r"[a-z][a-z0-9 ,'/-]{0,79}")
_ERROR_CODE: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")
_LARGEST_CLOSE_CODE: Final = 4999
_SEVERITY: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_PRIORITY: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_WITHHELD: Final = "[withheld]"


class UnknownKeyError(ValueError):
    """A log call used what the closed list does not have. Raised in strict mode only."""


class _Gate:
    """The part of the pipeline that a reload changes; loggers that are already bound share it."""

    def __init__(self) -> None:
        self.severity = _SEVERITY["info"]
        self.strict = False
        self.reported: set[str] = set()

    def level(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        if _SEVERITY.get(method, _SEVERITY["error"]) < self.severity:
            raise structlog.DropEvent
        event["level"] = method
        event["logger"] = logger.name
        return event

    def keys(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        phrase = event.get("event")
        if self.strict and not (isinstance(phrase, str) and _EVENT.fullmatch(phrase)):
            raise UnknownKeyError(f"a log event is a static lower-case phrase, not {phrase!r}")
        for name in [name for name in event if name not in KEYS and name not in _OURS]:
            if self.strict:
                raise UnknownKeyError(f"log key {name!r} is not in the closed list of peerd/logs.py")
            del event[name]
            self._report(name)
        if "code" in event and not _is_error_code(event["code"]):
            if self.strict:
                raise UnknownKeyError("the log key `code` is for error codes, nothing else")
            event["code"] = _WITHHELD
        return event

    def _report(self, name: str) -> None:
        if name not in self.reported and len(self.reported) < 100:
            self.reported.add(name)
            get(__name__).warning("log key dropped", key=name, hint="a bug of peerd, please report it")


_gate = _Gate()


def configure(
    level: str = "info",
    format: str = "auto",  # noqa: A002 - the name of the setting
    *,
    stream: TextIO | None = None,
    strict: bool | None = None,
) -> None:
    """Set level and format for every logger, those already bound included; call again to change them.

    `format` "auto" is "journal" when stderr is the journal, "console" on a terminal, else "json". `stream` is
    stderr unless given. `strict` raises at a key outside the closed list; by default it follows Python's
    development mode.
    """
    out = sys.stderr if stream is None else stream
    _gate.severity = _SEVERITY[level]
    _gate.strict = sys.flags.dev_mode if strict is None else strict
    _gate.reported.clear()
    processors = _processors()
    processors[:] = [
        _gate.level,
        _gate.keys,
        structlog.processors.format_exc_info,
        _plain_values,
        _renderer(out, resolve_format(out, environ) if format == "auto" else format),
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=_Writers(out),
        cache_logger_on_first_use=False,
    )
    _adopt_libraries()


def get(name: str) -> FilteringBoundLogger:
    """The logger of a module; `name` is its `__name__` and stands in each line as `logger`."""
    return cast("FilteringBoundLogger", structlog.get_logger(name))


def resolve_format(stream: TextIO, env: Mapping[str, str]) -> str:
    """What "auto" means for `stream`: the journal's own pipe, a terminal, or anything else."""
    if _is_journal(stream, env.get("JOURNAL_STREAM", "")):
        return "journal"
    return "console" if stream.isatty() else "json"


def _is_journal(stream: TextIO, journal_stream: str) -> bool:
    # systemd.exec(5): the variable names device and inode, because a child may have been redirected since.
    try:
        status = fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return journal_stream == f"{status.st_dev}:{status.st_ino}"


def _is_error_code(value: object) -> bool:
    if isinstance(value, str):
        return _ERROR_CODE.fullmatch(value) is not None
    return isinstance(value, int) and 0 <= value <= _LARGEST_CLOSE_CODE


def _plain_values(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for name, value in event.items():
        if name == "exception" or isinstance(value, bool | int | float | type(None)):
            continue
        event[name] = _one_line(_text_of(name, value))
    return event


def _text_of(name: str, value: object) -> str:
    if not isinstance(value, bytes):
        return str(value)
    # As people see it everywhere else, so that a log can be compared with `peerctl status`.
    is_device = name in {"device", "peer"} and len(value) == DEVICE_ID_BYTES
    return short_id(value) if is_device else value.hex()


def _one_line(text: str) -> str:
    cut = text if len(text) <= MAX_VALUE_CHARS else text[:MAX_VALUE_CHARS] + "..."
    if cut.isprintable():
        return cut
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


# --- how a line looks --------------------------------------------------------------------------------


def _renderer(out: TextIO, name: str) -> Processor:
    if name == "json":
        return _as_json
    if name == "journal":
        return _as_journal
    return _as_coloured_console if out.isatty() and not environ.get("NO_COLOR") else _as_console


def _as_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    line = {"time": _utc_now(), "level": event.pop("level"), "event": event.pop("event"), **event}
    return json.dumps(line, ensure_ascii=False)


def _as_journal(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    prefix = f"<{_PRIORITY[event.pop('level')]}>"
    trace = event.pop("exception", "")
    lines = [event.pop("event") + _pairs(event), *trace.splitlines()]
    return "\n".join(prefix + line for line in lines)


def _as_console(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return _console(event, "", "")


def _as_coloured_console(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    colour = {"debug": "\x1b[2m", "info": "", "warning": "\x1b[33m"}.get(event["level"], "\x1b[31m")
    return _console(event, colour, "\x1b[0m" if colour else "")


def _console(event: EventDict, paint: str, unpaint: str) -> str:
    trace = event.pop("exception", "")
    level, phrase = event.pop("level"), event.pop("event")
    event.pop("logger", None)
    clock = time.strftime("%H:%M:%S", time.localtime())
    line = f"{clock} {paint}{level:<7}{unpaint} {phrase}{_pairs(event)}"
    return line + "\n" + trace if trace else line


def _pairs(event: Mapping[str, Any]) -> str:
    return "".join(f" {name}={_quoted(value)}" for name, value in event.items())


def _quoted(value: object) -> str:
    text = str(value)
    return text if text and not set(text) & set(' "=') else '"' + text.replace('"', '\\"') + '"'


def _utc_now() -> str:
    now = time.time_ns() // 1_000_000
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 1000)) + f".{now % 1000:03d}Z"


# --- where it goes -----------------------------------------------------------------------------------


class _Failed:
    """How many lines could not be written since one could, and why."""

    def __init__(self) -> None:
        self.count = 0
        self.cause = ""


class _Writer(structlog.WriteLogger):
    """Raises nothing: whoever says something has work to do that must not end because nobody can read of it."""

    def __init__(self, stream: TextIO, name: str, failed: _Failed) -> None:
        super().__init__(stream)
        self.name = name
        self._failed = failed

    def msg(self, message: str) -> None:
        try:
            super().msg(message)
        except OSError as problem:
            self._failed.count += 1
            self._failed.cause = problem.strerror or str(problem)
            return
        if self._failed.count:
            count, self._failed.count = self._failed.count, 0
            get(__name__).warning("log could not be written", count=count, cause=self._failed.cause)

    log = debug = info = warn = warning = fatal = failure = err = error = critical = exception = msg


class _Writers:
    """structlog's logger factory: every logger writes whole lines to the one stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._failed = _Failed()

    def __call__(self, name: str = "peerd") -> _Writer:
        return _Writer(self._stream, name, self._failed)


def _processors() -> list[Processor]:
    # The list itself is kept, because a logger bound before a reload holds it.
    current = structlog.get_config()["processors"]
    return current if structlog.is_configured() else []


class _FromLibraries(logging.Handler):
    """What a library says through `logging` becomes an event of ours; its traceback only at level debug."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            cause = record.getMessage()
        except (TypeError, ValueError):
            cause = str(record.msg)
        trace = record.exc_info if _gate.severity <= _SEVERITY["debug"] else None
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.ERROR)
        get(record.name).log(level, "library message", cause=cause, exc_info=trace)


def _adopt_libraries() -> None:
    root = logging.getLogger()
    root.handlers = [h for h in root.handlers if not isinstance(h, _FromLibraries)] + [_FromLibraries()]
    # A library's debug and info are about itself; a stranger can make it produce any number of them.
    root.setLevel(logging.WARNING)
