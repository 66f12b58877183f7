"""`space`, `members`, `remove` and `collection`."""

from __future__ import annotations

import json
from typing import Any

import pytest

NAS = "NASAAAA-NASBBBB-NASCCCC-NASDDDD-NASEEEE-NASFFFF-NASGGGG-NASHHHH"
PHONE = "PHONEAA-PHONEBB-PHONECC-PHONEDD-PHONEEE-PHONEFF-PHONEGG-PHONEHH"
HOME = {"name": "home", "id": "00ff", "state": "in sync", "records": 5, "conflicts": 1, "peers": [{}, {}]}
MEMBERS: dict[str, Any] = {
    "members": [
        {"device": NAS, "name": "nas", "role": "admin", "state": "this device", "own": True},
        {"device": PHONE, "name": "phone", "role": "member", "state": "member", "own": False, "seen_ms": 1000},
    ]
}
NOTHING = {"active": True, "silent_days": 0, "transactions": 0, "size_bytes": 0, "since_ms": None}
WHERE = "/v1/spaces/home/members"
FILE = "3f2a9c1b" + "00" * 12


def test_create_names_the_next_step(daemon: Any, peerctl: Any) -> None:
    daemon.on("POST", "/v1/spaces", HOME, status=201)
    got = peerctl("space", "create", "home")
    assert (got.code, got.out) == (0, "")
    assert "peerctl invite home" in got.err
    assert json.loads(peerctl("space", "create", "home", "--json").out) == HOME
    assert daemon.bodies("POST") == [{"name": "home"}] * 2


def test_a_name_that_is_taken_is_a_refusal(daemon: Any, peerctl: Any) -> None:
    daemon.problem("POST", "/v1/spaces", 409, code="space-exists", detail="home is there already", next_step="another")
    assert peerctl("space", "create", "home") == (
        6,
        "",
        "peerctl: home is there already [space-exists]\n  next: another\n",
    )


def test_list_shows_each_space(daemon: Any, peerctl: Any, on_terminal: Any) -> None:
    daemon.on("GET", "/v1/spaces", {"spaces": [HOME]})
    assert peerctl("space", "list").out == "home\t00ff\tin sync\t5\t1\t2\n"
    assert json.loads(peerctl("space", "list", "--json").out) == {"spaces": [HOME]}
    assert on_terminal("space", "list", "--no-color").out == (
        "SPACE  ID    STATE    RECORDS  CONFLICTS  PEERS\nhome   00ff  in sync        5          1      2\n"
    )


@pytest.mark.parametrize(
    ("ahead", "said"),
    [((2, 5), "the last 2 transactions of it"), ((None, 1), "the last 1 transaction of it"), ((0, 3), ""), ((), "")],
)
@pytest.mark.parametrize("command", ["forget", "rebuild"])
def test_before_a_copy_makes_way_it_is_said_what_only_it_has(
    daemon: Any, peerctl: Any, command: str, ahead: tuple[int | None, ...], said: str
) -> None:
    peers = [{"name": "nas", "ahead": one} for one in ahead]
    daemon.on("GET", "/v1/spaces/home", {**HOME, "peers": peers})
    daemon.on("DELETE", "/v1/spaces/home", {"space": "home", "id": "00", "set_aside": "/aside/00-1.db"})
    daemon.on("POST", "/v1/spaces/home/rebuild", HOME | {"peers": peers})
    got = peerctl("space", command, "home", "--yes")
    assert got.code == 0
    assert said in got.err
    assert ("no other device has" in got.err) is bool(said)


def test_who_forgets_a_space_is_told_of_the_files_that_are_bound_to_it(daemon: Any, peerctl: Any) -> None:
    daemon.on("GET", "/v1/spaces/home", HOME)
    daemon.on("GET", "/v1/spaces/home/bindings", {"bindings": [{"name": "todo", "database": "/my files/todo.db"}]})
    daemon.on("DELETE", "/v1/spaces/home", {"space": "home", "id": "00", "set_aside": ""})
    got = peerctl("space", "forget", "home", "--yes")
    assert got.err == (
        "forgot home\nwhat peerd keeps in /my files/todo.db is there still\n"
        "  next: peerctl tables unbind --file '/my files/todo.db'\n"
    )
    asked = peerctl("space", "forget", "home", stdin="n\n")
    assert "bound to it: todo; `peerctl tables unbind` first" in asked.err
    assert "is there still" not in asked.err


def test_a_copy_that_cannot_be_read_is_forgotten_all_the_same(daemon: Any, peerctl: Any) -> None:
    daemon.problem("GET", "/v1/spaces/home", 503, code="store-damaged")
    daemon.on("DELETE", "/v1/spaces/home", {"space": "home", "id": "00", "set_aside": "/aside/00-1.db"})
    assert peerctl("space", "forget", "home", "--yes") == (0, "", "forgot home; its database is /aside/00-1.db\n")


def test_no_space_says_how_to_begin(daemon: Any, peerctl: Any) -> None:
    daemon.on("GET", "/v1/spaces", {"spaces": []})
    got = peerctl("space", "list")
    assert (got.code, got.out) == (0, "")
    assert "space create" in got.err


def test_members_lists_who_is_in_and_when_it_was_seen(daemon: Any, peerctl: Any) -> None:
    daemon.on("GET", WHERE, MEMBERS)
    assert peerctl("members", "home").out == (
        f"nas\t{NAS}\tadmin\tthis device\t\t\nphone\t{PHONE}\tmember\tmember\t1970-01-01 00:00:01\t\n"
    )
    assert json.loads(peerctl("members", "home", "--json").out) == MEMBERS


@pytest.mark.parametrize(
    ("holding", "shown"),
    [
        (NOTHING, "nothing"),
        (
            {**NOTHING, "transactions": 1204, "size_bytes": 3_500_000, "since_ms": 1000},
            "1,204 transactions (3.3 MiB) since 1970-01-01 00:00:01",
        ),
        ({**NOTHING, "active": False, "silent_days": 71}, "nothing: dormant for 71 days"),
    ],
)
def test_members_says_who_holds_what_back(daemon: Any, peerctl: Any, holding: dict[str, Any], shown: str) -> None:
    """Relays too: they stand in the same table."""
    nas, phone = MEMBERS["members"]
    relay = {"relay": "attic", "holding": holding}
    daemon.on("GET", WHERE, {"members": [nas, {**phone, "holding": holding}], "relays": [relay]})
    _, member, last = peerctl("members", "home").out.splitlines()
    assert member.split("\t")[5] == shown
    assert last == f"attic\t\trelay\t\t\t{shown}"


@pytest.mark.parametrize("named", [PHONE, PHONE.replace("-", "").lower(), "PHONEAAP", "phoneaap", "phone"])
def test_remove_takes_id_short_id_or_name(daemon: Any, peerctl: Any, named: str) -> None:
    daemon.on("GET", WHERE, MEMBERS)
    daemon.on("DELETE", f"{WHERE}/{PHONE}", None, status=204)
    got = peerctl("remove", "home", named, "--yes")
    assert (got.code, got.out, got.err) == (0, "", "removed phone (PHONEAAP) from home\n")


def test_who_is_awaited_is_listed_with_until_when_and_may_be_kept_out(daemon: Any, peerctl: Any) -> None:
    late = {"device": PHONE, "name": "", "role": "member", "state": "awaited", "own": False, "expires_ms": 1000}
    daemon.on("GET", WHERE, {"members": [late]})
    assert peerctl("members", "home").out == f"\t{PHONE}\tmember\tawaited until 1970-01-01 00:00:01\t\t\n"
    daemon.on("DELETE", f"{WHERE}/{PHONE}", None, status=204)
    assert peerctl("remove", "home", "PHONEAAP", "--yes") == (0, "", f"{PHONE} may not join home\n")
    assert f"Await {PHONE} no more?" in peerctl("remove", "home", PHONE, stdin="n\n").err


def test_who_may_still_come_by_a_file_is_listed(daemon: Any, peerctl: Any) -> None:
    daemon.on("GET", WHERE, {"members": [], "tickets": [{"id": FILE, "role": "member", "expires_ms": 1000}]})
    assert peerctl("members", "home").out == f"\t{FILE}\tmember\tinvited by file until 1970-01-01 00:00:01\t\t\n"


@pytest.mark.parametrize("named", [FILE, "3f2a9c1b", "3F2A9C1B"])
def test_remove_withdraws_an_invitation_file(daemon: Any, peerctl: Any, named: str) -> None:
    daemon.on("GET", WHERE, {**MEMBERS, "tickets": [{"id": FILE, "role": "member", "expires_ms": 1000}]})
    daemon.on("DELETE", f"/v1/spaces/home/tickets/{FILE}", None, status=204)
    asked = peerctl("remove", "home", named, stdin="n\n")
    assert asked.code == 1
    assert "Withdraw the invitation file 3f2a9c1b to home?" in asked.err
    assert not [asked for asked in daemon.asked if asked.method == "DELETE"]
    got = peerctl("remove", "home", named, "--yes")
    assert got == (0, "", "nobody may join home by the invitation file 3f2a9c1b any more\n")
    assert json.loads(peerctl("remove", "home", named, "--yes", "--json").out) == {"removed": {"ticket": FILE}}


def test_remove_does_not_guess_between_a_device_and_a_file(daemon: Any, peerctl: Any) -> None:
    """A device may call itself as it likes."""
    nas, phone = MEMBERS["members"]
    tickets = [{"id": FILE, "role": "member", "expires_ms": 1000}]
    daemon.on("GET", WHERE, {"members": [nas, {**phone, "name": "3f2a9c1b"}], "tickets": tickets})
    got = peerctl("remove", "home", "3f2a9c1b", "--yes")
    assert (got.code, got.out) == (2, "")
    assert f"PHONEAAP, {FILE}" in got.err
    assert not [asked for asked in daemon.asked if asked.method == "DELETE"]


def test_remove_passes_on_what_it_does_not_know(daemon: Any, peerctl: Any) -> None:
    """The daemon says whether there is such a member; peerctl does not decide it."""
    daemon.on("GET", WHERE, MEMBERS)
    daemon.problem("DELETE", f"{WHERE}/a%2Fb", 404, code="not-member", detail="no such member")
    assert peerctl("remove", "home", "a/b", "--yes").code == 1


def test_remove_does_not_guess_between_two_of_one_name(daemon: Any, peerctl: Any) -> None:
    daemon.on("GET", WHERE, {"members": [{**member, "name": "nas"} for member in MEMBERS["members"]]})
    got = peerctl("remove", "home", "nas", "--yes")
    assert (got.code, got.out) == (2, "")
    assert "NASAAAAN, PHONEAAP" in got.err
    assert not [asked for asked in daemon.asked if asked.method == "DELETE"]


def test_remove_means_the_member_of_two_of_one_name_if_the_other_was_removed(daemon: Any, peerctl: Any) -> None:
    nas, phone = ({**member, "name": "nas"} for member in MEMBERS["members"])
    daemon.on("GET", WHERE, {"members": [{**nas, "state": "removed"}, phone]})
    daemon.on("DELETE", f"{WHERE}/{PHONE}", None, status=204)
    got = peerctl("remove", "home", "nas", "--yes")
    assert (got.code, got.err) == (0, "removed nas (PHONEAAP) from home\n")


def test_remove_asks_and_takes_silence_for_no(daemon: Any, peerctl: Any) -> None:
    daemon.on("GET", WHERE, MEMBERS)
    daemon.on("DELETE", f"{WHERE}/{PHONE}", None, status=204)
    for answer in ("n\n", ""):
        got = peerctl("remove", "home", "phone", stdin=answer)
        assert (got.code, got.out) == (1, "")
        assert "Remove phone (PHONEAAP) from home for good? [y/N]" in got.err
    assert [asked.method for asked in daemon.asked] == ["GET", "GET"]
    got = peerctl("remove", "home", "phone", "--json", stdin="y\n")
    assert json.loads(got.out) == {"removed": {"device": PHONE, "name": "phone"}}


SETTINGS = {"policy": "keep", "fields": {"n": "max"}, "delete_wins": False, "merge": "field"}


def test_collection_shows_the_settings(daemon: Any, peerctl: Any) -> None:
    view = {"name": "books", "records": 3, "conflicts": 0, "settings": SETTINGS}
    daemon.on("GET", "/v1/spaces/home/collections", {"collections": [view]})
    assert peerctl("collection", "home", "books").out == (
        "policy\tkeep\nmerge\tfield\ndeletes\tedit-wins\npolicy of n\tmax\n"
    )
    assert json.loads(peerctl("collection", "home", "books", "--json").out) == SETTINGS
    got = peerctl("collection", "home", "films")
    assert (got.code, got.out.splitlines()[0]) == (0, "policy\tkeep")
    assert "defaults hold" in got.err


def test_collection_changes_only_what_is_named(daemon: Any, peerctl: Any) -> None:
    daemon.on("PATCH", "/v1/spaces/home/collections/books", SETTINGS)
    peerctl("collection", "home", "books", "--policy", "newest", "--deletes", "delete-wins")
    peerctl("collection", "home", "books", "--field-policy", "a=b=max", "--field-policy", "n=default")
    peerctl("collection", "home", "books", "--merge", "record")
    assert daemon.bodies("PATCH") == [
        {"policy": "newest", "delete_wins": True},
        {"fields": {"a=b": "max", "n": None}},
        {"merge": "record"},
    ]


@pytest.mark.parametrize("text", ["n", "n=", "n=largest", "=max="])
def test_a_policy_that_is_none_is_misuse(peerctl: Any, daemon: Any, text: str) -> None:
    got = peerctl("collection", "home", "books", "--field-policy", text)
    assert (got.code, daemon.asked) == (2, [])
    assert "keep, newest, max, min, default" in got.err
