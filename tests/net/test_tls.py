"""Every row of the table of who gets how far, against a real listener."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from peerd import identity as identities
from peerd.identity import Identity
from peerd.net.dialer import Dialer, DialFailed
from peerd.net.link import SYNC
from peerd.net.tls import _load_certificate, client_context, peer_device, server_context

Request = Callable[[ssl.SSLContext], Awaitable[bytes]]

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: peerd\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: peerd.sync.1\r\n\r\n"
)


@pytest.fixture
def request_with(station: Any) -> Request:
    """What the station answers in HTTP to a request over TLS with a context; nothing if TLS was its end."""

    async def ask(context: ssl.SSLContext) -> bytes:
        try:
            reader, writer = await asyncio.open_connection(*station.address, ssl=context, server_hostname="")
        except (ssl.SSLError, ConnectionError):
            return b""
        try:
            writer.write(UPGRADE)
            return await reader.read(4096)
        except (ssl.SSLError, ConnectionError):
            return b""
        finally:
            writer.transport.abort()

    return ask


def context_without_certificate(device: Identity) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=device.authority_pem().decode())
    context.verify_flags |= ssl.VerifyFlags(0x200000)
    return context


def certificate(
    key: Any, signer: Any, issuer: str, first_day: dt.datetime = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
) -> bytes:
    """Certificate and key in PEM, as somebody else might make them."""

    def name(common: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])

    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    made = (
        x509.CertificateBuilder()
        .subject_name(name("peerd"))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(first_day)
        .not_valid_after(dt.datetime(9999, 12, 31, tzinfo=dt.UTC))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256() if isinstance(signer, ec.EllipticCurvePrivateKey) else None)
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made.public_bytes(Encoding.PEM) + bytes(private)


def context_with(device: Identity, pem: bytes) -> ssl.SSLContext:
    context = context_without_certificate(device)
    _load_certificate(context, pem)
    return context


async def test_a_member_gets_a_link(station: Any, friend: Identity, request_with: Request) -> None:
    """The control of this table: the same request, from a member, is upgraded."""
    station.admit(friend)
    answer = await request_with(client_context(friend))
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert station.asked == [(friend.device, SYNC)]


async def test_no_certificate(station: Any, friend: Identity, request_with: Request) -> None:
    """Who shows no certificate gets no HTTP; nobody is even asked about them."""
    assert await request_with(context_without_certificate(friend)) == b""
    assert not station.asked


async def test_foreign_certificate(station: Any, friend: Identity, request_with: Request) -> None:
    """A self-signed certificate, even of a member's name, ends in TLS."""
    key = Ed25519PrivateKey.generate()
    foreign = context_with(friend, certificate(key, key, "peerd"))
    assert await request_with(foreign) == b""
    assert not station.asked


async def test_a_certificate_without_its_key(friend: Identity, stranger: Identity) -> None:
    """Nobody can show a member's certificate without the member's private key."""
    member, other = friend.certificate_pem(), stranger.certificate_pem()
    marker = b"-----BEGIN PRIVATE KEY-----"
    stolen = member[: member.index(marker)] + other[other.index(marker) :]
    with pytest.raises(ssl.SSLError, match="KEY_VALUES_MISMATCH"):
        context_with(stranger, stolen)


async def test_tls_1_2(station: Any, friend: Identity, request_with: Request) -> None:
    """A member that has nothing newer than TLS 1.2 gets no HTTP."""
    station.admit(friend)
    old = client_context(friend)
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert await request_with(old) == b""
    assert not station.asked


async def test_an_unpinned_device_gets_403_and_nothing_else(
    station: Any, stranger: Identity, request_with: Request
) -> None:
    """A stranger with a proper certificate learns two words of JSON: no server, no version, no name, no time."""
    answer = await request_with(client_context(stranger))
    head, body = answer.split(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 403 Forbidden",
        b"Connection: close",
        b"Content-Length: 70",
        b"Content-Type: application/json",
    ]
    assert body == b'{"code": "unknown-device", "detail": "This device does not know you."}'
    assert station.links.empty()


async def test_another_kind_of_key_is_no_device(station: Any, friend: Identity, request_with: Request) -> None:
    """A certificate of the public CA around an EC key passes TLS and is nobody: 403, and nobody is asked."""
    pem = certificate(ec.generate_private_key(ec.SECP256R1()), identities._PUBLIC_AUTHORITY_KEY, "peerd anybody CA")
    answer = await request_with(context_with(friend, pem))
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert not station.asked


async def test_dates_do_not_count(station: Any, friend: Identity, request_with: Request) -> None:
    """A certificate of the year 2090 is accepted by both sides; a client that looks at the time refuses ours
    neither, because it is valid from 1970 on.
    """
    key = Ed25519PrivateKey.generate()
    late = certificate(
        key,
        identities._PUBLIC_AUTHORITY_KEY,
        "peerd anybody CA",
        first_day=dt.datetime(2090, 1, 1, tzinfo=dt.UTC),
    )
    context = context_with(friend, late)
    answer = await request_with(context)
    assert answer.startswith(b"HTTP/1.1 403 ")  # past TLS: it is a stranger, not a bad certificate
    assert len(station.asked) == 1
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load_certificate(server, late)
    assert await _handshake_ends(server, client_context(friend))
    strict = client_context(friend)
    strict.verify_flags &= ~ssl.VerifyFlags(0x200000)
    assert not await _handshake_ends(server, strict)
    assert await _handshake_ends(server_context(friend), strict, friend)


async def _handshake_ends(server: ssl.SSLContext, client: ssl.SSLContext, _device: Identity | None = None) -> bool:
    """Whether this client accepts this server."""

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=server) as listening:
        port = listening.sockets[0].getsockname()[1]
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="")
        except ssl.SSLCertVerificationError:
            return False
        writer.transport.abort()
        return True


async def test_a_server_that_is_not_the_expected_one(station: Any, friend: Identity, stranger: Identity) -> None:
    """The client compares the pin before it sends a request: the wrong server is not even asked."""
    station.admit(friend)
    with pytest.raises(DialFailed) as failed:
        await Dialer(friend).dial(station.address, SYNC, stranger.device)
    assert (failed.value.code, failed.value.theirs) == ("wrong-device", station.identity.device)
    assert not station.asked


async def test_a_removed_device_is_refused_at_once(station: Any, friend: Identity) -> None:
    """The pin is compared for every connection; nothing is remembered from the last one."""
    dialed, accepted = await station.link_from(friend)
    station.members.clear()
    with pytest.raises(DialFailed) as failed:
        await Dialer(friend).dial(station.address, SYNC, station.identity.device)
    assert failed.value.code == "unknown-device"
    dialed.abort()
    accepted.abort()


def test_no_tickets_no_names_no_old_versions(friend: Identity) -> None:
    """What the contexts promise: a resumed session would skip the certificate, a host name means nothing."""
    server, client = server_context(friend), client_context(friend)
    assert server.num_tickets == 0
    for context in (server, client):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_3
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert not context.check_hostname
        assert context.verify_flags & ssl.VERIFY_X509_STRICT
        assert context.verify_flags & 0x200000


class FakeTls:
    """The one method of ssl.SSLObject that says who is at the other end."""

    def __init__(self, encoded: bytes | None) -> None:
        self.encoded = encoded

    def getpeercert(self, *, binary_form: bool) -> bytes | None:
        assert binary_form
        return self.encoded


def test_who_is_at_the_other_end(friend: Identity) -> None:
    """The id is that of the key in the certificate; without TLS, certificate or sense there is nobody."""
    encoded = x509.load_pem_x509_certificate(friend.certificate_pem()).public_bytes(Encoding.DER)
    fake: Any = FakeTls(encoded)
    assert peer_device(fake) == friend.device
    assert peer_device(None) is None
    for nonsense in (None, b"", b"\x30\x00", encoded[:-1], encoded + b"x"):
        fake.encoded = nonsense
        assert peer_device(fake) is None
    assert isinstance(x509.load_der_x509_certificate(encoded).public_key(), Ed25519PublicKey)
