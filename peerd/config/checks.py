"""What a setting accepts: each check takes the value as TOML gave it and returns it in the form peerd uses.

A check raises ValueError; the problem then quotes its `allowed`, so that what is refused and what is said to
be allowed cannot part.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from peerd.config.places import Surroundings

Address = tuple[str, int]

MAX_SOCKET_PATH_BYTES: Final = 107  # sun_path of unix(7), less its closing NUL

_HOST_NAME: Final = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")
_ADDRESS: Final = re.compile(r"(?:\[(?P<six>[^\[\]]+)\]|(?P<host>[^:\[\]]+)):(?P<port>[0-9]{1,5})")
_BINDING_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CONTAINER: Final = re.compile(r"iCloud\.[A-Za-z0-9.-]{1,240}")
_URL: Final = re.compile(
    r"(https://[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?|http://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?)/?"
)
_GROUP: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,30}\$?")


class Check(Protocol):
    """`allowed` completes the sentence "must be ..."."""

    @property
    def allowed(self) -> str: ...

    def __call__(self, value: Any, here: Surroundings, /) -> Any: ...


@dataclass(frozen=True)
class Flag:
    allowed: str = "true or false"

    def __call__(self, value: Any, _here: Surroundings) -> bool:
        if value is not True and value is not False:
            raise ValueError
        return value


@dataclass(frozen=True)
class OneOf:
    choices: tuple[str, ...]

    @property
    def allowed(self) -> str:
        quoted = [f'"{choice}"' for choice in self.choices]
        return ", ".join(quoted[:-1]) + " or " + quoted[-1]

    def __call__(self, value: Any, _here: Surroundings) -> str:
        if not isinstance(value, str) or value not in self.choices:
            raise ValueError
        return value


@dataclass(frozen=True)
class WholeNumber:
    lowest: int
    highest: int
    unit: str

    @property
    def allowed(self) -> str:
        return f"a whole number of {self.unit} from {self.lowest} to {self.highest}"

    def __call__(self, value: Any, _here: Surroundings) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not self.lowest <= value <= self.highest:
            raise ValueError
        return value


@dataclass(frozen=True)
class Name:
    """A name for people: one line, nothing invisible, no space at its ends."""

    max_bytes: int

    @property
    def allowed(self) -> str:
        return f"1 to {self.max_bytes} bytes of printable text without spaces at its ends"

    def __call__(self, value: Any, _here: Surroundings) -> str:
        if not isinstance(value, str) or not value.isprintable() or value != value.strip():
            raise ValueError
        if not 1 <= len(value.encode()) <= self.max_bytes:
            raise ValueError
        return value


@dataclass(frozen=True)
class Group:
    allowed: str = 'the name of a group, or "" for none'

    def __call__(self, value: Any, _here: Surroundings) -> str:
        if not isinstance(value, str) or (value and not _GROUP.fullmatch(value)):
            raise ValueError
        return value


@dataclass(frozen=True)
class Directory:
    allowed: str = "an absolute path, or one that begins with ~/"

    def __call__(self, value: Any, here: Surroundings) -> Path:
        return _path(value, here)


@dataclass(frozen=True)
class Socket:
    allowed: str = (
        f"an absolute path, or one that begins with ~/, of at most {MAX_SOCKET_PATH_BYTES} bytes "
        "(the kernel takes no longer one for a socket)"
    )

    def __call__(self, value: Any, here: Surroundings) -> Path:
        path = _path(value, here)
        if len(bytes(path)) > MAX_SOCKET_PATH_BYTES:
            raise ValueError
        return path


@dataclass(frozen=True)
class Addresses:
    """A list of "host:port"; IPv6 in brackets, a link-local one with its scope inside them."""

    lowest_port: int

    @property
    def allowed(self) -> str:
        return f'a list of "host:port" or "[IPv6]:port" with ports from {self.lowest_port} to 65535'

    def __call__(self, value: Any, _here: Surroundings) -> tuple[Address, ...]:
        return tuple(dict.fromkeys(parse_address(text, self.lowest_port) for text in _texts(value)))


@dataclass(frozen=True)
class Interfaces:
    allowed: str = 'a list of interface names, in which * stands for anything; ["*"] is all of them'

    def __call__(self, value: Any, _here: Surroundings) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(_texts(value)))
        # IFNAMSIZ of netdevice(7) is 16 with its closing NUL; white space and "/" are refused by the kernel.
        if not all(re.fullmatch(r"[^\s/]{1,15}", name) for name in names):
            raise ValueError
        return names


@dataclass(frozen=True)
class File:
    allowed: str = "an absolute path of a file, or one that begins with ~/"

    def __call__(self, value: Any, here: Surroundings) -> Path:
        return _path(value, here)


@dataclass(frozen=True)
class BindingName:
    allowed: str = "1 to 64 of A-Z a-z 0-9 . _ - with a letter or digit first"

    def __call__(self, value: Any, _here: Surroundings) -> str:
        if not isinstance(value, str) or not _BINDING_NAME.fullmatch(value):
            raise ValueError
        return value


@dataclass(frozen=True)
class TableNames:
    allowed: str = "a list of names of tables"

    def __call__(self, value: Any, _here: Surroundings) -> tuple[str, ...]:
        return tuple(dict.fromkeys(_texts(value)))


@dataclass(frozen=True)
class SpaceNames:
    allowed: str = 'a list of names of spaces; ["*"] is all of them'

    def __call__(self, value: Any, _here: Surroundings) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(_texts(value)))
        if not names or not all(name == "*" or _BINDING_NAME.fullmatch(name) for name in names):
            raise ValueError
        return names


@dataclass(frozen=True)
class Container:
    allowed: str = "the name of a container, which begins with iCloud."

    def __call__(self, value: Any, _here: Surroundings) -> str:
        if not isinstance(value, str) or not _CONTAINER.fullmatch(value):
            raise ValueError
        return value


@dataclass(frozen=True)
class Word:
    allowed: str = "1 to 128 printable ASCII characters without spaces"

    def __call__(self, value: Any, _here: Surroundings) -> str:
        if not isinstance(value, str) or not re.fullmatch(r"[!-~]{1,128}", value):
            raise ValueError
        return value


@dataclass(frozen=True)
class Url:
    """Where a service is: no path, no credentials. Plain HTTP only on this machine."""

    allowed: str = "https://HOST or https://HOST:PORT (http:// only for localhost)"

    def __call__(self, value: Any, _here: Surroundings) -> str:
        if not isinstance(value, str) or not _URL.fullmatch(value):
            raise ValueError
        return value.rstrip("/")


@dataclass(frozen=True)
class ByName:
    """A TOML table: what `each` accepts, by a name."""

    each: Check
    what: str

    @property
    def allowed(self) -> str:
        return f"{{ {self.what} }} in which each value is {self.each.allowed}"

    def __call__(self, value: Any, here: Surroundings) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError  # noqa: TRY004 - a check knows one way to say no
        return {name: self.each(one, here) for name, one in value.items()}


@dataclass(frozen=True)
class TableName:
    allowed: str = "the name of a table"

    def __call__(self, value: Any, _here: Surroundings) -> str:
        if not isinstance(value, str) or not value:
            raise ValueError
        return value


def parse_address(text: str, lowest_port: int = 1) -> Address:
    """`("host", port)` of "host:port" or "[IPv6]:port".

    Raises:
        ValueError: it is neither, or the port is out of range.

    """
    parts = _ADDRESS.fullmatch(text)
    if parts is None or not lowest_port <= int(parts["port"]) <= 0xFFFF:
        raise ValueError(text)
    if parts["six"] is not None:
        ipaddress.IPv6Address(parts["six"])
    elif not _HOST_NAME.fullmatch(parts["host"]):
        raise ValueError(text)
    return parts["six"] or parts["host"], int(parts["port"])


def _path(value: Any, here: Surroundings) -> Path:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError
    path = here.expand(value)
    if not path.is_absolute():
        raise ValueError
    return path


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError
    return value
