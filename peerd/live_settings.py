"""The settings that stand: what the start found, and what a reload has taken over since."""

from __future__ import annotations

from collections.abc import Callable

from peerd.config import Settings
from peerd.config.settings import Changes


class LiveSettings:
    """`now` are those that count; `at_start` those that some parts go on with, since they take no others. `read` reads
    the configuration again.
    """

    def __init__(self, settings: Settings, read: Callable[[], Settings]) -> None:
        self.now = self.at_start = settings
        self._read = read

    def read_again(self) -> Changes:
        """Take over what stands in the configuration now; gives what has changed in it.

        Raises:
            ConfigError: it has problems; the running one stays.
        """
        fresh = self._read()
        changes = self.now.changes(fresh)
        self.now = fresh
        return changes

    @property
    def needs_restart(self) -> list[str]:
        """What waits for the next start, also of earlier reloads, if it was not taken back."""
        return list(self.at_start.changes(self.now).needs_restart)
