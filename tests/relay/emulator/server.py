"""CloudKit Web Services over HTTP, and the host of its assets on another port: strict, and scriptable.

It refuses what the real service is known to refuse (by Apple's reference, and by what others observed there). Where
the two are silent, `Habits` has the possibilities.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from fnmatch import fnmatchcase
from typing import Any, Self

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.relay.emulator import operations
from tests.relay.emulator.assets import AssetHost
from tests.relay.emulator.authentication import KEY_HEADER, WINDOW_S, authenticate
from tests.relay.emulator.database import Database
from tests.relay.emulator.faults import Fault, Faults
from tests.relay.emulator.operations import Habits, Session
from tests.relay.emulator.query import query
from tests.relay.emulator.refused import Refused, bad, throttled, unauthenticated

CONTAINER = "iCloud.example.peerd"
REQUEST_BYTES = 4 << 20

_PATH = re.compile(r"/database/1/([^/]+)/(development|production)/(public|private|shared)/([a-z]+/[a-z]+)")
_FEEDS = frozenset({"records/changes", "changes/zone", "changes/database", "zones/changes"})
_GET = frozenset({"zones/list", "subscriptions/list"})
_POST = _FEEDS | {
    "records/modify", "records/lookup", "records/query", "assets/upload", "assets/rereference", "zones/lookup",
    "zones/modify", "subscriptions/modify", "subscriptions/lookup", "users/lookup", "users/discover", "users/caller",
}  # fmt: skip
_WHOLE = {
    "later": Refused("TRY_AGAIN_LATER", "Try again later", 503),
    "internal": Refused("INTERNAL_ERROR", "Internal error", 500),
    "quota": Refused("QUOTA_EXCEEDED", "Quota exceeded", 413),
    "denied": Refused("ACCESS_DENIED", "Access denied", 403),
    "toolarge": bad("request is too large"),
    "auth": unauthenticated(),
    "unknown": Refused("SOMETHING_NEW", "Unheard of", 418),
}


@dataclass
class Seen:
    """A request that came, for tests that count or look. `client` is the key that it claims; nobody's at the host of
    assets. `at_s` by the service's clock; `answer_bytes` of the answer's body.
    """

    operation: str
    body: bytes
    at_s: float
    client: str = ""
    status: int = 0
    answer_bytes: int = 0

    @property
    def body_bytes(self) -> int:
        """What went over the wire for it, both ways, without HTTP's own."""
        return len(self.body) + self.answer_bytes


@dataclass
class Emulator:
    """Start it with `async with`. `skew_s`: how far the service's clock is ahead of `now`. `early`: requests that came
    though a throttle had not ended. `separate_creators`: two keys of a container are two users.
    """

    now: Callable[[], float] = time.time
    seed: int = 0
    habits: Habits = field(default_factory=Habits)
    faults: Faults = field(default_factory=Faults)
    window_s: float = WINDOW_S
    skew_s: float = 0.0
    latency_s: float = 0.0
    request_bytes: int = REQUEST_BYTES
    requests_per_s: float = 0.0
    separate_creators: bool = False
    early: int = 0
    in_flight_most: int = 0
    seen: list[Seen] = field(default_factory=list)
    keys: dict[str, EllipticCurvePublicKey] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._databases: dict[str, Database] = {}
        self._throttled_until: dict[str, float] = {}  # by the operations that are meant
        self._recent: list[float] = []
        self._in_flight = 0
        self._runners: list[web.AppRunner] = []
        self.assets = AssetHost(self.clock)

    def clock(self) -> float:
        return self.now() + self.skew_s

    def database(self, environment: str = "production") -> Database:
        if environment not in self._databases:
            self._databases[environment] = Database(self.clock, self._chance)
        return self._databases[environment]

    def new_key(self) -> tuple[str, bytes]:
        """Register a key, as the Console does. Gives its id, and the private half in PEM."""
        key = generate_private_key(SECP256R1())
        key_id = "".join(self._chance.choice("0123456789abcdef") for _ in range(64))
        self.keys[key_id] = key.public_key()
        return key_id, key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> Self:
        api = web.Application(client_max_size=1 << 30)
        api.router.add_route("*", "/{path:.*}", self._serve)
        cdn = web.Application(client_max_size=1 << 30)
        cdn.router.add_post("/upload/{token}", self._cdn("cdn/upload", self.assets.upload))
        cdn.router.add_get("/B/{number}/{name}", self._cdn("cdn/download", self.assets.download))
        self.base_url = await self._listen(api, host, port)
        self.assets.base_url = await self._listen(cdn, host, port + 1 if port else 0)
        return self

    async def stop(self) -> None:
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()

    async def _listen(self, app: web.Application, host: str, port: int) -> str:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        self._runners.append(runner)
        site = web.TCPSite(runner, host, port)
        await site.start()
        return f"http://{host}:{runner.addresses[0][1]}"

    # --- one request ------------------------------------------------------------------------------------------------

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self._in_flight += 1
        self.in_flight_most = max(self.in_flight_most, self._in_flight)
        try:
            body = await request.read()
            found = _PATH.fullmatch(request.raw_path)
            operation = found[4] if found else ""
            fault = self.faults.next(operation) if operation else None
            seen = Seen(operation, body, self.clock(), request.headers.get(KEY_HEADER, ""))
            self.seen.append(seen)
            if self.latency_s:
                await asyncio.sleep(self.latency_s)
            response = await self._answer(request, body, fault, seen)
            seen.answer_bytes = _body_bytes(response)
            return response
        finally:
            self._in_flight -= 1

    async def _answer(self, request: web.Request, body: bytes, fault: Fault | None, seen: Seen) -> web.StreamResponse:
        spoiled = await self._spoil(request, fault)
        if spoiled is not None:
            return spoiled
        try:
            self._check_throttle(seen.operation, fault)
            answer = self._dispatch(request, body, fault)
            status = 200
        except Refused as refused:
            answer, status = refused.body(self._new_uuid()), refused.status
        seen.status = status
        return await self._send(request, answer, status, fault)

    async def _spoil(self, request: web.Request, fault: Fault | None) -> web.StreamResponse | None:
        """Answers that are none, instead of doing anything."""
        if fault is None:
            return None
        if fault.do == "drop":
            return _abort(request)
        if fault.do == "html":
            return web.Response(status=502, text="<html><h1>Bad Gateway</h1></html>", content_type="text/html")
        if fault.do == "garbage":
            return web.Response(text='{"records": [{"recordName": 7, ')
        if fault.do == "redirect":
            return web.Response(status=302, headers={"Location": "http://127.0.0.1:9/"})
        if fault.do == "huge":
            return web.Response(text='{"records": [' + " " * (32 << 20) + "]}")
        return None

    async def _send(
        self, request: web.Request, answer: Mapping[str, Any], status: int, fault: Fault | None
    ) -> web.StreamResponse:
        data = json.dumps(answer).encode()
        headers = {"Date": formatdate(self.clock(), usegmt=True), "X-Apple-Request-UUID": self._new_uuid()}
        if fault is not None and fault.do == "throttle503" and fault.retry_after is not None:
            headers["Retry-After"] = str(int(fault.retry_after))
        if fault is not None and fault.do == "slow":
            await asyncio.sleep(fault.seconds)
        if fault is not None and fault.do == "lose":
            return _abort(request)
        if fault is not None and fault.do == "truncated":
            response = web.StreamResponse(headers={**headers, "Content-Length": str(len(data))})
            await response.prepare(request)
            await response.write(data[: len(data) // 2])
            _abort(request)
            return response
        return web.Response(status=status, body=data, headers=headers, content_type="application/json")

    def _check_throttle(self, operation: str, fault: Fault | None) -> None:
        """A throttle may be of one kind of operation only."""
        now = self.clock()
        for meant, until in self._throttled_until.items():
            if now < until and fnmatchcase(operation, meant):
                self.early += 1
                raise throttled(until - now)
        if fault is not None and fault.do in {"throttle", "throttle503"}:
            in_body = fault.retry_after if fault.do == "throttle" else None
            self._throttled_until[fault.on] = now + (fault.retry_after or 0.0)
            raise throttled(in_body, 429 if fault.do == "throttle" else 503)
        if fault is not None and fault.do in _WHOLE:
            raise _WHOLE[fault.do]
        if self.requests_per_s:
            self._recent = [moment for moment in self._recent if moment > now - 1.0] + [now]
            if len(self._recent) > self.requests_per_s:
                self._throttled_until["*"] = now + 30.0
                raise throttled(30.0)

    def _dispatch(self, request: web.Request, body: bytes, fault: Fault | None) -> Mapping[str, Any]:
        found = _PATH.fullmatch(request.raw_path)
        if found is None or found[4] not in _POST | _GET:
            raise Refused("NOT_FOUND", "Not found", 404)
        container, environment, database, operation = found.groups()
        if request.method != ("GET" if operation in _GET else "POST"):
            raise Refused("BAD_REQUEST", "Method not allowed", 405)
        key_id = authenticate(request.headers, request.raw_path, body, self.keys, self.clock(), self.window_s)
        if container != CONTAINER or database != "public" or operation.startswith("users/"):
            raise unauthenticated()
        if len(body) > self.request_bytes:
            raise Refused("BAD_REQUEST", "request entity too large", 413)
        user = "_" + (key_id if self.separate_creators else "aca0").ljust(32, "0")[:32]
        session = Session(self.database(environment), self.assets, self.habits, user, self._new_uuid)
        if fault is not None and fault.do == "element":
            session.spoiled = lambda names: {self._chance.choice(names): Refused(fault.code, "A fault", 503)}
        return self._do(session, operation, _json_object(body), fault)

    def _do(self, session: Session, operation: str, body: Mapping[str, Any], fault: Fault | None) -> Mapping[str, Any]:
        if operation in _FEEDS:
            raise bad("cannot get changes in default zone")
        if operation in {"zones/list", "zones/lookup"}:
            return {"zones": [{"zoneID": {"zoneName": "_defaultZone", "ownerRecordName": "_defaultOwner"}}]}
        if operation == "assets/upload":
            return {"tokens": self.assets.tokens(session.database, body)}
        if operation == "records/query":
            return query(session, body)
        if operation not in {"records/modify", "records/lookup"}:
            raise bad("not supported in the public database, or not emulated")
        perform = operations.modify if operation == "records/modify" else operations.lookup
        records = perform(session, body)
        if self.habits.shuffled:
            self._chance.shuffle(records)
        if fault is not None and fault.do == "omit" and records:
            records.pop()
        return {"records": records, **({"somethingNew": True} if self.habits.extra_keys else {})}

    def _cdn(self, operation: str, handler: Callable[[web.Request], Any]) -> Callable[[web.Request], Any]:
        async def serve(request: web.Request) -> web.StreamResponse:
            fault = self.faults.next(operation)
            seen = Seen(operation, await request.read(), self.clock())
            self.seen.append(seen)
            if fault is not None and fault.do == "later":
                return web.Response(status=503, text="busy")
            if fault is not None and fault.do in {"internal", "html"}:
                return web.Response(status=500, text="<html>")
            if fault is not None and fault.do == "quota":
                return web.Response(status=413)
            if fault is not None and fault.do == "misdirected":
                return web.Response(status=421)
            if fault is not None and fault.do == "drop":
                return _abort(request)
            answer: web.StreamResponse = await handler(request)
            seen.status, seen.answer_bytes = answer.status, _body_bytes(answer)
            if fault is not None and fault.do == "lose":
                return _abort(request)
            return answer

        return serve

    def _new_uuid(self) -> str:
        text = "".join(self._chance.choice("0123456789abcdef") for _ in range(32))
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _json_object(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body or b"{}")
    except ValueError:
        raise bad("Unexpected input: no JSON") from None
    if not isinstance(found, dict):
        raise bad("Unexpected input: no object")
    return found


def _body_bytes(response: web.StreamResponse) -> int:
    body = response.body if isinstance(response, web.Response) else None
    return len(body) if isinstance(body, bytes) else 0


def _abort(request: web.Request) -> web.Response:
    """End the connection without a word. What it gives goes nowhere."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
