"""The parts of a daemon, made and introduced to each other: the only place that names concrete parts.

What one part has to say to another goes through here as well, where it is more than a call: which links are taken and
whose they are, and who hears of a space that opens, closes or has other members now.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from functools import partial
from pathlib import Path

from peerd import __version__, declared, identity, notify
from peerd.clock import Clock
from peerd.control.server import ControlServer
from peerd.core.device_id import format_device_id
from peerd.core.stored import Address
from peerd.core.tables.proposals import propose
from peerd.discovery.addresses import parse_address
from peerd.discovery.mdns import Mdns
from peerd.engine.links.dialing import Dialing
from peerd.engine.links.lookout import Lookout
from peerd.engine.links.peer_book import PeerBook
from peerd.engine.links.switchboard import Switchboard
from peerd.engine.members.file_invitations import FileInvitations
from peerd.engine.members.introducing import Introducing
from peerd.engine.members.inviting import Inviting
from peerd.engine.members.joining import Joining
from peerd.engine.ports import Crypto, Link
from peerd.engine.relay.ports import TicketKeys
from peerd.engine.relay.relays import Relays
from peerd.engine.service import Service
from peerd.engine.space import Space
from peerd.engine.spaces import Spaces
from peerd.engine.status.statuses import Statuses
from peerd.engine.tables.bindings import Bindings
from peerd.engine.upkeep.backups import Backups
from peerd.engine.upkeep.housekeeping import Housekeeping
from peerd.engine.upkeep.reopening import Reopening
from peerd.errors import ConfigError
from peerd.identity import Identity
from peerd.live_settings import LiveSettings
from peerd.machine_status import Machine
from peerd.net.dialer import Dialer
from peerd.net.link import INTRODUCE, PAIR, SYNC
from peerd.net.link import Link as NetLink
from peerd.net.listener import Listener
from peerd.net.refusal import Refusal
from peerd.relay.sealer import Sealer
from peerd.store.backup_folder import Draft
from peerd.store.lock import Lock
from peerd.store.put_back import check_finished
from peerd.store.shelf import Shelf
from peerd.strain import Strain
from peerd.supervise import Supervisor
from peerd.tables.files import Files

TASKS_STOP_S = 0.5
CONTROL_SOCKET = "peerd.socket"  # the name of the unit, which systemd gives its file descriptor


class _Crypto(Crypto, TicketKeys):
    def verify(self, public_key: bytes, signature: bytes, data: bytes) -> bool:
        return Identity.verify(public_key, signature, data)

    def seal(self, recipient: bytes, plaintext: bytes, info: bytes) -> bytes:
        return identity.seal(recipient, plaintext, info)

    def public_key_of(self, private: bytes) -> bytes:
        return identity.public_key_of(private)

    def sign_with(self, private: bytes, data: bytes) -> bytes:
        return identity.sign_with(private, data)


class Parts:
    """Of one daemon, none of them started yet. `mdns` is there once it is. Making them claims the state directory.

    Raises:
        PeerdError: the directory is not to be had, or what lies in it is not fit to start with.
    """

    def __init__(self, live: LiveSettings, environ: MutableMapping[str, str]) -> None:
        settings = live.at_start
        state_dir = settings.device.state_dir
        self._live = live
        self.clock = clock = Clock()
        self.mdns: Mdns | None = None
        inherited = _control_socket(environ)
        self.supervisor = Supervisor(clock, stop_within_s=TASKS_STOP_S)
        self.lock = _claim(state_dir)
        check_finished(state_dir)
        keys = Identity.load_or_create(state_dir / "identity", owned=Shelf.databases(state_dir))
        self.device = keys.device
        crypto = _Crypto()
        self.shelf = Shelf(state_dir, keys.device, clock.random_bytes, clock.wall_ms)
        self.spaces = spaces = Spaces(self.shelf, keys, crypto, clock, self._name)
        self._book = PeerBook(clock)
        self.switchboard = Switchboard(
            spaces.by_id, keys, clock, self._book, name=self._name(), software=f"peerd {__version__}"
        )
        dialer = Dialer(keys)
        self.dialing = Dialing(spaces.by_id, self.switchboard, self._book, dialer, keys, clock)
        self._inviting = Inviting(spaces, keys, clock, self._name)
        self._joining = Joining(spaces, dialer, keys, crypto, clock)
        self._introducing = Introducing(spaces.by_id, self.switchboard.shared_with, dialer, keys, clock)
        self.lookout = Lookout(spaces, self.dialing, self._inviting, keys, clock, self._name)
        self.statuses = Statuses(
            spaces, self.switchboard, self._book, keys, clock, version=__version__, device_name=self._name
        )
        self.bindings = Bindings(Files(format_device_id(keys.device)), clock, propose, state_dir / "backups")
        sealer = Sealer(crypto.seal, keys.open, clock.random_bytes)
        self.relays = Relays(spaces, sealer, keys, clock)
        self._files = FileInvitations(spaces, sealer, keys, crypto, clock)
        self.housekeeping = Housekeeping(spaces, self.switchboard, clock)
        self.reopening = Reopening(spaces, clock)
        self.service = Service(
            spaces, self.switchboard, self.dialing, self.statuses, self._inviting, self._joining, self.bindings
        )
        self.control = ControlServer(self.service, settings.control.socket, settings.control.write_group, inherited)
        self._backups = Backups(spaces, keys, clock, Draft.begin, version=__version__, device_name=self._name)
        self.listener = Listener(keys, settings.network.listen, self._authorise, self._on_link)
        self.strain = Strain(clock, spaces.slowness)
        self.machine = Machine(state_dir, self.listener, self.control, self.supervisor, lambda: self.mdns, self.strain)
        self._introduce()

    def _name(self) -> str:
        return self._live.at_start.device.name  # a new one waits for the next start

    def _introduce(self) -> None:
        self.spaces.opened = self._on_space
        self.spaces.closed = self._on_space_closed
        self.bindings.declared = lambda space: declared.bindings(self._live.now, space)
        self.switchboard.changed = self.dialing.nudge
        self._inviting.window_changed = self.lookout.show
        self.dialing.introductions.introduce = self._introducing.introduce
        self.switchboard.unshared = self.dialing.introductions.unshared
        self._joining.candidates = self.lookout.pairing_windows
        self._joining.everywhere = self.lookout.everybody
        self._joining.reached = self.dialing.let_in_by
        self.service.hosts = _parse_host
        self.service.couriers = self.relays
        self.service.files = self._files
        self.service.backups = self._backups
        self._backups.files = self._files_of_backup
        self.statuses.problems = self.machine.problems
        self.statuses.machine = self.machine.status
        self.statuses.spaces.tables = self.bindings.notices_of
        self.statuses.relays = self.relays
        self.statuses.spaces.retry = self.reopening.view
        self.housekeeping.history_days = lambda name: self._live.now.space(name).history_days
        self.bindings.memory.history_days = self.housekeeping.history_days
        self.housekeeping.holders.holdings = self.relays.holdings
        self.housekeeping.holders.seen = self.relays.last_seen
        self.statuses.spaces.growth.holders = self.housekeeping.holders
        self.statuses.spaces.growth.history_days = self.housekeeping.history_days
        self.housekeeping.set_agreed = self.clock.set_agreed

    def _files_of_backup(self, keys: bool) -> dict[str, Path]:  # noqa: FBT001 - the engine calls it by position
        state_dir = self._live.at_start.device.state_dir
        found = Identity.files(state_dir / "identity") if keys else {}
        return declared.files(self._live.now) | {f"identity/{name}": path for name, path in found.items()}

    # ---- spaces

    def _on_space(self, space: Space) -> None:
        for peer in space.presence.peers.values():
            self._book.remembered(peer.device, peer.name, peer.addresses)
        space.presence.peer_known = partial(self.housekeeping.peer_known, space)
        self.switchboard.add_space(space)
        space.on_roster.append(lambda _: self._on_roster())
        self._on_roster()
        self.bindings.add_space(space)
        self.relays.look_again_soon()

    def _on_space_closed(self, space: Space) -> None:
        self.switchboard.remove_space(space)
        self.bindings.remove_space(space)
        self.relays.look_again_soon()

    def _on_roster(self) -> None:
        self.dialing.refresh()
        self.housekeeping.roster_changed()
        self.lookout.look_again()
        self.lookout.show()
        self.relays.look_again_soon()

    # ---- links

    def _authorise(self, device: bytes, subprotocol: str, _address: Address) -> Refusal | None:
        if subprotocol == SYNC and self.switchboard.shared_with(device):
            return Refusal("paused", "this device takes no links at the moment") if self.switchboard.paused else None
        if subprotocol == PAIR and self._inviting.is_expected(device):
            return None
        if subprotocol == INTRODUCE:
            return None  # anybody may: who it is, is what it is about
        if any(device in space.roster.removed for space in self.spaces.by_id.values()):
            return Refusal("removed", "this device was removed")
        return Refusal("unknown-device", "unknown device")

    async def _on_link(self, link: NetLink) -> None:
        if link.subprotocol == PAIR:
            await self._inviting.run_link(_as_port(link))
        elif link.subprotocol == INTRODUCE:
            await self._introducing.run_link(_as_port(link))
        else:
            await self.switchboard.run_link(_as_port(link))


async def _parse_host(text: str) -> tuple[Address, ...]:
    return (parse_address(text, "--host"),)


def _claim(state_dir: Path) -> Lock:
    """Nobody else may use this directory while we run. Raises StoreBusy."""
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        step = "set it to a directory that peerd's user may make and write in"
        raise ConfigError([f"device.state_dir: {state_dir}: {problem.strerror or problem}; {step}"]) from problem
    return Lock.take(state_dir / "lock")


def _as_port(link: NetLink) -> Link:
    """The type checker compares the edge with the port here."""
    return link


def _control_socket(environ: MutableMapping[str, str]) -> int | None:
    """The socket that systemd holds for us, if there is one; whatever else it passes is closed."""
    inherited = notify.listen_fds(environ)
    ours = inherited.pop(CONTROL_SOCKET, [])
    for other in (*ours[1:], *(one for group in inherited.values() for one in group)):
        other.close()
    return ours[0].detach() if ours else None
