"""When a bound file is harvested, and when it is projected to.

An application that types a letter at a time should not make a transaction of each, and one that never stops should
not be waited for; a person looking at another screen should see a change at once. So both directions wait for a moment
of quiet, and only so long:

    harvest   10 ms after the last event of the file, at most 100 ms after the first
    project   10 ms after the last commit of the space, and while nobody reads the file; at most 2 s after the first

In a busy file, where our locks were in the way of others for more than their share of the time (`budget`), both wait
until that is made up for, at most 2 s after the first event. Where our reading is in the way too, as it is without a
WAL, a harvest also waits for those who read or write, as long as that.

    what is known                    then
    ------------------------------   ---------------------------------------------------------------
    trouble                          nothing before the retry, after a pause that doubles from 0.5 to 60 s
    the file changed, quiet          harvest: always before a projection, which would find it dirty; where our reading
                                     disturbs and somebody is at the file, look again 10 ms later
    somebody is still writing        harvest again, after a pause that doubles from 10 ms to 1 s
    the file changed a second ago    harvest once more
    the space moved, quiet           project; while somebody reads, look again 10 ms later
    the file shows it already        write that down two seconds later, or with the next projection
    nothing                          sleep until told

In WAL mode the last event of a commit comes before others can see it: in between lies the sync, which may take long on
a busy disk. So a look while somebody holds the lock of writers is no last look; and since the system does not always
tell of locks, a second later there is one more. Harvesting what a projection wrote finds nothing, so an event of our
own making costs two looks. Times are seconds of
a monotonic clock, given by the caller. Where the system tells nothing of a file, the watch says once a second that it
may have changed.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from peerd.core.backoff import doubling_s
from peerd.core.tables.budget import Budget

QUIET_S = 0.010
HARVEST_AT_MOST_S = 0.100
PROJECT_AT_MOST_S = 2.0
BUSY_AT_MOST_S = 2.0
WRITING_AT_MOST_S = 1.0
LATER_S = 1.0
KEEP_LATER_S = 2.0
RETRY_FIRST_S = 0.5
RETRY_AT_MOST_S = 60.0


def _no() -> bool:
    return False


class Step(Enum):
    SLEEP = "sleep"
    HARVEST = "harvest"
    PROJECT = "project"
    KEEP = "keep"  # write down what the file shows already
    RETRY = "retry"  # check the file and do all there is to do


class _Work:
    """Something that waits for quiet, but not for ever."""

    def __init__(self, at_most_s: float, budget: Budget) -> None:
        self._at_most_s = at_most_s
        self._budget = budget
        self._first_s: float | None = None
        self._last_s = 0.0

    @property
    def waits(self) -> bool:
        return self._first_s is not None

    def heard(self, now_s: float) -> None:
        if self._first_s is None:
            self._first_s = now_s
        self._last_s = now_s

    def done(self) -> None:
        self._first_s = None

    @property
    def latest_s(self) -> float:
        """However busy the file is."""
        return (self._first_s or 0.0) + BUSY_AT_MOST_S

    @property
    def due_s(self) -> float:
        quick_s = min(self._last_s + QUIET_S, (self._first_s or 0.0) + self._at_most_s)
        return min(max(quick_s, self._budget.ready_s), self.latest_s)


class Schedule:
    """Told what happened, it says what to do now and when to ask again."""

    def __init__(self) -> None:
        self.forced = 0  # projections that no longer waited for a reader
        self.reading_disturbs = False  # others cannot write while we read
        self._budget = Budget()
        self._harvest = _Work(HARVEST_AT_MOST_S, self._budget)
        self._project = _Work(PROJECT_AT_MOST_S, self._budget)
        self._retry_s: float | None = None
        self._failures = 0
        self._look_again_s = 0.0
        self._harvest_again_s = 0.0
        self._waited_since_s: float | None = None  # for others, with a look
        self._writing_s: float | None = None  # when to harvest again, because somebody was writing
        self._writing_pause_s = 0.0
        self._later_s: float | None = None
        self._keep_s: float | None = None

    # ---- what happened

    def file_changed(self, now_s: float) -> None:
        self._harvest.heard(now_s)
        self._later_s = now_s + LATER_S

    def space_moved(self, now_s: float) -> None:
        self._project.heard(now_s)

    def was_in_the_way(self, now_s: float, seconds: float) -> None:
        """For so long, others could not use the file because of us."""
        self._budget.spend(now_s, seconds)

    def shown_already(self, now_s: float) -> None:
        """What the space has is to be seen in the file, which does not know how far that goes."""
        if self._keep_s is None:
            self._keep_s = now_s + KEEP_LATER_S

    def kept(self) -> None:
        """The file knows."""
        self._keep_s = None

    def failed(self, now_s: float) -> None:
        """What was tried met trouble."""
        self._retry_s = now_s + doubling_s(RETRY_FIRST_S, RETRY_AT_MOST_S, self._failures)
        self._failures += 1

    def try_at_once(self, now_s: float) -> None:
        """Nothing is known of the file yet: a retry is due, though nothing failed."""
        self._retry_s = now_s

    def try_now(self, now_s: float) -> None:
        """Something about the file changed: no need to wait for the retry."""
        if self._retry_s is not None:
            self._retry_s = min(self._retry_s, now_s + QUIET_S)

    def succeeded(self) -> None:
        self._failures = 0
        self._retry_s = None

    # ---- what to do

    def step(self, now_s: float, is_read: Callable[[], bool] = _no, is_written: Callable[[], bool] = _no) -> Step:
        """What to do now; taking it is doing it: the same is due again when something new is heard. `is_read` and
        `is_written` are asked when it matters whether somebody else is reading the file, or writing to it.
        """
        if self._retry_s is not None:
            if now_s < self._retry_s:
                return Step.SLEEP
            self._retry_s = None
            self._harvest.done()
            self._project.done()
            self._later_s = None
            self._expect_more(now_s, is_written)
            return Step.RETRY
        if now_s >= min(self._looks(), default=now_s + 1):
            if self.reading_disturbs and self._lets_others(now_s, is_read):
                return Step.SLEEP
            self._harvest.done()
            self._expect_more(now_s, is_written)
            return Step.HARVEST
        if self._project.waits and now_s >= max(self._project.due_s, self._look_again_s):
            return self._projection(now_s, is_read)
        if self._keep_s is not None and now_s >= self._keep_s:
            if is_read():
                self._keep_s = now_s + KEEP_LATER_S  # nobody waits for it
                return Step.SLEEP
            self._keep_s = None
            return Step.KEEP
        return Step.SLEEP

    def _looks(self) -> list[float]:
        """When to look for changes of the application."""
        due_s = self._harvest.due_s if self._harvest.waits else None
        return [max(one, self._harvest_again_s) for one in (due_s, self._writing_s, self._later_s) if one is not None]

    def _lets_others(self, now_s: float, is_read: Callable[[], bool]) -> bool:
        """Somebody is at the file, and there is time left to wait for them."""
        if self._waited_since_s is None:
            self._waited_since_s = now_s
        latest_s = self._harvest.latest_s if self._harvest.waits else self._waited_since_s + BUSY_AT_MOST_S
        if now_s < latest_s and is_read():
            self._harvest_again_s = min(now_s + QUIET_S, latest_s)
            return True
        self._waited_since_s, self._harvest_again_s = None, 0.0
        return False

    def _expect_more(self, now_s: float, is_written: Callable[[], bool]) -> None:
        if self._later_s is not None and now_s >= self._later_s:
            self._later_s = None
        if is_written():
            self._writing_pause_s = min(WRITING_AT_MOST_S, max(QUIET_S, 2 * self._writing_pause_s))
            self._writing_s = now_s + self._writing_pause_s
        else:
            self._writing_s, self._writing_pause_s = None, 0.0

    def _projection(self, now_s: float, is_read: Callable[[], bool]) -> Step:
        if is_read():
            if now_s < self._project.latest_s:
                self._look_again_s = min(now_s + QUIET_S, self._project.latest_s)
                return Step.SLEEP
            self.forced += 1
        self._look_again_s = 0.0
        self._project.done()
        return Step.PROJECT

    def wake_s(self) -> float | None:
        """When to ask for a step again if nothing happens before; None: never."""
        if self._retry_s is not None:
            return self._retry_s
        times = self._looks()
        if self._project.waits:
            times.append(max(self._project.due_s, self._look_again_s))
        if self._keep_s is not None:
            times.append(self._keep_s)
        return min(times, default=None)

    @property
    def is_busy(self) -> bool:
        """Is anything left to do that is known of? Not a look that is only a precaution, nor writing
        down what is shown.
        """
        return self._harvest.waits or self._project.waits or self._retry_s is not None or self._writing_s is not None
