"""What the pages name exists: links, commands, settings, addresses, files, versions; the demo prints what is shown."""

from __future__ import annotations

import argparse
import ast
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import peerd
from peerd import __main__ as daemon
from peerd.cli.arguments import Misused
from peerd.cli.codes import TEXTS
from peerd.cli.main import parser as control_parser
from peerd.config import lacking, load
from peerd.config.settings import SECTIONS, declared

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "peerd" / "README.md",
    ROOT / "peerd" / "protocol" / "PROTOCOL.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
HAND_WRITTEN = [page for page in PAGES if page.name not in {"commands.md", "errors.md"}]
TEXT = {page: page.read_text(encoding="utf-8") for page in PAGES}
_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_PROMPT = re.compile(r"^(?:\w+)?\$ ")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks in one of these languages, without the indentation of a list they stand in."""
    found = [(len(one[1]), one[2], one[3]) for one in _BLOCK.finditer(TEXT[page])]
    return [
        "\n".join(line[indent:] for line in text.splitlines())
        for indent, language, text in found
        if language in languages
    ]


def heading_anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", TEXT[page], re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


# ---- links


def links() -> list[tuple[Path, str]]:
    return [
        (page, target)
        for page in PAGES
        for target in re.findall(r"\]\(([^)\s]+)\)", _BLOCK.sub("", TEXT[page]))
        if not target.startswith(("http://", "https://"))
    ]


@pytest.mark.parametrize(("page", "target"), links(), ids=lambda one: name_of(one) if isinstance(one, Path) else one)
def test_a_link_leads_somewhere(page: Path, target: str) -> None:
    path, _, anchor = target.partition("#")
    there = (page.parent / path).resolve() if path else page
    assert there.exists()
    assert not anchor or anchor in heading_anchors(there)


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        linked = {(one / target.partition("#")[0]).resolve() for one, target in _relative(page)}
        waiting += [one for one in linked if one in TEXT and one not in reached]
    assert set(PAGES) == reached


def _relative(page: Path) -> Iterator[tuple[Path, str]]:
    return ((page.parent, target) for one, target in links() if one == page)


@pytest.mark.parametrize("page", HAND_WRITTEN, ids=name_of)
def test_a_heading_that_is_quoted_exists(page: Path) -> None:
    """As in: [recovery.md](recovery.md), "A fork"."""
    for target, heading in re.findall(r"\]\(([\w./]+\.md)\),\s+\"([^\"]+)\"", TEXT[page]):
        assert re.search(rf"^#+ {re.escape(heading)}", TEXT[(page.parent / target).resolve()], re.MULTILINE)


# ---- commands


class _Refused(Exception):
    """A command that the parser does not take."""


def words_of(command: str) -> list[str]:
    """The words of the command up to where the shell goes on with something else."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if word[0] in "|<>&;()":
            break
        words.append(word)
    return words


def shown_commands() -> list[tuple[str, str]]:
    """Every `peerctl` and `peerd` command in a block that is meant to be typed."""
    found = []
    for page in HAND_WRITTEN:
        for block in blocks(page, "sh", "console"):
            for line in block.replace("\\\n", " ").splitlines():
                typed = _PROMPT.sub("", line.strip())
                match = re.search(r"(?:^|\$\()(peerctl|peerd)\b(?! *=)(?!:)", typed)
                if match and (match.start() > 0 or _is_typed(typed)):
                    found.append((name_of(page), typed[match.start(1) :]))
    return found


def _is_typed(line: str) -> bool:
    return line.split(maxsplit=1)[0] in {"peerctl", "peerd"}


def parse(words: list[str]) -> argparse.Namespace:
    parser = control_parser() if words[0] == "peerctl" else daemon._parser()
    try:
        return parser.parse_args(words[1:])
    except (SystemExit, Misused) as refused:
        raise _Refused(" ".join(words)) from refused


def test_there_are_commands_to_check() -> None:
    assert len(shown_commands()) > 50


@pytest.mark.parametrize(("page", "command"), shown_commands())
def test_a_command_that_is_shown_can_be_typed(page: str, command: str) -> None:
    words = words_of(command.replace("--choose N", "--choose 0"))
    parse(words)
    for word in words:
        if word.startswith("{"):
            assert isinstance(json.loads(word), dict), page


def test_a_wrong_command_would_be_noticed() -> None:
    with pytest.raises(_Refused):
        parse(words_of("peerctl put home notes --no-such-option | jq ."))


def subcommands() -> set[str]:
    parser = control_parser()
    (choice,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return set(choice.choices)


@pytest.mark.parametrize("page", HAND_WRITTEN, ids=name_of)
def test_a_command_that_is_named_exists(page: Path) -> None:
    prose = _BLOCK.sub("", TEXT[page])
    assert set(re.findall(r"`peerctl (\w+)", prose)) <= subcommands()
    assert set(re.findall(r"`peerd ([a-z-]+)", prose)) <= {"check-config", "--config"}


@pytest.mark.parametrize("page", HAND_WRITTEN, ids=name_of)
def test_a_target_of_make_that_is_named_exists(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?:`|^|\$ )make ([a-z]+)", TEXT[page], re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("page", HAND_WRITTEN, ids=name_of)
def test_a_file_of_the_tree_that_is_named_exists(page: Path) -> None:
    for path in re.findall(r"(?<![\w/.~])(?:tests|systemd|config|docs)/[\w./-]*[\w]", TEXT[page]):
        assert (ROOT / path).exists(), path


# ---- settings


def settings() -> set[str]:
    return {f"{section}.{key}" for section, kind in SECTIONS.items() for key in declared(kind)}


@pytest.mark.parametrize("page", HAND_WRITTEN, ids=name_of)
def test_a_setting_that_is_named_exists(page: Path) -> None:
    sections = "|".join(SECTIONS)
    named = set(re.findall(rf"`((?:{sections})\.[a-z_]+)\b(?!\()", TEXT[page]))
    assert {one for one in named if not one.endswith((".toml", ".key", ".py", ".md"))} <= settings()


def configurations() -> list[tuple[str, str]]:
    """Blocks of TOML, and what `printf` writes into a drop-in."""
    found = [(name_of(page), block) for page in HAND_WRITTEN for block in blocks(page, "toml")]
    found += [
        (name_of(page), written.encode().decode("unicode_escape"))
        for page in HAND_WRITTEN
        for written in re.findall(r"printf '([^']+)' > \S+\.toml", TEXT[page])
    ]
    return found


@pytest.mark.parametrize(("page", "block"), configurations())
def test_a_configuration_that_is_shown_is_good(page: str, block: str, tmp_path: Path) -> None:
    file = tmp_path / "peerd.toml"
    file.write_text(block, encoding="utf-8")
    assert tomllib.loads(block), page
    missing = lacking(load(file, {"HOME": str(tmp_path)}))
    assert [one for one in missing if "write_group" not in one] == []  # no such group here


# ---- the socket


def routes() -> list[tuple[str, re.Pattern[str]]]:
    document: dict[str, Any] = json.loads((ROOT / "peerd" / "control" / "openapi.json").read_text(encoding="utf-8"))
    return [
        (method.upper(), re.compile(re.sub(r"\{\w+\}", "[^/]+", path)))
        for path, methods in document["paths"].items()
        for method in methods
    ]


@pytest.mark.parametrize("page", HAND_WRITTEN, ids=name_of)
def test_an_address_of_the_socket_that_is_shown_exists(page: Path) -> None:
    shown = [("", path) for path in re.findall(r"http://peerd(/[\w/.-]+)", TEXT[page])]
    shown += re.findall(r"`(GET|PUT|PATCH|POST|DELETE) (/[\w/{}.-]+)`", TEXT[page])
    known = routes()
    for method, path in shown:
        assert any(method in {"", verb} and pattern.fullmatch(path) for verb, pattern in known), path


@pytest.mark.parametrize("page", HAND_WRITTEN, ids=name_of)
def test_a_body_that_is_shown_is_json(page: Path) -> None:
    text = TEXT[page].replace("…", "...")
    for body in re.findall(r"--json '(\{.*?\})'", text, re.DOTALL):
        json.loads(body)
    for block in blocks(page, "json"):
        for line in block.splitlines():
            json.loads(line)


NO_CODES = {"check-config", "delete-wins", "edit-wins", "import-linter", "not-null", "pytest-asyncio", "pytest-xdist"}


@pytest.mark.parametrize("page", [page for page in HAND_WRITTEN if page.parent.name == "docs"], ids=name_of)
def test_an_error_code_that_is_named_is_explained(page: Path) -> None:
    assert set(re.findall(r"`([a-z]+(?:-[a-z]+)+)`", TEXT[page])) <= set(TEXTS) | NO_CODES


# ---- versions and dependencies


def test_the_changelog_begins_with_this_version() -> None:
    first = re.search(r"^## (\S+)", TEXT[ROOT / "CHANGELOG.md"], re.MULTILINE)
    assert first is not None
    assert first[1] == peerd.__version__
    assert f"As of version {peerd.__version__.rpartition('.')[0]}:" in TEXT[ROOT / "README.md"]


def test_the_page_of_dependencies_names_each_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = {re.split(r"[<>=]", one)[0] for one in project["dependencies"]}
    extra = {re.split(r"[<>=]", one)[0] for one in project["optional-dependencies"]["dev"]}
    page = TEXT[ROOT / "docs" / "dependencies.md"]
    assert set(re.findall(r"^\| `([\w-]+)` \|.*\|.*\|.*\|$", page, re.MULTILINE)) == required
    development = page[page.index("## For development") :]
    assert set(re.findall(r"`([\w-]+)`(?=[^|]*\| )", development)) >= extra


# ---- the demo


def demo_lines() -> list[re.Pattern[str]]:
    """What `say` prints in the demo, with anything where it puts a value."""
    found = []
    modules = (ROOT / "tests" / "demo").glob("*.py")
    nodes = (node for module in modules for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))))
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(re.compile(re.escape(node.value)))
        elif isinstance(node, ast.JoinedStr):
            parts = [re.escape(str(part.value)) if isinstance(part, ast.Constant) else ".+?" for part in node.values]
            found.append(re.compile("".join(parts)))
    return found


def test_the_readme_shows_what_the_demo_prints() -> None:
    (shown,) = [block for block in blocks(ROOT / "README.md", "console") if "make demo" in block]
    known = demo_lines()
    told = [match[1] for line in shown.splitlines() if (match := re.match(r" *\d+\.\d s  (.*)", line))]
    assert len(told) > 10
    for line in told:
        assert any(pattern.fullmatch(line) for pattern in known), line
