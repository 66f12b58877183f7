"""Records in a file, one JSON object per line: reading them with their line numbers, and cutting batches."""

from __future__ import annotations

import json
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

from peerd.cli.arguments import json_object
from peerd.cli.exits import USAGE
from peerd.errors import PeerdError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# An entry of the log holds at most 64 MiB, and no record is longer as JSON than six times that.
LINE_LIMIT_BYTES: Final = 6 * 64 * 1024 * 1024
BATCH_RECORDS: Final = 1000
BATCH_BYTES: Final = 1024 * 1024


class BadLine(PeerdError):
    """A line that is no record. The message names its number."""

    code = "bad-line"
    exit_code = USAGE

    def __init__(self, number: int, message: str) -> None:
        super().__init__(f"line {number}: {message}", next_step="correct the line and import the file again")
        self.number = number


class Line(NamedTuple):
    """One record of the file: the number of its line, its length, key and value."""

    number: int
    size_bytes: int
    key: str
    value: dict[str, Any]


def read(source: IO[bytes], key_field: str) -> Iterator[Line]:
    """Yield the records of a file; empty lines count and are skipped. Raises `BadLine`."""
    number = 0
    while raw := source.readline(LINE_LIMIT_BYTES + 1):
        number += 1
        if len(raw) > LINE_LIMIT_BYTES:
            raise BadLine(number, f"longer than {LINE_LIMIT_BYTES // 2**20} MiB")
        try:
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            raise BadLine(number, f"not UTF-8 at byte {error.start + 1}") from None
        if not text:
            continue
        try:
            value = json_object(text)
            if "\\u" in text:
                # Half a surrogate pair would make the whole request unreadable, and no line could be named.
                json.dumps(value, ensure_ascii=False).encode()
        except PeerdError as error:
            raise BadLine(number, str(error)) from None
        except UnicodeEncodeError:
            raise BadLine(number, "holds half a surrogate pair, which is no text") from None
        yield Line(number, len(raw), _key(number, value, key_field), value)


def _key(number: int, value: dict[str, Any], field: str) -> str:
    key = value.get(field)
    if isinstance(key, str) and key:
        return key
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    if field not in value:
        raise BadLine(number, f"no field {field!r}, which is to be the key")
    raise BadLine(number, f"the field {field!r} is neither a text nor a whole number, so it cannot be the key")


def batches(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """Cut into batches of at most 1,000 records and 1 MiB; a longer record is a batch of its own.

    A key that comes again begins a batch too, for a transaction names a record once: so the last line counts, however
    far it is from the one before. A bad line ends the batch that it would have been in: nothing of it is given out.
    """
    batch: list[Line] = []
    keys: set[str] = set()
    size_bytes = 0
    for line in lines:
        full = len(batch) == BATCH_RECORDS or size_bytes + line.size_bytes > BATCH_BYTES
        if batch and (full or line.key in keys):
            yield batch
            batch, keys, size_bytes = [], set(), 0
        batch.append(line)
        keys.add(line.key)
        size_bytes += line.size_bytes
    if batch:
        yield batch
