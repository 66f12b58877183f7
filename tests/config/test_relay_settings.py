"""Relays in the configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from peerd.config import load
from peerd.config.relay_settings import CloudKitRelay, FolderRelay
from peerd.errors import ConfigError

CLOUD = '[relay.cloudkit]\ncontainer = "iCloud.example.peerd"\nkey_id = "k1"\n'


def test_a_folder_needs_its_path_and_nothing_else(write: Callable[..., Path]) -> None:
    settings = load(write('[relay.folder]\npath = "/mnt/nas"'), {})
    assert settings.relays == {"folder": FolderRelay(Path("/mnt/nas"), ("*",), enabled=True, gather_s=5, max_mb=1_000)}
    assert load(write(""), {}).relays == {}


def test_cloudkit_is_read_with_its_defaults(write: Callable[..., Path]) -> None:
    text = CLOUD + 'key_file = "~/k.pem"\nspaces = ["home", "home"]\nbase_url = "http://localhost:8080/"'
    found = load(write(text), {"HOME": "/home/ann"}).relays["cloudkit"]
    assert found == CloudKitRelay(
        container="iCloud.example.peerd",
        key_id="k1",
        key_file=Path("/home/ann/k.pem"),
        environment="production",
        spaces=("home",),
        enabled=True,
        base_url="http://localhost:8080",
        gather_s=300,
        max_mb=50,
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[relay.folder]", "relay.folder: path is missing"),
        ('[relay.folder]\npath = "mnt"', 'relay.folder.path = "mnt": must be an absolute path'),
        ('[relay.folder]\npath = "/a"\nspaces = []', "relay.folder.spaces = []: must be a list of names"),
        ('[relay.folder]\npath = "/a"\nspaces = ["a b"]', "must be a list of names of spaces"),
        ('[relay.folder]\npath = "/a"\nmax_mb = 1', "must be a whole number of megabytes from 8"),
        ('[relay.folder]\npath = "/a"\ngather_s = 4', "must be a whole number of seconds from 5 to 3600"),
        (CLOUD + "gather_s = 29", "must be a whole number of seconds from 30 to 3600"),
        ('[relay.folder]\npath = "/a"\npaths = "/b"', "no such setting; did you mean path?"),
        ('[relay.dropbox]\npath = "/a"', "relay.dropbox: no such relay; there are folder, cloudkit"),
        ("relay = 1", "relay = 1: must be sections [relay.NAME]"),
        (CLOUD + 'environment = "test"', 'must be "production" or "development"'),
        (CLOUD + 'base_url = "http://example.org"', "must be https://HOST"),
        (CLOUD + 'base_url = "https://u:p@example.org"', "must be https://HOST"),
        ('[relay.cloudkit]\ncontainer = "peerd"\nkey_id = "k"', "which begins with iCloud."),
        ('[relay.cloudkit]\nkey_id = "k 1"\ncontainer = "iCloud.a"', "without spaces"),
    ],
)
def test_what_is_wrong_names_its_key(write: Callable[..., Path], text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(write(text), {})
    (found,) = refused.value.problems
    assert problem in found


def test_all_that_is_missing_is_told_at_once(write: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError) as refused:
        load(write("[relay.cloudkit]\n[relay.folder]"), {})
    assert len(refused.value.problems) == 3


def test_a_relay_changes_at_a_reload(write: Callable[..., Path]) -> None:
    """Added, changed, switched off or taken out."""
    none = load(write(""), {})
    one = load(write('[relay.folder]\npath = "/a"'), {})
    off = load(write('[relay.folder]\npath = "/a"\nenabled = false'), {})
    for before, after in ((none, one), (one, off), (off, none)):
        assert before.changes(after) == (("relay.folder",), ())
