"""Being let into a space: find the inviter, prove the code, keep what it grants.

Without `host` every device in sight that shows an open pairing window is asked in turn; a wrong code there is told
apart from a right one elsewhere only by trying. By device id (fleets) every address in sight is tried for that device.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable

from peerd.core.device_id import format_device_id, short_id
from peerd.core.names import space_name
from peerd.core.stored import Address
from peerd.engine.members.pairing_link import drive
from peerd.engine.ports import Crypto, Dialer, Keys, Link, Times
from peerd.engine.space import Space
from peerd.engine.spaces import Spaces
from peerd.errors import LinkLost, PeerdError, StoreError, UserError
from peerd.logs import get
from peerd.protocol.control.reports import Joined
from peerd.protocol.pairing.joiner import Joiner
from peerd.protocol.pairing.messages import SUBPROTOCOL as PAIRING
from peerd.protocol.pairing.pairing import Admit, AskPerson, Effect, Failed, Finished, Store
from peerd.protocol.pairing.window import parse_code

log = get(__name__)

TRY_NEXT = frozenset(
    {
        "wrong-code",
        "wrong-device",
        "two-machines",
        "no-window",
        "expired",
        "busy",
        "link-lost",
        "timeout",
        "too-many-tries",
        "version",
    }
)
DIAL_S = 5.0
CANDIDATES = 8  # a mistyped code costs each of them one of its three tries
ASKED = 64  # who is looked for by name costs nobody anything


class Joining:
    """`candidates()` gives the addresses where a pairing window is open, a device at a time, as discovery sees them;
    `everywhere()` those of everybody in sight. Both wait some seconds for more. `reached` is told where the
    inviter answered: without discovery nobody else knows.
    """

    def __init__(self, spaces: Spaces, dialer: Dialer, keys: Keys, crypto: Crypto, times: Times) -> None:
        self.candidates: Callable[[], AsyncIterator[tuple[Address, ...]]]
        self.everywhere: Callable[[], AsyncIterator[tuple[Address, ...]]]
        self.reached: Callable[[bytes, tuple[Address, ...]], None] = lambda _device, _addresses: None
        self._spaces = spaces
        self._dialer = dialer
        self._keys = keys
        self._crypto = crypto
        self._times = times

    async def join(
        self, code: str | None, named: bytes | None, hosts: Iterable[tuple[Address, ...]] | None, name: str | None
    ) -> Joined:
        """Join by code, or by naming the inviter.

        Raises:
            UserError: join-failed, with what the other side said; unreachable; bad-code; space-exists.
        """
        if name is not None:
            self._spaces.check_joinable_as(name)
        if code is not None:
            code = parse_code(code)  # before anybody is asked
        in_sight, at_most = (self.candidates, CANDIDATES) if named is None else (self.everywhere, ASKED)
        groups = in_sight() if hosts is None else _given(hosts)
        last: UserError | None = None
        tried = 0
        async for group in groups:
            tried += 1
            if tried > at_most:
                break
            try:
                return await self._try(code, named, group, name)
            except UserError as problem:
                reason = problem.extra.get("reason")
                if reason not in TRY_NEXT and problem.code != "unreachable":
                    raise
                if reason == "wrong-device" and hosts is None:
                    continue  # whoever is in sight may be anybody
                if last is None or last.extra.get("reason") != "wrong-code":
                    last = problem
        raise last or UserError(
            "no device in sight has an open invitation" if named is None else "the device with that id is not in sight",
            code="join-failed",
            status=409,
            next_step=(
                "Run `peerctl invite SPACE` on a member within two minutes of this; "
                if named is None
                else "Check the id, and that peerd runs there; "
            )
            + "if multicast does not reach it, give --host HOST:PORT.",
        )

    async def _try(self, code: str | None, named: bytes | None, group: tuple[Address, ...], name: str | None) -> Joined:
        link = await self._reach(group, named)
        machine = Joiner(
            card=self._spaces.card(),
            theirs=link.theirs,
            code=code,
            named=named,
            ended=self._spaces.ended(),
            entropy=self._times.random_bytes,
            verify=self._crypto.verify,
            now_s=self._times.boottime_s(),
        )
        attempt = _Attempt(machine, self._times, self._spaces, name)
        end = await drive(machine, link, self._times, attempt.perform)
        if isinstance(end, Failed) or attempt.space is None:
            text = end.text if isinstance(end, Failed) else "nothing was granted"
            step = end.next_step if isinstance(end, Failed) else ""
            if attempt.problem is not None:
                text = f"this device was admitted and could not keep the space: {attempt.problem}"
                step = f"{attempt.problem.next_step} Then join again with a new invitation.".lstrip()
            reason = end.code if isinstance(end, Failed) else "failed"
            raise UserError(text, code="join-failed", status=409, next_step=step, reason=reason)
        self.reached(link.theirs, (link.address,))
        log.info("space joined", space=attempt.space.name, device=short_id(link.theirs))
        return self._joined(attempt.space, end, attempt.called)

    def _joined(self, space: Space, end: Finished, called: str) -> Joined:
        try:
            asides = space.store.asides.offered()
        except StoreError:
            asides = []  # it is a member all the same; the status offers them
        return Joined(
            space=space.name,
            id=space.id.hex(),
            device=format_device_id(end.device),
            device_name=end.name,
            aside=asides[-1].name if asides else "",
            called=called if called != space.name else "",
        )

    async def _reach(self, group: tuple[Address, ...], named: bytes | None) -> Link:
        problem: LinkLost | None = None
        for address in group:
            try:
                return await self._dialer.dial(address, PAIRING, named, DIAL_S)
            except LinkLost as failure:
                problem = failure
        code = problem.code if problem is not None else "no-route"
        answered = code in {"unknown-device", "wrong-device", "two-machines", "version", "removed"}
        removed = "it says that this device was removed from its space" if code == "removed" else None
        no_window = "it has no open invitation, or does not expect this device" if code == "unknown-device" else None
        raise UserError(
            no_window or removed or str(problem or "there is no address to try"),
            code="join-failed" if answered else "unreachable",
            status=409 if answered else 504,
            next_step=(problem.next_step if problem is not None and problem.next_step else "")
            or (
                self._step_of_the_removed()
                if code == "removed"
                else "Is the invitation still open on the other device?"
            ),
            reason="no-window" if code == "unknown-device" else code,
        )

    def _step_of_the_removed(self) -> str:
        ours = format_device_id(self._keys.device)
        return f"Have it let in again: `peerctl admit SPACE {ours}` there, or `peerctl invite SPACE` and its code here."


async def _given(hosts: Iterable[tuple[Address, ...]]) -> AsyncIterator[tuple[Address, ...]]:
    for group in hosts:
        yield group


class _Attempt:
    """What one attempt needs of the daemon."""

    def __init__(self, machine: Joiner, times: Times, spaces: Spaces, name: str | None) -> None:
        self.space: Space | None = None
        self.called = ""  # there
        self.problem: PeerdError | None = None  # of ours, and so of more use than what the other side hears of it
        self._machine = machine
        self._times = times
        self._spaces = spaces
        self._name = name

    async def perform(self, effect: AskPerson | Admit | Store) -> list[Effect]:
        if isinstance(effect, Store):
            grant = effect.grant
            self.called = space_name(grant.name)
            name = self._name or self.called
            try:
                self.space = await self._spaces.adopt(grant.space, name, grant.statements)
            except PeerdError as problem:
                self.problem = problem
                raise
            return self._machine.stored(self._times.boottime_s())
        return self._machine.fail("failed", self._times.boottime_s())
