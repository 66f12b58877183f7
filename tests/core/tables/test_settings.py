"""What holds for a binding here."""

from __future__ import annotations

from peerd.core.tables.changes import Brake
from peerd.core.tables.settings import BindingSettings, decode_settings, encode_settings


def test_settings_come_back_as_they_were() -> None:
    settings = BindingSettings(("a",), ("b", "c"), Brake(5, 50), merging=True)
    assert decode_settings(encode_settings(settings)) == settings


def test_none_are_the_default_ones() -> None:
    assert decode_settings(b"") == BindingSettings()
