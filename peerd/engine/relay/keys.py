"""Which keys of a space count on a relay: one for names, which lives as long as the space, one epoch to seal under, and
all that we know to open with.
"""

from __future__ import annotations

from peerd.core.roster import epochs
from peerd.core.roster.epochs import RelayKeys
from peerd.engine.space import Space
from peerd.engine.spaces import Spaces
from peerd.errors import RelayTrouble


class NoKey(RelayTrouble):
    """Nothing can be named or sealed until more of the roster is here."""

    code = "relay-no-key"


class SpaceKeys:
    """Opened when the roster has changed, and kept in memory only."""

    def __init__(self, space: Space, spaces: Spaces) -> None:
        self._space = space
        self._spaces = spaces
        self._digest = b""
        self._secrets: dict[bytes, bytes] = {}  # of epochs, the newest first
        self._opening: list[RelayKeys] = []

    def names(self) -> bytes:
        """The key of names. Raises NoKey."""
        first = epochs.first(self._space.roster)
        return epochs.names_key(self._space.id, self._secret(first.id if first else b"", _NO_FIRST))

    def sealing(self) -> RelayKeys:
        """Of the epoch that exactly the members know. Raises NoKey while there is none."""
        return epochs.relay_keys(self._space.id, self.current_secret())

    def current_secret(self) -> bytes:
        current = epochs.current(self._space.roster)
        return self._secret(current.id if current else b"", _NO_CURRENT)

    def opening(self) -> list[RelayKeys]:
        """Of every epoch that we know, the newest first."""
        self._look()
        return self._opening

    def _secret(self, epoch: bytes, otherwise: tuple[str, str]) -> bytes:
        self._look()
        secret = self._secrets.get(epoch)
        if secret is None:
            why, next_step = otherwise
            raise NoKey(why, next_step=next_step)
        return secret

    def _look(self) -> None:
        roster = self._space.roster
        if self._digest == roster.digest():
            return
        known = self._spaces.secrets(self._space)
        newest_first = [one.id for one in reversed(epochs.epochs(roster)) if one.id in known]
        self._secrets = {one: known[one] for one in newest_first}
        self._opening = [epochs.relay_keys(self._space.id, secret) for secret in self._secrets.values()]
        self._digest = roster.digest()


_NO_FIRST = (
    "this device was not given the first secret of the space",
    "Let it link once with a member; the secret is given then.",
)
_NO_CURRENT = (
    "members have changed, and no admin's device has made a new secret for the space yet, or it has not come here",
    "It is made by itself when the device of an admin runs.",
)
