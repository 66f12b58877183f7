from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import given
from hypothesis import strategies as st

from peerd.core.device_id import device_id
from peerd.errors import RemoteProtocolError
from peerd.identity import DEVICE_KEY, SEALING_KEY, Identity, IdentityError, seal

KEYS = (DEVICE_KEY, SEALING_KEY)


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "identity"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names(folder)}


def test_a_device_stays_who_it_is(folder: Path) -> None:
    """The first start makes both keys, every later one finds them; the id is that of the public key."""
    first = Identity.load_or_create(folder)
    again = Identity.load_or_create(folder)
    assert first.device == again.device == device_id(first.public_key)
    assert first.public_key == again.public_key
    assert first.sealing_public_key == again.sealing_public_key
    assert len(first.sealing_public_key) == 32


def test_two_devices_differ(tmp_path: Path) -> None:
    """Keys are random."""
    assert Identity.load_or_create(tmp_path / "a").device != Identity.load_or_create(tmp_path / "b").device


def test_keys_are_private_and_nothing_else_is_left(folder: Path) -> None:
    """Two files of mode 0600 in a folder of mode 0700, whatever the umask, and no draft beside them."""
    before = os.umask(0)
    try:
        Identity.load_or_create(folder)
    finally:
        os.umask(before)
    assert names(folder) == sorted(KEYS)
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in KEYS} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_keys_are_durable_before_they_are_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each key is synced before it gets its name, and the folder after that."""
    steps: list[str] = []
    fsync, link = os.fsync, os.link

    def note_fsync(descriptor: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "key")
        fsync(descriptor)

    def note_link(draft: Path, name: Path) -> None:
        steps.append("name")
        link(draft, name)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "link", note_link)
    Identity.load_or_create(folder)
    assert steps[:4] == ["key", "key", "name", "name"]
    assert "folder" in steps[4:]


def test_a_key_that_appears_meanwhile_stands(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two first starts at once, one makes the keys and both are that device."""
    winner: list[Identity] = []
    link = os.link

    def somebody_is_faster(draft: Path, name: Path) -> None:
        monkeypatch.setattr(os, "link", link)
        winner.append(Identity.load_or_create(folder))
        link(draft, name)

    monkeypatch.setattr(os, "link", somebody_is_faster)
    loser = Identity.load_or_create(folder)
    assert loser.device == winner[0].device
    assert names(folder) == sorted(KEYS)


@pytest.mark.parametrize("name", KEYS)
def test_half_an_identity_is_never_completed(folder: Path, name: str) -> None:
    """With one key gone, the error names the missing file and nothing on the disk is touched."""
    Identity.load_or_create(folder)
    (folder / name).unlink()
    left = contents(folder)
    with pytest.raises(IdentityError, match="missing") as refused:
        Identity.load_or_create(folder)
    assert str(folder / name) in str(refused.value)
    assert refused.value.next_step
    assert contents(folder) == left


DAMAGE = {
    "empty": b"",
    "zeroes": bytes(119),
    "half": None,
    "large": b"x" * 10_000,
    "text": b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", KEYS)
def test_a_damaged_key_is_named_and_left_alone(folder: Path, name: str, damage: str) -> None:
    """What a crash or a bad disk leaves of a key is an error with the file and a way out, never a new key."""
    Identity.load_or_create(folder)
    path = folder / name
    encoded = DAMAGE[damage]
    path.write_bytes(path.read_bytes()[:60] if encoded is None else encoded)
    left = contents(folder)
    with pytest.raises(IdentityError, match="damaged") as refused:
        Identity.load_or_create(folder)
    assert str(path) in str(refused.value)
    assert f"Put {name} back from a backup." in refused.value.next_step
    assert contents(folder) == left


def test_a_key_of_the_other_kind_is_refused(folder: Path) -> None:
    """Swapped files are not taken for keys."""
    Identity.load_or_create(folder)
    held = contents(folder)
    (folder / DEVICE_KEY).write_bytes(held[SEALING_KEY])
    with pytest.raises(IdentityError, match="no Ed25519 key"):
        Identity.load_or_create(folder)
    (folder / DEVICE_KEY).write_bytes(held[DEVICE_KEY])
    (folder / SEALING_KEY).write_bytes(held[DEVICE_KEY])
    with pytest.raises(IdentityError, match="no X25519 key"):
        Identity.load_or_create(folder)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
@pytest.mark.parametrize("name", KEYS)
def test_a_key_that_others_can_use_is_refused(folder: Path, name: str, mode: int) -> None:
    """Group or others with any right on a key: the error names the file, the mode and the command."""
    Identity.load_or_create(folder)
    (folder / name).chmod(mode)
    with pytest.raises(IdentityError, match=f"{mode:04o}") as refused:
        Identity.load_or_create(folder)
    assert str(folder / name) in str(refused.value)
    assert "chmod 600" in refused.value.next_step


def test_a_folder_that_others_can_write_is_refused(folder: Path) -> None:
    """Who can write the folder can put another key there, before the first start and after it."""
    folder.mkdir(parents=True)
    folder.chmod(0o770)
    with pytest.raises(IdentityError, match="0770"):
        Identity.load_or_create(folder)
    assert not names(folder)
    folder.chmod(0o700)
    Identity.load_or_create(folder)
    folder.chmod(0o777)
    with pytest.raises(IdentityError, match="0777"):
        Identity.load_or_create(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_key_of_another_user_is_refused(folder: Path) -> None:
    """A key that belongs to somebody else could be changed under us."""
    Identity.load_or_create(folder)
    os.chown(folder / DEVICE_KEY, 65534, -1)
    with pytest.raises(IdentityError, match="another user"):
        Identity.load_or_create(folder)


def test_a_dangling_link_and_a_folder_are_no_keys(folder: Path) -> None:
    """What has a key's name but cannot be read is an error, not a reason for a new key."""
    Identity.load_or_create(folder)
    (folder / DEVICE_KEY).unlink()
    (folder / DEVICE_KEY).symlink_to(folder / "nowhere")
    with pytest.raises(IdentityError, match="cannot be read"):
        Identity.load_or_create(folder)
    (folder / DEVICE_KEY).unlink()
    (folder / DEVICE_KEY).mkdir()
    with pytest.raises(IdentityError, match=DEVICE_KEY):
        Identity.load_or_create(folder)


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    """An error of the disk names the folder and the setting."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(IdentityError) as refused:
        Identity.load_or_create(tmp_path / "file" / "identity")
    assert str(tmp_path / "file" / "identity") in str(refused.value)
    assert "device.state_dir" in refused.value.next_step


def test_credentials_come_first(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys given by systemd are used, although their mode shows an access list; the folder stays untouched."""
    given = tmp_path / "credentials"
    device = Identity.load_or_create(given).device
    for name in KEYS:
        (given / name).chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(given))
    assert Identity.load_or_create(folder).device == device
    assert not folder.exists()


def test_other_credentials_are_not_keys(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials of the service that are no keys of ours leave the folder in charge; half of them are an error."""
    given = tmp_path / "credentials"
    given.mkdir()
    (given / "relay.pem").write_bytes(b"")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(given))
    device = Identity.load_or_create(folder).device
    (given / DEVICE_KEY).write_bytes((folder / DEVICE_KEY).read_bytes())
    with pytest.raises(IdentityError, match=SEALING_KEY):
        Identity.load_or_create(folder)
    (given / DEVICE_KEY).unlink()
    assert Identity.load_or_create(folder).device == device


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return Identity.load_or_create(tmp_path_factory.mktemp("ours") / "identity")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return Identity.load_or_create(tmp_path_factory.mktemp("theirs") / "identity")


def test_signatures(ours: Identity, theirs: Identity) -> None:
    """A signature holds for its key and its data alone; what is malformed is False, not an error."""
    data = b"peerd/1 test\0data"
    signature = ours.sign(data)
    assert len(signature) == 64
    assert Identity.verify(ours.public_key, signature, data)
    assert not Identity.verify(theirs.public_key, signature, data)
    assert not Identity.verify(ours.public_key, signature, data + b"!")
    assert not Identity.verify(ours.public_key, signature[:-1], data)
    assert not Identity.verify(b"short", signature, data)
    assert not Identity.verify(ours.public_key, b"", data)


@given(plaintext=st.binary(max_size=200), info=st.binary(max_size=40), aad=st.binary(max_size=40))
def test_what_is_sealed_opens_for_its_owner(
    ours: Identity, theirs: Identity, plaintext: bytes, info: bytes, aad: bytes
) -> None:
    """HPKE round trip; not for another device."""
    sealed = seal(ours.sealing_public_key, plaintext, info, aad)
    assert len(sealed) == 32 + len(plaintext) + 16
    assert ours.open(sealed, info, aad) == plaintext
    with pytest.raises(RemoteProtocolError):
        theirs.open(sealed, info, aad)


def test_a_seal_is_bound_to_all_of_its_context(ours: Identity) -> None:
    """Another info, another aad, a byte moved from one to the other, a changed or cut seal: none opens."""
    sealed = seal(ours.sealing_public_key, b"epoch key", b"peerd/1 epoch\0", b"space")
    assert ours.open(sealed, b"peerd/1 epoch\0", b"space") == b"epoch key"
    attempts = [
        (sealed, b"peerd/1 other\0", b"space"),
        (sealed, b"peerd/1 epoch\0", b"spacE"),
        (sealed, b"peerd/1 epoch\0s", b"pace"),
        (sealed[:-1] + bytes([sealed[-1] ^ 1]), b"peerd/1 epoch\0", b"space"),
        (bytes([sealed[0] ^ 1]) + sealed[1:], b"peerd/1 epoch\0", b"space"),
        (sealed[:20], b"peerd/1 epoch\0", b"space"),
        (b"", b"peerd/1 epoch\0", b"space"),
    ]
    for attempt in attempts:
        with pytest.raises(RemoteProtocolError) as refused:
            ours.open(*attempt)
        assert refused.value.code == "bad-seal"


def test_sealing_to_what_is_no_key_is_a_bug(ours: Identity) -> None:
    """A public key has 32 bytes."""
    with pytest.raises(ValueError):  # noqa: PT011 - the library's sentence is its own affair
        seal(b"short", b"", b"")


@pytest.mark.parametrize("y", [0, 1, (1 << 255) - 20])
def test_what_is_sealed_to_a_point_of_small_order_is_for_nobody(ours: Identity, y: int) -> None:
    """A member that has one on its card must not keep the others from sealing anything; it looks like any other."""
    sealed = seal(y.to_bytes(32, "little"), b"secret", b"info")
    assert len(sealed) == len(seal(ours.sealing_public_key, b"secret", b"info"))
    with pytest.raises(RemoteProtocolError):
        ours.open(sealed, b"info")


def test_the_certificate_says_nothing(ours: Identity) -> None:
    """CN "peerd", valid from 1970 to 9999, another serial number every time, the device's key and no more."""
    pem = ours.certificate_pem()
    certificate = x509.load_pem_x509_certificate(pem)
    assert certificate.subject.rfc4514_string() == "CN=peerd"
    assert certificate.not_valid_before_utc.year == 1970
    assert certificate.not_valid_after_utc.year == 9999
    assert certificate.serial_number != x509.load_pem_x509_certificate(ours.certificate_pem()).serial_number
    private = load_pem_private_key(pem[pem.index(b"-----BEGIN PRIVATE") :], None)
    assert private.public_key() == certificate.public_key()
    kinds = {extension.oid._name for extension in certificate.extensions}
    assert kinds == {"basicConstraints", "keyUsage", "subjectKeyIdentifier", "authorityKeyIdentifier"}


def test_every_device_makes_certificates_of_the_same_authority(ours: Identity, theirs: Identity) -> None:
    """The public CA has one key, whoever writes its certificate."""
    authority = x509.load_pem_x509_certificate(theirs.authority_pem())
    certificate = x509.load_pem_x509_certificate(ours.certificate_pem())
    certificate.verify_directly_issued_by(authority)
    again = x509.load_pem_x509_certificate(ours.authority_pem())
    assert again.public_key() == authority.public_key()
