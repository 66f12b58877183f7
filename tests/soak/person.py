"""Somebody who works at one device, come what may, and remembers what was acknowledged."""

from __future__ import annotations

import random
import threading
from typing import Any

from peerd.control.client import Client, Problem, path
from peerd.errors import PeerdError
from tests.support.daemons import Device

SPACE = "home"
OWN = 150  # records that nobody else writes
SHARED = 20  # records that everybody writes
BLOB_BYTES = 300
REFUSED = frozenset({503, 507})  # nothing was written

Value = dict[str, Any]


class Person:
    """Writes to `device` until told to stop: records of their own, and some that everybody writes.

    `may_be` has for each own key what it may be in the end: one value, or two if an answer never came; None is "no
    such record". `said` has every value that may stand in a shared record.
    """

    def __init__(self, device: Device, seed: int, pause_s: float) -> None:
        self.device = device
        self.may_be: dict[str, list[Value | None]] = {}
        self.said: set[str] = set()
        self.acknowledged = 0
        self.failures: list[str] = []
        self._chance = random.Random(seed)
        self._pause_s = pause_s
        self._number = 0
        self._deletes = True
        self._working = threading.Event()
        self._resting = threading.Event()
        self._stop = threading.Event()
        self._working.set()
        self._thread = threading.Thread(target=self._run, name=device.name)
        self._thread.start()

    def rest(self) -> None:
        """Write nothing until `work`. What is being written comes to its end first."""
        self._resting.clear()
        self._working.clear()
        self._resting.wait()

    def work(self, *, deletes: bool = True) -> None:
        """Without `deletes` records are written only: as long as the device may lack what was acknowledged here, a
        delete means what it has, and not what it had.
        """
        self._deletes = deletes
        self._working.set()

    def stop(self) -> None:
        self._stop.set()
        self._working.set()
        self._thread.join()

    def _run(self) -> None:
        with Client(str(self.device.socket), timeout_s=30) as client:
            while not self._stop.is_set():
                if not self._working.is_set():
                    self._resting.set()
                    self._working.wait()
                    continue
                self._write_something(client)
                self._stop.wait(self._pause_s)
        self._resting.set()

    def _write_something(self, client: Client) -> None:
        self._number += 1
        if self._chance.random() < 0.3:
            self._write_shared(client)
        else:
            self._write_own(client)

    def _write_own(self, client: Client) -> None:
        key = f"{self.device.name}-{self._chance.randrange(OWN)}"
        before = self.may_be.get(key, [None])
        record = path("spaces", SPACE, "records", "own", key)
        value: Value | None = {"n": self._number, "blob": self._chance.randbytes(BLOB_BYTES // 2).hex()}
        method, body = "PUT", value
        if self._deletes and before != [None] and self._chance.random() < 0.3:
            method, body, value = "DELETE", None, None
        try:
            client.call(method, record, body=body)
        except Problem as problem:
            if problem.status == 404 and method == "DELETE" and None in before:
                self.may_be[key] = [None]
            elif problem.status not in REFUSED:
                self.failures.append(f"{self.device.name}: {method} {key}: {problem}")
        except PeerdError:  # it is dead at the moment, and may have written it or not
            self.may_be[key] = [*before, *(one for one in [value] if one not in before)]
        else:
            self.may_be[key] = [value]
            self.acknowledged += 1

    def _write_shared(self, client: Client) -> None:
        word = f"{self.device.name}-{self._number}"
        self.said.add(word)
        key = f"s{self._chance.randrange(SHARED)}"
        record = path("spaces", SPACE, "records", "shared", key)
        try:
            if self._chance.random() < 0.1:
                client.call("DELETE", record)
            else:
                client.call("PUT", record, body={f"f{self._chance.randrange(3)}": word})
        except Problem as problem:
            if problem.status not in REFUSED | {404}:
                self.failures.append(f"{self.device.name}: shared {key}: {problem}")
        except PeerdError:
            pass
        else:
            self.acknowledged += 1
