"""Every setting, declared once: type, default, check, explanation, and whether a change needs a restart.

The file that ships, the reference in `docs/configuration.md` and the problems that `peerd check-config`
reports are made from these declarations. The structs are what the rest of peerd gets.
"""

# Annotations are read at run time here: no `from __future__ import annotations`.
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_type_hints

import msgspec

from peerd import logs
from peerd.config.checks import (
    Address,
    Addresses,
    BindingName,
    ByName,
    Check,
    Directory,
    File,
    Flag,
    Group,
    Interfaces,
    Name,
    OneOf,
    Socket,
    TableName,
    TableNames,
    WholeNumber,
)
from peerd.config.places import MAX_NAME_BYTES, Surroundings

DEFAULT_PORT = 7337


@dataclass(frozen=True)
class Setting:
    """One setting. `default` is what TOML would give, or what makes that from the surroundings.

    Where it depends on the surroundings, `example` is shown in the file and `otherwise` says what decides.
    `live` says that a reload is enough. A `required` one has no default.
    """

    explanation: str
    check: Check
    default: Any
    live: bool = False
    example: str = ""
    otherwise: str = ""
    required: bool = False

    def default_value(self, here: Surroundings) -> Any:
        """The default in the form peerd uses."""
        default: Callable[[Surroundings], str] | Any = self.default
        return self.check(default(here) if callable(default) else default, here)


class Device(msgspec.Struct, frozen=True):
    """This machine as others see it, and where it keeps what it knows."""

    name: Annotated[
        str,
        Setting(
            explanation="The name that other devices show for this one.",
            check=Name(MAX_NAME_BYTES),
            default=Surroundings.device_name,
            example="kitchen",
            otherwise="the host name",
        ),
    ]
    state_dir: Annotated[
        Path,
        Setting(
            explanation=(
                "Where the device's key and the databases of its spaces are kept. Two daemons must not share one."
            ),
            check=Directory(),
            default=lambda here: str(here.state_dir()),
            example="~/.local/state/peerd",
            otherwise=(
                "$STATE_DIRECTORY under systemd, /var/lib/peerd for root, else peerd in $XDG_STATE_HOME "
                "or ~/.local/state"
            ),
        ),
    ]


class Network(msgspec.Struct, frozen=True):
    """How this device is reached and how it finds others."""

    listen: Annotated[
        tuple[Address, ...],
        Setting(
            explanation=(
                "Addresses on which other devices may connect. "
                "Port 0 is any free one; with an empty list this device only dials."
            ),
            check=Addresses(lowest_port=0),
            default=[f"0.0.0.0:{DEFAULT_PORT}", f"[::]:{DEFAULT_PORT}"],
        ),
    ]
    mdns: Annotated[
        bool,
        Setting(
            explanation="Announce this device on the local network and look for others there.",
            check=Flag(),
            default=True,
        ),
    ]
    interfaces: Annotated[
        tuple[str, ...],
        Setting(
            explanation="Network interfaces on which to announce and look.",
            check=Interfaces(),
            default=["*"],
        ),
    ]
    peers: Annotated[
        tuple[Address, ...],
        Setting(
            explanation=(
                'Addresses to dial besides those that are found, for other subnets: "nas.lan:7337". '
                "An address is only a hint; who answers is proved by its key."
            ),
            check=Addresses(lowest_port=1),
            default=[],
            live=True,
        ),
    ]


class Control(msgspec.Struct, frozen=True):
    """The Unix socket for peerctl and for programs."""

    socket: Annotated[
        Path,
        Setting(
            explanation="Where the socket is made. Whoever may open it (mode 0660) may read.",
            check=Socket(),
            default=lambda here: str(here.control_socket()),
            example="/run/user/1000/peerd/peerd.sock",
            otherwise=(
                "peerd.sock in $RUNTIME_DIRECTORY under systemd, in /run/peerd for root, else in "
                "$XDG_RUNTIME_DIR/peerd, else in the default state_dir"
            ),
        ),
    ]
    write_group: Annotated[
        str,
        Setting(
            explanation=(
                "A group whose members may write. Without one only root and peerd's own user may. A socket that "
                "peerd makes is given to this group, if peerd is root or a member of it; so is the way through a "
                "folder made for the socket alone. `peerctl doctor` says what else is in the way."
            ),
            check=Group(),
            default="",
            live=True,
        ),
    ]


class Log(msgspec.Struct, frozen=True):
    """What peerd says about itself, on stderr."""

    level: Annotated[
        str,
        Setting(
            explanation="The least that is worth saying.",
            check=OneOf(logs.LEVELS),
            default="info",
            live=True,
        ),
    ]
    format: Annotated[
        str,
        Setting(
            explanation='How a line looks. "auto" is what suits stderr: the journal, a terminal or a file.',
            check=OneOf(logs.FORMATS),
            default="auto",
            live=True,
        ),
    ]


class TableSettings(msgspec.Struct, frozen=True):
    """A database of an application whose tables belong to the space: what `peerctl tables bind` does, written down. It
    is bound at the start or at a reload if it is not yet. Without `include`, tables that the application adds later are
    bound as soon as they are there, if their schema leaves nothing open. Taking it out of the file does not unbind it.
    """

    database: Annotated[
        Path,
        Setting(
            explanation="The application's SQLite file.",
            check=File(),
            default=None,
            live=True,
            example="~/.local/share/todo/todo.db",
            otherwise="none, it must be given",
            required=True,
        ),
    ]
    name: Annotated[
        str,
        Setting(
            explanation="What the binding is called. All devices that bind this application use the same name.",
            check=BindingName(),
            default="tables",
            live=True,
            example="todo",
            otherwise="the file's name without its ending",
        ),
    ]
    include: Annotated[
        tuple[str, ...],
        Setting(
            explanation="Only these tables; none named: all that can be bound.",
            check=TableNames(),
            default=[],
            live=True,
        ),
    ]
    exclude: Annotated[
        tuple[str, ...],
        Setting(explanation="Not these tables.", check=TableNames(), default=[], live=True),
    ]
    keys: Annotated[
        dict[str, str],
        Setting(
            explanation="What makes a row of a table the same row on other devices, where the schema does not say it.",
            check=ByName(OneOf(("natural", "surrogate", "content")), "TABLE = CLASS, ..."),
            default={},
            live=True,
        ),
    ]
    match: Annotated[
        dict[str, tuple[str, ...]],
        Setting(
            explanation="Of a table with the class content: the columns by which rows are the same.",
            check=ByName(TableNames("a list of names of columns"), "TABLE = [COLUMN, ...], ..."),
            default={},
            live=True,
        ),
    ]
    references: Annotated[
        dict[str, str],
        Setting(
            explanation="Columns that hold keys of another table, where the schema does not declare it.",
            check=ByName(TableName(), '"TABLE.COLUMN" = TABLE, ...'),
            default={},
            live=True,
        ),
    ]
    max_deletes: Annotated[
        int,
        Setting(
            explanation=(
                "If more rows of a table are deleted at once, and more than max_delete_share of it, the deletes are "
                "held until somebody approves them."
            ),
            check=WholeNumber(0, 1_000_000_000, "rows"),
            default=100,
            live=True,
        ),
    ]
    max_delete_share: Annotated[
        int,
        Setting(
            explanation="See max_deletes. With 100 nothing is ever held.",
            check=WholeNumber(0, 100, "percent"),
            default=20,
            live=True,
        ),
    ]


class SpaceSettings(msgspec.Struct, frozen=True):
    """What holds on this device only, for a space of that name."""

    history_days: Annotated[
        int,
        Setting(
            explanation="How long replaced values are kept, and transactions that all active members and relays "
            "have. With 0 they go within an hour, many of them within minutes.",
            check=WholeNumber(0, 3650, "days"),
            default=30,
            live=True,
        ),
    ]
    tables: tuple[TableSettings, ...] = ()


SECTIONS: Mapping[str, type[msgspec.Struct]] = {
    "device": Device,
    "network": Network,
    "control": Control,
    "log": Log,
}


class Changes(NamedTuple):
    """Dotted names of the settings in which two configurations differ."""

    live: tuple[str, ...]
    needs_restart: tuple[str, ...]


class Settings(msgspec.Struct, frozen=True):
    """The whole configuration, checked and complete; `files` is what it was read from, in order."""

    device: Device
    network: Network
    control: Control
    log: Log
    spaces: dict[str, SpaceSettings]
    space_default: SpaceSettings
    relays: dict[str, msgspec.Struct] = {}  # by the name of the back end, as `relay_settings` declares them
    files: tuple[Path, ...] = ()

    def space(self, name: str) -> SpaceSettings:
        """The local settings of a space, the defaults where the files name none."""
        return self.spaces.get(name, self.space_default)

    def changes(self, other: "Settings") -> Changes:
        """What differs in `other`: what a reload can apply, and what only a restart can."""
        live: list[str] = []
        needs_restart: list[str] = []
        for section, struct in SECTIONS.items():
            for key, setting in declared(struct).items():
                if getattr(getattr(self, section), key) != getattr(getattr(other, section), key):
                    (live if setting.live else needs_restart).append(f"{section}.{key}")
        for name in sorted({*self.spaces, *other.spaces}):
            for key, setting in declared(SpaceSettings).items():
                if getattr(self.space(name), key) != getattr(other.space(name), key):
                    (live if setting.live else needs_restart).append(f"spaces.{name}.{key}")
            if self.space(name).tables != other.space(name).tables:
                live.append(f"spaces.{name}.tables")
        relays = sorted({*self.relays, *other.relays})
        live += [f"relay.{name}" for name in relays if self.relays.get(name) != other.relays.get(name)]
        return Changes(tuple(live), tuple(needs_restart))


def declared(section: type[msgspec.Struct]) -> dict[str, Setting]:
    """The settings of a section by key, in the order of their declaration."""
    hints = get_type_hints(section, include_extras=True)
    return {key: hint.__metadata__[0] for key, hint in hints.items() if hasattr(hint, "__metadata__")}
