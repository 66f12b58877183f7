"""The two texts made from the declarations: the file that ships, and the reference in the documentation.

`make generated` writes both into the tree; tests compare them with what stands there.
"""

from __future__ import annotations

import inspect
import json
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Final

from peerd.config.relay_settings import RELAYS
from peerd.config.settings import SECTIONS, Setting, SpaceSettings, TableSettings, declared

if TYPE_CHECKING:
    from collections.abc import Iterator

    import msgspec

BEGIN: Final = "<!-- made from peerd/config/settings.py: begin -->"
END: Final = "<!-- made from peerd/config/settings.py: end -->"

_WIDTH: Final = 100
_HEAD = """\
# peerd.toml: the configuration of peerd. Every setting is optional; each stands here at its default.
#
# Read from --config FILE or $PEERD_CONFIG; else from $XDG_CONFIG_HOME/peerd/peerd.toml (~/.config),
# for root and the system service from /etc/peerd/peerd.toml. Then conf.d/*.toml beside it, in order of
# their names; what comes later wins. `peerd check-config` reports every mistake at once.
# A changed setting takes effect at a reload (SIGHUP, `systemctl reload peerd`) where it says so.
"""
_SPACE_EXAMPLE = "home"


def render_default() -> str:
    """`config/peerd.toml`: every setting as a comment, at its default, with its explanation."""
    return _HEAD + "".join(_section_file(head, struct) for head, struct in _sections(_SPACE_EXAMPLE))


def render_reference() -> str:
    """The settings as Markdown, one table for each section."""
    return "\n".join(_section_reference(head, struct) for head, struct in _sections("NAME")).rstrip() + "\n"


def _sections(space: str) -> Iterator[tuple[str, type[msgspec.Struct]]]:
    yield from SECTIONS.items()
    yield f"spaces.{space}", SpaceSettings
    yield f"[spaces.{space}.tables]", TableSettings
    for name, struct in RELAYS.items():
        yield f"relay.{name}", struct


def _section_file(head: str, struct: type[msgspec.Struct]) -> str:
    # The head of a fixed section stands uncommented, so that a key set below it lands in it.
    lines = ["", *_comment(inspect.getdoc(struct) or ""), f"[{head}]" if head in SECTIONS else f"#[{head}]"]
    for key, setting in declared(struct).items():
        effect = "A reload is enough." if setting.live else "Needs a restart."
        sentence = f"{setting.explanation} Allowed: {setting.check.allowed}. {effect}"
        if setting.required:
            sentence = f"{setting.explanation} It must be given; for example:"
        elif setting.otherwise:
            sentence += f" Default: {setting.otherwise}; for example:"
        lines += ["", *_comment(sentence), f"#{key} = {_default(setting)}"]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _section_reference(head: str, struct: type[msgspec.Struct]) -> str:
    lines = [
        f"### `[{head}]`",
        "",
        inspect.getdoc(struct) or "",
        "",
        "| key | default | allowed | meaning | a change needs |",
        "|---|---|---|---|---|",
    ]
    for key, setting in declared(struct).items():
        default = setting.otherwise or f"`{_default(setting)}`"
        effect = "reload" if setting.live else "restart"
        cells = [f"`{key}`", default, setting.check.allowed, setting.explanation, effect]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _default(setting: Setting) -> str:
    return json.dumps(setting.example if setting.otherwise else setting.default)  # an empty table looks the same


def write(root: Path) -> None:
    """Write both texts into the tree at `root`; the rest of the documentation's page stays as it is.

    Raises:
        ValueError: the page lacks the two marks between which the reference stands.

    """
    (root / "config/peerd.toml").write_text(render_default())
    page = root / "docs/configuration.md"
    before, begin, rest = page.read_text().partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} lacks {BEGIN} and {END}")
    page.write_text(f"{before}{begin}\n\n{render_reference()}\n{end}{after}")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
