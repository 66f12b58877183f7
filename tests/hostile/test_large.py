"""The largest thing that is allowed, from one daemon to the other: not stopped by the bounds that stop the hostile."""

from __future__ import annotations

from pathlib import Path

from tests.support.daemons import House, pair


def test_a_transaction_of_fifty_megabytes(tmp_path: Path) -> None:
    """It is one entry, and travels whole, in parts; small ones of both sides go on beside it."""
    with House(tmp_path) as house:
        kitchen, study = house.start("kitchen", "study", mdns=False)
        kitchen.create("home")
        pair(kitchen, study, "home")
        text = "0123456789" * 1_250_000
        changes = [{"kind": "put", "collection": "large", "key": key, "value": {"text": text + key}} for key in "abcd"]
        kitchen.call("POST", "spaces", "home", "transactions", body={"changes": changes})
        study.put("home", "small", "s", {"x": 1})
        kitchen.put("home", "small", "k", {"x": 2})
        study.wait(lambda: study.space("home")["records"] == 6, "all is here")
        for key in "abcd":
            value = study.get("home", "large", key)
            assert value is not None
            assert value["text"] == text + key
        house.agree("home")
