"""One request at a time to CloudKit Web Services: signed with the service's own time, held back by the gate, bounded.

Everything that goes wrong is a RelayTrouble, or `TooMuch`, which is one. A request that nobody answered may or may not
have been carried out; what is asked here is safe to repeat.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import aiohttp
from yarl import URL

from peerd import logs
from peerd.errors import RelayTrouble
from peerd.relay.cloudkit import answers, refusals
from peerd.relay.cloudkit.answers import Refused
from peerd.relay.cloudkit.gate import Gate, Times
from peerd.relay.cloudkit.requests import Call
from peerd.relay.cloudkit.signing import SigningKey, date_of

ANSWER_BYTES = 8 << 20  # eight objects in base64, with room; the service's own limit is not published
TIMEOUT_S = 120.0
FAR_OFF_S = 120.0  # of a clock; the service is said to accept ten minutes

_log = logs.get(__name__)


class Place(NamedTuple):
    """Which database is meant, and which key it knows."""

    container: str
    environment: str
    key_id: str
    base_url: str = "https://api.apple-cloudkit.com"

    def path(self, operation: str) -> str:
        """What is signed of the address."""
        return f"/database/1/{self.container}/{self.environment}/public/{operation}"


class TooMuch(RelayTrouble):
    """Half of the request may be taken. For a request that cannot be cut it is what it says."""


class Reply(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


class Client:
    """Speaks to one container. `read_key` is asked when there is no key yet, and again after a refused one."""

    def __init__(
        self,
        place: Place,
        read_key: Callable[[], SigningKey],
        gate: Gate,
        times: Times,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.place = place
        self.ahead_ms = 0  # the service's clock, compared with ours
        self._read_key = read_key
        self._key: SigningKey | None = None
        self._gate = gate
        self._times = times
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, connect=min(timeout_s, 20.0))
        self._session: aiohttp.ClientSession | None = None
        self._turn = asyncio.Lock()

    async def call(self, operation: Call, body: bytes) -> bytes:
        """The body of an answer that is no refusal as a whole.

        Raises:
            TooMuch, RelayTrouble.

        """
        async with self._turn:
            self.check_gate()
            reply = await self._signed(operation, body)
            if reply.status == 401:  # perhaps our clock; it is right now
                reply = await self._signed(operation, body)
            refused = answers.refusal(reply.status, reply.headers, reply.body)
            if refused is None:
                return reply.body
            _log.debug("relay refused", cause=f"{refused.code} {refused.status} {refused.reason}", key=refused.failure)
            if reply.status == 401:
                self._key = None
                raise self._unaccepted(refused)
            raise self.refuse(refused, whole=True)

    def refuse(self, refused: Refused, *, whole: bool = False) -> RelayTrouble:
        """The trouble that a refusal is, after the gate has heard of it. `whole`: of a request, not of one record."""
        reaction = refusals.reaction(refused)
        retry_s: float | None = None
        if refused.wait_s is not None:
            retry_s = self._gate.asked(refused.wait_s, refused.code or str(refused.status))
        elif reaction.ill:
            retry_s = self._gate.ill(refused.code or str(refused.status))
        told = refusals.trouble(refused, retry_s)
        if not (whole and refusals.may_be_too_large(refused)):
            return told
        return TooMuch(str(told), code=told.code, next_step=told.next_step, retry_s=retry_s, lasting=told.lasting)

    def worked(self) -> None:
        """The answer was what it should be, that is each record in it: the next failure is a first one."""
        self._gate.well()

    def garbled(self, problem: answers.Garbled) -> RelayTrouble:
        """The trouble that an answer is which is none."""
        return RelayTrouble(
            f"What answers at {self.place.base_url} does not speak as CloudKit does: {problem}.",
            next_step="If it stays so: look for a proxy in between, and check relay.cloudkit.base_url.",
            retry_s=self._gate.ill("garbled"),
        )

    def check_gate(self) -> None:
        """Raises RelayTrouble while it is too early to ask again."""
        wait_s = self._gate.wait_s()
        if wait_s > 0:
            raise RelayTrouble(
                f"CloudKit wants to be left alone for another {_duration(wait_s)} ({self._gate.why}).",
                code="relay-throttled",
                next_step="Nothing to do: it is asked again by itself.",
                retry_s=wait_s,
            )

    async def fetch(self, method: Literal["GET", "POST"], url: str, data: bytes, max_bytes: int) -> Reply:
        """A request to the second host, which serves assets: unsigned, and its errors are bare HTTP."""
        # http is for an emulator on this machine. The address is signed: it is sent as it came.
        schemes = ("https://", "http://") if self.place.base_url.startswith("http://") else ("https://",)
        if not url.startswith(schemes) or not url.isascii() or not url.isprintable() or " " in url:
            raise self.garbled(answers.Garbled("the address of an asset is none"))
        async with self._turn:
            self.check_gate()
            kind = {"Content-Type": "application/octet-stream"} if data else {}
            return await self._exchange(method, url, data, kind, max_bytes)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    # --- one request --------------------------------------------------------------------------------------------------

    async def _signed(self, operation: Call, body: bytes) -> Reply:
        if self._key is None:
            self._key = self._read_key()
        path = self.place.path(operation)
        date = date_of(self._times.wall_ms() + self.ahead_ms)
        headers = {**self._key.headers(self.place.key_id, date, body, path), "Content-Type": "application/json"}
        reply = await self._exchange("POST", self.place.base_url + path, body, headers, ANSWER_BYTES)
        theirs_ms = answers.server_ms(reply.headers)
        if theirs_ms is not None:
            self.ahead_ms = theirs_ms - self._times.wall_ms()
        return reply

    async def _exchange(self, method: str, url: str, data: bytes, headers: Mapping[str, str], max_bytes: int) -> Reply:
        try:
            async with self._opened().request(
                method, URL(url, encoded=True), data=data or None, headers=headers, allow_redirects=False
            ) as response:
                return Reply(response.status, response.headers, await _bounded(response, max_bytes))
        except _TooLong:
            raise TooMuch(
                f"CloudKit's answer is larger than {max_bytes} bytes.",
                next_step="Nothing to do: it is asked for less.",
            ) from None
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise RelayTrouble(
                f"{_host(url)} cannot be reached, or broke off: {_cause(error)}.",
                code="relay-unreachable",
                next_step="Check the network; `peerctl relay check` tries the relay. It is asked again by itself.",
            ) from None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                # Unpacking would make an answer larger than what was counted, and sealed bytes do not shrink.
                headers={"User-Agent": "peerd", "Accept-Encoding": "identity"},
                auto_decompress=False,
            )
        return self._session

    def _unaccepted(self, refused: Refused) -> RelayTrouble:
        told = refusals.trouble(refused, None)
        off_s = abs(self.ahead_ms) / 1000
        if off_s < FAR_OFF_S:
            return told
        return RelayTrouble(
            f"This device's clock is {_duration(off_s)} off. CloudKit did not accept a signature with its own time "
            "either.",
            code="relay-clock",
            next_step="Set the clock (timedatectl set-ntp true). If it is right, then: " + told.next_step,
            lasting=True,
        )


class _TooLong(Exception):
    pass


async def _bounded(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > max_bytes:
            raise _TooLong
    return bytes(body)


def _host(url: str) -> str:
    return url.split("/")[2] if url.count("/") >= 2 else url


def _cause(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (answers.shown(str(error)) or type(error).__name__).rstrip(".")


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(1.0, seconds):.0f} s"
