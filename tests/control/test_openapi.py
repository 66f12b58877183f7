"""The description says what the routes do."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any

import pytest

from peerd.control import openapi
from peerd.control.problems import CODES
from peerd.control.routes import ROUTES

COMMITTED = files("peerd.control").joinpath("openapi.json").read_text()
DOCUMENT = json.loads(COMMITTED)


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        found = {node["$ref"]} if "$ref" in node else set()
        return found.union(*(references(value) for value in node.values()))
    return set().union(*(references(value) for value in node)) if isinstance(node, list) else set()


def test_the_committed_file_is_the_table() -> None:
    """After a change: python -m peerd.control.openapi > peerd/control/openapi.json."""
    assert openapi.render() == COMMITTED


def test_every_route_is_described_and_nothing_else() -> None:
    described = {(method.upper(), path) for path, item in DOCUMENT["paths"].items() for method in item}
    assert described == {(route.method, route.pattern) for route in ROUTES}


def test_references_lead_somewhere_and_every_schema_is_used() -> None:
    targets = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert references(DOCUMENT) == targets


def test_operations_have_names_of_their_own() -> None:
    """A generator makes functions of them."""
    names = [operation["operationId"] for item in DOCUMENT["paths"].values() for operation in item.values()]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() for name in names)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.pattern}")
def test_an_operation_is_complete(route: Any) -> None:
    """Parameters of the path, the body, the answer, and only codes that exist."""
    operation = DOCUMENT["paths"][route.pattern][route.method.lower()]
    parameters = operation.get("parameters", [])
    assert [entry["name"] for entry in parameters if entry["in"] == "path"] == re.findall(r"{(\w+)}", route.pattern)
    assert [entry["name"] for entry in parameters if entry["in"] == "query"] == [entry.name for entry in route.query]
    assert ("requestBody" in operation) == (route.body is not None)
    assert str(route.status) in operation["responses"]
    assert operation["summary"]
    for status, response in operation["responses"].items():
        if "application/problem+json" in response.get("content", {}):
            codes = re.findall(r"[a-z]+(?:-[a-z]+)+|internal|unreachable", response["description"])
            assert status == "default" or {CODES[code].status for code in codes} == {int(status)}
