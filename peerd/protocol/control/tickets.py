"""What is said on the control socket about invitations by file, as JSON. The rules are those of `messages`."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from peerd.protocol.control.messages import Request


class NewTicket(Request):
    """`days` is how long it is good for."""

    days: int = 7
    role: Literal["admin", "member"] = "admin"


class TicketFile(Struct, kw_only=True):
    """`file` is the invitation in base64; `code` opens it, and must go another way than the file."""

    code: str
    file: str
    expires_ms: int


class NewPetition(Request):
    """`name` is what the space is to be called here."""

    file: str
    code: str
    name: str | None = None


class Petitioned(Struct, kw_only=True):
    """The space is there, empty, and open for writing once a member has answered. `relays` are those here that it
    goes through; if there are none, nobody hears of it yet.
    """

    space: str
    id: str
    expires_ms: int
    relays: list[str] = []
