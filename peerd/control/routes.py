"""All routes of the socket, in the order in which the description lists them."""

from __future__ import annotations

from typing import Final

from peerd.control import backups, history, recopy, records, relays, spaces, system, tables, tickets
from peerd.control.router import Route

ROUTES: Final[tuple[Route, ...]] = (
    *system.ROUTES, *spaces.ROUTES, *records.ROUTES, *history.ROUTES, *tables.ROUTES, *relays.ROUTES,
    *tickets.ROUTES, *backups.ROUTES, *recopy.ROUTES,
)  # fmt: skip
