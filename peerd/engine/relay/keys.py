"""Which keys of a space count on a relay: one for names, which lives as long as the space, one epoch to seal under, and
all that we know to open with.
"""

from __future__ import annotations

from typing import TypeVar

from peerd.core.roster import epochs
from peerd.core.roster.epochs import RelayKeys
from peerd.engine.space import Space
from peerd.engine.spaces import Spaces
from peerd.errors import RelayTrouble

T = TypeVar("T")


class NoKey(RelayTrouble):
    """Nothing can be named or sealed until more of the roster is here."""

    code = "relay-no-key"


class SpaceKeys:
    """Opened when the roster has changed, and kept in memory only."""

    def __init__(self, space: Space, spaces: Spaces) -> None:
        self._space = space
        self._spaces = spaces
        self._digest = b""
        self._opening: dict[bytes, RelayKeys] = {}  # by epoch, the newest first
        self._secrets: list[bytes] = []  # the newest first
        self._names: bytes | None = None
        self._current: bytes | None = None  # the secret of the epoch to seal under
        self._sealing: RelayKeys | None = None

    def names(self) -> bytes:
        """The key of names. Raises NoKey."""
        self._look()
        return _there(self._names, _NO_FIRST)

    def sealing(self) -> RelayKeys:
        """Of the epoch that exactly the members know. Raises NoKey while there is none."""
        self._look()
        return _there(self._sealing, _NO_CURRENT)

    def current_secret(self) -> bytes:
        self._look()
        return _there(self._current, _NO_CURRENT)

    def secrets(self) -> list[bytes]:
        """Of every epoch that we know, the newest first."""
        self._look()
        return list(self._secrets)

    def opening(self) -> list[RelayKeys]:
        """Of every epoch that we know, the newest first."""
        self._look()
        return list(self._opening.values())

    def _look(self) -> None:
        roster, space = self._space.roster, self._space.id
        if self._digest == roster.digest():
            return
        known = self._spaces.secrets(self._space)
        newest_first = [one.id for one in reversed(epochs.epochs(roster)) if one.id in known]
        self._secrets = [known[one] for one in newest_first]
        self._opening = {one: epochs.relay_keys(space, known[one]) for one in newest_first}
        first, current = epochs.first(roster), epochs.current(roster)
        self._names = epochs.names_key(space, known[first.id]) if first is not None and first.id in known else None
        self._current = known.get(current.id) if current is not None else None
        self._sealing = self._opening[current.id] if current is not None and self._current is not None else None
        self._digest = roster.digest()


def _there(key: T | None, otherwise: tuple[str, str]) -> T:
    if key is None:
        why, next_step = otherwise
        raise NoKey(why, next_step=next_step)
    return key


_NO_FIRST = (
    "this device was not given the first secret of the space",
    "Let it link once with a member; the secret is given then.",
)
_NO_CURRENT = (
    "members have changed, and no admin's device has made a new secret for the space yet, or it has not come here",
    "It is made by itself when the device of an admin runs.",
)
