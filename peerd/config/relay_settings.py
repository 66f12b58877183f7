"""The settings of relays, one struct for each back end, and the list of them."""

# Annotations are read at run time here: no `from __future__ import annotations`.
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from peerd.config.checks import Container, Directory, File, Flag, OneOf, SpaceNames, Url, WholeNumber, Word
from peerd.config.settings import Setting

_ENABLED = Setting(
    explanation="Whether this relay is used. Off, what lies there stays.",
    check=Flag(),
    default=True,
    live=True,
)
_SPACES = Setting(
    explanation='The spaces that go through this relay; ["*"] is all of this device.',
    check=SpaceNames(),
    default=["*"],
    live=True,
)
_GATHER = (
    "While changes keep coming, how long the first of them waits at most until they are left there together. A single "
    "one is left much sooner."
)


class FolderRelay(msgspec.Struct, frozen=True):
    """A folder that something else carries from device to device: a NAS, a synced folder, a USB stick. What lies in it
    is sealed. The folder must exist; peerd makes what it needs inside.
    """

    path: Annotated[
        Path,
        Setting(
            explanation="The folder.",
            check=Directory(),
            default=None,
            live=True,
            example="/mnt/nas/peerd",
            otherwise="none, it must be given",
            required=True,
        ),
    ]
    spaces: Annotated[tuple[str, ...], _SPACES]
    enabled: Annotated[bool, _ENABLED]
    gather_s: Annotated[
        int,
        Setting(
            explanation=_GATHER,
            check=WholeNumber(5, 3_600, "seconds"),
            default=5,
            live=True,
        ),
    ]
    max_mb: Annotated[
        int,
        Setting(
            explanation="How much a space may take there before old changes give way to a snapshot.",
            check=WholeNumber(8, 1_000_000, "megabytes"),
            default=1_000,
            live=True,
        ),
    ]


class CloudKitRelay(msgspec.Struct, frozen=True):
    """The public database of a CloudKit container of your own, with a server-to-server key. What lies in it is sealed.
    docs/cloudkit.md leads through Apple's side of it.
    """

    container: Annotated[
        str,
        Setting(
            explanation="The container.",
            check=Container(),
            default=None,
            live=True,
            example="iCloud.example.peerd",
            otherwise="none, it must be given",
            required=True,
        ),
    ]
    key_id: Annotated[
        str,
        Setting(
            explanation="The id that the CloudKit Console shows for the server-to-server key.",
            check=Word(),
            default=None,
            live=True,
            example="1f6ad8c2",
            otherwise="none, it must be given",
            required=True,
        ),
    ]
    key_file: Annotated[
        Path,
        Setting(
            explanation=(
                "The private half of that key, in PEM, readable by peerd's user alone. Not needed if systemd gives the "
                "credential cloudkit.pem."
            ),
            check=File(),
            default=lambda here: str(here.state_dir() / "cloudkit.pem"),
            live=True,
            example="/etc/peerd/cloudkit.pem",
            otherwise="cloudkit.pem in the default state_dir",
        ),
    ]
    environment: Annotated[
        str,
        Setting(
            explanation="Which of the container's two databases. The schema has to be deployed to production once.",
            check=OneOf(("production", "development")),
            default="production",
            live=True,
        ),
    ]
    spaces: Annotated[tuple[str, ...], _SPACES]
    enabled: Annotated[bool, _ENABLED]
    base_url: Annotated[
        str,
        Setting(
            explanation="Where CloudKit Web Services are.",
            check=Url(),
            default="https://api.apple-cloudkit.com",
            live=True,
        ),
    ]
    gather_s: Annotated[
        int,
        Setting(
            explanation=_GATHER,
            check=WholeNumber(30, 3_600, "seconds"),
            default=300,
            live=True,
        ),
    ]
    max_mb: Annotated[
        int,
        Setting(
            explanation="How much a space may take there before old changes give way to a snapshot.",
            check=WholeNumber(8, 1_000_000, "megabytes"),
            default=50,
            live=True,
        ),
    ]


RELAYS: Mapping[str, type[msgspec.Struct]] = {
    "folder": FolderRelay,
    "cloudkit": CloudKitRelay,
}
