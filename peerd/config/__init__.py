"""The configuration: `settings` declares, `load` reads files, `render` writes the default one."""

from __future__ import annotations

from peerd.config.load import lacking, load
from peerd.config.settings import Changes, Settings, SpaceSettings

__all__ = ["Changes", "Settings", "SpaceSettings", "lacking", "load"]
