from __future__ import annotations

import os
from pathlib import Path

import pytest

from peerd.config.places import MAX_NAME_BYTES, Surroundings

USER = Path("/home/ann")


def surroundings(environ: dict[str, str], *, root: bool = False, host: str = "kitchen") -> Surroundings:
    return Surroundings(environ, is_root=root, home=USER, host_name=host)


@pytest.mark.parametrize(
    ("environ", "root", "config", "state", "socket"),
    [
        pytest.param(
            {},
            False,
            "/home/ann/.config/peerd/peerd.toml",
            "/home/ann/.local/state/peerd",
            "/home/ann/.local/state/peerd/peerd.sock",
            id="a user without a session",
        ),
        pytest.param(
            {"XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "/s", "XDG_RUNTIME_DIR": "/run/user/7"},
            False,
            "/c/peerd/peerd.toml",
            "/s/peerd",
            "/run/user/7/peerd/peerd.sock",
            id="a user with XDG directories",
        ),
        pytest.param(
            {"XDG_CONFIG_HOME": "relative", "XDG_STATE_HOME": "relative", "XDG_RUNTIME_DIR": "relative"},
            False,
            "/home/ann/.config/peerd/peerd.toml",
            "/home/ann/.local/state/peerd",
            "/home/ann/.local/state/peerd/peerd.sock",
            id="relative XDG directories are ignored, as their specification says",
        ),
        pytest.param(
            {"XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "/s", "XDG_RUNTIME_DIR": "/run/user/0"},
            True,
            "/etc/peerd/peerd.toml",
            "/var/lib/peerd",
            "/run/peerd/peerd.sock",
            id="root is the system",
        ),
        pytest.param(
            {
                "CONFIGURATION_DIRECTORY": "/etc/peerd",
                "STATE_DIRECTORY": "/var/lib/peerd:/var/lib/other",
                "RUNTIME_DIRECTORY": "/run/peerd",
                "XDG_RUNTIME_DIR": "/run/user/7",
            },
            False,
            "/etc/peerd/peerd.toml",
            "/var/lib/peerd",
            "/run/peerd/peerd.sock",
            id="a unit",
        ),
    ],
)
def test_defaults_follow_systemd_then_root_then_the_user(
    environ: dict[str, str], *, root: bool, config: str, state: str, socket: str
) -> None:
    here = surroundings(environ, root=root)
    assert here.config_file() == Path(config)
    assert here.state_dir() == Path(state)
    assert here.control_socket() == Path(socket)


def test_only_a_leading_tilde_means_home() -> None:
    here = surroundings({})
    assert here.expand("~/x") == USER / "x"
    assert here.expand("/a/~/x") == Path("/a/~/x")
    assert here.expand("~bob/x") == Path("~bob/x")


@pytest.mark.parametrize(
    ("host", "name"),
    [("kitchen.lan", "kitchen"), ("", "peerd"), ("küche", "küche"), ("a\x1bb", "ab"), ("ü" * 60, "ü" * 31)],
)
def test_the_device_name_is_the_host_name_made_to_fit(host: str, name: str) -> None:
    assert surroundings({}, host=host).device_name() == name
    assert len(name.encode()) <= MAX_NAME_BYTES


def test_this_process_has_surroundings() -> None:
    """HOME counts when it is absolute; without it the user database does."""
    given = Surroundings.of_this_process({"HOME": "/somewhere"})
    assert given.home == Path("/somewhere")
    assert given.is_root == (os.geteuid() == 0)
    assert Surroundings.of_this_process({"HOME": "relative"}).home.is_absolute()
