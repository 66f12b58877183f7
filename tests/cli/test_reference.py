"""The pages of the documentation that are written from the code."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from peerd.cli import exits, reference
from peerd.cli.codes import TEXTS

DOCS = Path(__file__).parents[2] / "docs"
HINT = "run `python -m peerd.cli.reference docs`"


def test_the_page_of_commands_is_what_the_parser_says() -> None:
    assert (DOCS / "commands.md").read_text(encoding="utf-8") == reference.commands_page(), HINT


def test_the_page_of_errors_is_what_explain_says() -> None:
    assert (DOCS / "errors.md").read_text(encoding="utf-8") == reference.errors_page(), HINT


@pytest.mark.parametrize(
    "usage",
    [
        "peerctl status",
        "peerctl space create NAME",
        "peerctl invite SPACE [--yes] [--file PATH] [--days N] [--role admin|member]",
        "peerctl join [CODE] [--file PATH] [--from DEVICE-ID] [--host HOST:PORT] [--name NAME] [--yes] [--wait]",
        "peerctl put SPACE COLLECTION KEY [JSON] [--patch] [--create] [--if-match ETAG] [--seen ETAG]",
        "peerctl import SPACE COLLECTION FILE.ndjson --key FIELD [--each]",
        "peerctl resolve SPACE ID (--choose N | --value JSON | --drop) [--if-match ETAG]",
        "peerctl list SPACE [COLLECTION] [--prefix PREFIX]",
    ],
)
def test_usages_are_written_as_people_read_them(usage: str) -> None:
    assert f"### `{usage}`\n" in reference.commands_page()


def test_every_exit_code_and_every_error_has_its_place() -> None:
    assert all(f"| {code} | " in reference.commands_page() for code in exits.MEANINGS)
    assert all(f"## {code}\n" in reference.errors_page() for code in TEXTS)


def test_the_pages_are_written_where_one_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["reference", str(tmp_path)])
    reference.main()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["commands.md", "errors.md"]
