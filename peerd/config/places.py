"""Where peerd keeps its things when no setting says so: systemd's word, else root's places or a user's."""

from __future__ import annotations

import os
import pwd
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_NAME_BYTES = 63


@dataclass(frozen=True)
class Surroundings:
    """All that a default may depend on."""

    environ: Mapping[str, str]
    is_root: bool
    home: Path
    host_name: str

    @classmethod
    def of_this_process(cls, environ: Mapping[str, str]) -> Surroundings:
        uid = os.geteuid()
        return cls(environ, uid == 0, _home(environ, uid), socket.gethostname())

    def expand(self, path: str) -> Path:
        """`~/x` in the home directory; anything else as it stands."""
        return self.home / path[2:] if path.startswith("~/") else Path(path)

    def _directory(self, name: str) -> Path | None:
        # systemd lists several directories with colons between them; the first is the one meant for us.
        first = self.environ.get(name, "").split(":")[0]
        return Path(first) if first.startswith("/") else None

    def device_name(self) -> str:
        """The host name without its domain, cut to what a device name may be."""
        short = self.host_name.split(".")[0]
        kept = "".join(c for c in short if c.isprintable()).encode()[:MAX_NAME_BYTES].decode(errors="ignore")
        return kept.strip() or "peerd"

    def config_file(self) -> Path:
        """The file that is read when none is named; it need not exist."""
        given = self._directory("CONFIGURATION_DIRECTORY")
        if given is None:
            user = self._directory("XDG_CONFIG_HOME") or self.home / ".config"
            given = Path("/etc/peerd") if self.is_root else user / "peerd"
        return given / "peerd.toml"

    def state_dir(self) -> Path:
        given = self._directory("STATE_DIRECTORY")
        if given is not None:
            return given
        if self.is_root:
            return Path("/var/lib/peerd")
        return (self._directory("XDG_STATE_HOME") or self.home / ".local/state") / "peerd"

    def control_socket(self) -> Path:
        """In the runtime directory; where there is none, the user's state directory."""
        given = self._directory("RUNTIME_DIRECTORY")
        if given is not None:
            return given / "peerd.sock"
        if self.is_root:
            return Path("/run/peerd/peerd.sock")
        runtime = self._directory("XDG_RUNTIME_DIR")
        return runtime / "peerd/peerd.sock" if runtime else self.state_dir() / "peerd.sock"


def _home(environ: Mapping[str, str], uid: int) -> Path:
    given = environ.get("HOME", "")
    if given.startswith("/"):
        return Path(given)
    try:
        return Path(pwd.getpwuid(uid).pw_dir)
    except KeyError:
        return Path("/")
