"""Every error of peerd, by whose fault it is.

    PeerdError
    ├── UserError        a request that cannot be done: the caller changes it. Answered as a problem document
    ├── ConfigError      the configuration: every problem at once, with file, key and value
    │   └── CannotListen its addresses, at this moment: another start may well succeed
    ├── StoreError       our disk or database
    │   ├── DiskFull     nothing was written; try again when there is space
    │   ├── StoreBusy    another process holds the database
    │   ├── StoreDamaged the file is not what it was
    │   └── TableTrouble an application's file that is bound: the others go on, and it is tried again
    ├── RelayTrouble     storage that carries the log between us: links are not touched by it, and it is tried again
    ├── ProtocolError    never raised itself
    │   ├── LocalProtocolError   a bug of ours: loud
    │   └── RemoteProtocolError  theirs: the link is closed with its code
    └── LinkLost         weather: the link is gone, dial again

The sentence of an error says what was wrong and what to do next; `docs/errors.md` lists every code.
"""

from __future__ import annotations

MAKE_ROOM = "Make room on this device"
MORE_FILES = "Raise the limit: LimitNOFILE= in the unit, or `ulimit -n` where peerd is started."
PAUSED = "that device has paused its links"
RESUME_THERE = "`peerctl resume` on that device ends it; it links again by itself then."


class PeerdError(Exception):
    """The root. `code` is stable and documented; `next_step` is what a person does about it."""

    code = "internal"
    exit_code = 1

    def __init__(self, message: str, *, code: str | None = None, next_step: str = "") -> None:
        super().__init__(message)
        self.code = code or type(self).code
        self.next_step = next_step

    def step_in(self, space: str) -> str:
        """The next step where it is told of this space. A store knows its file, and not what its space is called: its
        commands say NAME.
        """
        return self.next_step.replace("NAME", space)


class UserError(PeerdError):
    """A request that cannot be done as asked. `status` is the HTTP status of the problem document."""

    code = "bad-request"

    def __init__(
        self, message: str, *, code: str | None = None, status: int = 400, next_step: str = "", **extra: object
    ) -> None:
        super().__init__(message, code=code, next_step=next_step)
        self.status = status
        self.extra = extra


class ConfigError(PeerdError):
    """All problems of the configuration; each names file, key and value."""

    code = "bad-config"
    exit_code = 2

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class CannotListen(ConfigError):
    """What is configured is well formed, and the machine refuses it now: a busy port, an address not there yet."""

    exit_code = 1  # so that a supervisor tries again


class StoreError(PeerdError):
    code = "store-failed"


class DiskFull(StoreError):
    code = "disk-full"


class StoreBusy(StoreError):
    code = "store-busy"


class StoreDamaged(StoreError):
    code = "store-damaged"


class TooManyFiles(StoreError):
    code = "too-many-files"


class StoreClosed(StoreError):
    """The database was closed under what was being done, because somebody asked for that: nothing is wrong with it."""

    code = "store-closed"


class TableTrouble(StoreError):
    """An application's database cannot be read or written at the moment, or is not the one that was bound."""

    code = "table-failed"


class RelayTrouble(PeerdError):
    """A relay did not do what it was asked; nothing is lost, and whatever was asked may be asked again.

    `retry_s` is how long the relay itself asks us to stay away, None if it does not say. `lasting`: a person has to
    put something right first, so trying again soon is pointless.
    """

    code = "relay-failed"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        next_step: str = "",
        retry_s: float | None = None,
        lasting: bool = False,
    ) -> None:
        super().__init__(message, code=code, next_step=next_step)
        self.retry_s = retry_s
        self.lasting = lasting


class ProtocolError(PeerdError):
    """Base of the two below; `close_code` is the WebSocket close code that belongs to it."""

    code = "protocol"
    close_code = 4400


class LocalProtocolError(ProtocolError):
    """We were about to say something the protocol forbids: a bug of ours."""


class RemoteProtocolError(ProtocolError):
    """They said something the protocol forbids."""

    def __init__(self, message: str, *, code: str = "protocol", close_code: int = 4400) -> None:
        super().__init__(message, code=code)
        self.close_code = close_code


class LinkLost(PeerdError):
    """There is no link, or none any more. `theirs` is the device that refused it, if that is proven."""

    code = "link-lost"
    theirs: bytes | None = None
