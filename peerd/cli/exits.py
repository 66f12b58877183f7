"""What the exit code of `peerctl` says, so that a script need not read its words."""

from __future__ import annotations

from typing import Final

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NOT_RUNNING: Final = 3
DEGRADED: Final = 4
CONFLICTS: Final = 5
REFUSED: Final = 6
INTERRUPTED: Final = 130

MEANINGS: Final = {
    OK: "done",
    FAILED: "failed; the message says why",
    USAGE: "the command is not right, or a name, the JSON or the file given with it",
    NOT_RUNNING: "the daemon is not running, or went away",
    DEGRADED: "`status`, `doctor`, `scrub`, `tables list`, `join --wait`: something needs a person's attention",
    CONFLICTS: "`status`, `conflicts`: conflicts are open, or rows of tables are parked",
    REFUSED: "the daemon or another device refused: no right, wrong or expired code, changed meanwhile",
    INTERRUPTED: "interrupted, or the reader of the output went away",
}
