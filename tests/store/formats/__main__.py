"""Writes a database of the present format as SQL, for later versions to open: `python -m tests.store.formats`.

Run once with every new file in `peerd/store/schema`; what is there for a format is never written again. The copy holds
what every format has had: records, some of them deleted and some with two values, the log of two devices, history, a
roster, and a run that waits.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from peerd.core.origin import Announcement, origin_of
from peerd.core.roster.statements import SignedStatement
from tests.store.copies import ADMISSION, SPACE, Copy, delete, patch, put

HERE = Path(__file__).parent
GENESIS = SignedStatement(b"genesis", b"s" * 64)


async def fill(folder: Path) -> Path:
    """The database, closed."""
    for name in ("one", "two"):
        (folder / name).mkdir(parents=True)
    ours = await Copy(folder / "one", threaded=True).create()
    theirs = await Copy(folder / "two", threaded=True, device=b"E" * 32).create()
    theirs.chance.seed(2)
    await ours.open()
    await theirs.open()
    await ours.store.add_statements([GENESIS])
    for number in range(20):
        await ours.write([put("todo", f"{number:02}", n=number, text=f"line {number}")])
        await ours.write([patch("todo", "last", n=number)])
    await ours.write([patch("todo", "03", text="line three")], [delete("todo", "05"), delete("todo", "06")])
    await theirs.write([put("todo", "03", text="drei"), put("books", "a", title="A")])
    await theirs.write([put("books", "b", title="B")])
    await theirs.write([put("books", "c", title="C")])
    announcement = theirs.state.origins[theirs.origin].announcement
    assert isinstance(announcement, Announcement)
    assert origin_of(SPACE, announcement) == theirs.origin
    runs = [row.run for row in (await theirs.store.runs_after(0, 1 << 20)).rows]
    await ours.take(announcement, *runs[:2])
    await ours.store.stage(runs[2:], 1 << 20)
    assert announcement.admission == ADMISSION
    await theirs.store.close()
    await ours.store.close()
    return ours.path


def dump(path: Path) -> tuple[int, str]:
    """The number of its format, and the database as SQL."""
    with closing(sqlite3.connect(path)) as connection:
        version, application = (
            int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("user_version", "application_id")
        )
        text = "\n".join(connection.iterdump())
    return version, f"{text}\nPRAGMA application_id = {application};\nPRAGMA user_version = {version};\n"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        version, text = dump(asyncio.run(fill(Path(folder))))
    target = (Path(sys.argv[1]) if len(sys.argv) > 1 else HERE) / f"{version:04}.sql"
    if not target.exists():
        target.write_text(text)


if __name__ == "__main__":
    main()
