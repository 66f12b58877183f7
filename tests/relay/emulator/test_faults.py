"""What is made to go wrong does, when it was asked for; and a naive client does not get far."""

from __future__ import annotations

import json

import aiohttp
import pytest

from tests.relay.emulator.hand import Hand, blob, by_name, create
from tests.relay.emulator.server import Emulator


async def test_an_answer_is_lost_after_everything_was_done(hand: Hand, emulator: Emulator) -> None:
    emulator.faults.add("lose", "records/modify")
    with pytest.raises(aiohttp.ClientError):
        await hand.modify(create("k1"))
    assert "recordChangeTag" in by_name(await hand.lookup("k1"))["k1"]


async def test_a_connection_ends_before_anything_was_done(hand: Hand, emulator: Emulator) -> None:
    emulator.faults.add("drop", "records/modify")
    with pytest.raises(aiohttp.ClientError):
        await hand.modify(create("k1"))
    assert by_name(await hand.lookup("k1"))["k1"]["serverErrorCode"] == "NOT_FOUND"


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("later", 503, "TRY_AGAIN_LATER"),
        ("internal", 500, "INTERNAL_ERROR"),
        ("quota", 413, "QUOTA_EXCEEDED"),
        ("denied", 403, "ACCESS_DENIED"),
        ("auth", 401, "AUTHENTICATION_FAILED"),
        ("unknown", 418, "SOMETHING_NEW"),
        ("html", 502, ""),
    ],
)
async def test_errors_of_a_whole_request(hand: Hand, emulator: Emulator, fault: str, status: int, code: str) -> None:
    emulator.faults.add(fault, skip=1, times=2)
    assert (await hand.lookup("k1")).status == 200
    for _ in range(2):
        said = await hand.modify(create("k1"))
        assert (said.status, said.code) == (status, code)
    assert by_name(await hand.lookup("k1"))["k1"]["serverErrorCode"] == "NOT_FOUND"


async def test_one_record_of_many_fails_or_is_not_spoken_of(hand: Hand, emulator: Emulator) -> None:
    names = [f"k{number}" for number in range(20)]
    emulator.faults.add("element", code="TRY_AGAIN_LATER")
    said = await hand.modify(*(create(name) for name in names))
    assert said.status == 200
    failed = [name for name, one in by_name(said).items() if one.get("serverErrorCode") == "TRY_AGAIN_LATER"]
    assert len(failed) == 1
    assert set(emulator.database().records) == set(names) - set(failed)
    emulator.faults.add("omit")
    assert len((await hand.lookup(*names)).json["records"]) == 19


async def test_the_weather_is_the_same_for_the_same_seed(emulator: Emulator) -> None:
    def faults(seed: int) -> list[str]:
        emulator.faults.weather(0.5, seed)
        return [fault.do if (fault := emulator.faults.next("records/modify")) else "" for _ in range(50)]

    assert faults(1) == faults(1) != faults(2)
    assert len(set(faults(1))) > 4


async def naive_upload(hand: Hand, names: list[str], *, atomic: bool, tagged: bool) -> bool:
    """As many clients do it: everything went well if the status says so."""
    fields = {"d": blob(b"x", "BYTES" if tagged else None)}
    operations = [create(name, fields=fields) for name in names]
    return (await hand.post("records/modify", {"operations": operations, "atomic": atomic})).status == 200


async def test_a_naive_client_fails_here(hand: Hand, emulator: Emulator) -> None:
    assert not await naive_upload(hand, ["k1"], atomic=True, tagged=True)
    assert await naive_upload(hand, ["k1"], atomic=False, tagged=False)
    assert not emulator.database().records  # and it would not know
    emulator.faults.add("element")
    assert await naive_upload(hand, ["k1", "k2"], atomic=False, tagged=True)
    assert len(emulator.database().records) == 1
    assert json.loads(emulator.seen[-1].body)["operations"]
