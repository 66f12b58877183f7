"""Looking after the daemon: `doctor`, `reload`, `pause`, `resume`, `explain`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from peerd.cli import codes, exits
from peerd.cli.arguments import Misused
from peerd.control.client import path

if TYPE_CHECKING:
    import argparse

    from peerd.cli.arguments import Commands
    from peerd.cli.machine import Finding
    from peerd.cli.output import Output
    from peerd.control.client import Client


def add(commands: Commands) -> None:
    doctor = commands.add(
        "doctor",
        "look for what commonly goes wrong on this machine and say what to do",
        "Each finding is ok, a note (worth knowing, and it may be meant so) or a problem, with what to do. A cause is "
        "told once, with what else it affects. Exit code 3 if the daemon cannot be reached, 4 if there is another "
        "problem; notes do not count.",
    )
    doctor.add_argument(
        "--deep", action="store_true", help="read every page of every database too; takes long if they are large"
    )
    doctor.set_defaults(run=run_doctor)
    reload = commands.add("reload", "let the daemon read its configuration again")
    reload.set_defaults(run=run_reload)
    pause = commands.add(
        "pause",
        "end all links with other devices and take none, until `resume`",
        "Reading and writing go on; a restart of the daemon ends the pause too.",
    )
    pause.set_defaults(run=run_pause)
    resume = commands.add("resume", "link with other devices again")
    resume.set_defaults(run=run_resume)
    explain = commands.add("explain", "say what an error code means and what to do", "Without CODE: all codes.")
    explain.add_argument("code", metavar="CODE", nargs="?")
    explain.set_defaults(run=run_explain)


def run_doctor(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    from peerd.cli import checkup  # noqa: PLC0415 - no other command should pay for what it imports

    findings, code = checkup.examine(client, deep=arguments.deep)
    if out.as_json:
        shown = ("state", "check", "detail", "next_step", "affects")
        out.document({"findings": [{name: getattr(finding, name) for name in shown} for finding in findings]})
        return code
    if not out.on_terminal:
        rows = [[one.state, one.check, one.detail, one.next_step, *_affected(one)] for one in findings]
        out.table((), rows)
        return code
    styles = {"ok": "green", "note": "yellow", "problem": "red"}
    for finding in findings:
        state = out.styled(f"{finding.state:7}", styles[finding.state])
        out.raw(f"{state}  {out.styled(f'{finding.check:12}', 'bold')}  {out.styled(finding.detail, '')}")
        if finding.affects:
            out.text(f"         affects: {', '.join(finding.affects)}")
        if finding.next_step:
            out.text(f"         next: {finding.next_step}")
    return code


def _affected(finding: Finding) -> list[str]:
    return [", ".join(finding.affects)] if finding.affects else []


def run_reload(_: argparse.Namespace, client: Client, out: Output) -> int:
    done: dict[str, Any] = client.call("POST", path("reload")).body
    if out.as_json:
        out.document(done)
        return exits.OK
    changed, waiting = done.get("changed", []), done.get("needs_restart", [])
    out.talk(f"in effect now: {', '.join(changed)}" if changed else "nothing in effect has changed")
    if waiting:
        out.talk(f"after a restart: {', '.join(waiting)}", "yellow")
    return exits.OK


def run_pause(_: argparse.Namespace, client: Client, out: Output) -> int:
    client.call("POST", path("pause"))
    return _said("paused", "paused; `peerctl resume` links with other devices again", out)


def run_resume(_: argparse.Namespace, client: Client, out: Output) -> int:
    client.call("POST", path("resume"))
    return _said("resumed", "linking with other devices again", out)


def _said(member: str, sentence: str, out: Output) -> int:
    if out.as_json:
        out.document({member: True})
    else:
        out.talk(sentence)
    return exits.OK


def run_explain(arguments: argparse.Namespace, _: Client, out: Output) -> int:
    if arguments.code is None:
        if out.as_json:
            out.document({"codes": [{"code": code, "text": text} for code, text in sorted(codes.TEXTS.items())]})
        else:
            out.table(("CODE", "MEANING"), sorted(codes.TEXTS.items()))
        return exits.OK
    text = codes.TEXTS.get(arguments.code)
    if text is None:
        raise Misused(
            f"there is no error code {arguments.code}",
            code="unknown-code",
            next_step="`peerctl explain` lists them; the code stands in brackets behind an error",
        )
    if out.as_json:
        out.document({"code": arguments.code, "text": text})
    else:
        out.text(text)
    return exits.OK
