"""What a key has used in windows that people see: days, weeks and months in UTC."""

from __future__ import annotations

import time
from calendar import timegm
from dataclasses import dataclass, fields
from functools import lru_cache
from operator import attrgetter

from routeur.store.base import SPENT, Balance, Reset

DAY = 86400  # seconds
MONDAY = 3  # days from the Monday before 1970, which began on a Thursday

Periods = tuple[int, int, int]  # days, weeks and months since 1970


def periods(at: float) -> Periods:
    """The windows that hold a moment: they begin at 00:00, on Mondays and on the 1st."""
    return _of_day(int(at) // DAY)


@lru_cache(maxsize=64)
def _of_day(day: int) -> Periods:
    date = time.gmtime(day * DAY)
    return day, (day + MONDAY) // 7, (date.tm_year - 1970) * 12 + date.tm_mon - 1


def end(reset: Reset, when: Periods) -> int:
    """The moment at which such a window is over."""
    day, week, month = when
    match reset:
        case "daily":
            return (day + 1) * DAY
        case "weekly":
            return ((week + 1) * 7 - MONDAY) * DAY
        case "monthly":
            years, months = divmod(month + 1, 12)
            return timegm((1970 + years, months + 1, 1, 0, 0, 0))


@dataclass(slots=True)
class Account:
    """A key's sums. A clock that goes back opens no window again: the latest one seen stays."""

    usage: int = 0
    day: int = 0
    usage_daily: int = 0
    week: int = 0
    usage_weekly: int = 0
    month: int = 0
    usage_monthly: int = 0
    reserved: int = 0
    parallel: int = 0

    def roll(self, now: float) -> None:
        """Begin new windows where the old ones are over."""
        day, week, month = periods(now)
        if day > self.day:
            self.day, self.usage_daily = day, 0
        if week > self.week:
            self.week, self.usage_weekly = week, 0
        if month > self.month:
            self.month, self.usage_monthly = month, 0

    def charge(self, micro: int) -> None:
        self.usage += micro
        self.usage_daily += micro
        self.usage_weekly += micro
        self.usage_monthly += micro

    def take_back(self, micro: int, charged: Periods, instead: int) -> None:
        """Undo a charge of those windows, as there will be another one instead.

        A window that has ended stays as it was: it had room for the call, which the one after it
        may not have, so that the other charge will not count there.
        """
        day, week, month = charged
        self.usage -= micro
        self.usage_daily -= micro if day == self.day else instead
        self.usage_weekly -= micro if week == self.week else instead
        self.usage_monthly -= micro if month == self.month else instead

    def balance(self) -> Balance:
        return Balance(
            self.usage,
            self.usage_daily,
            self.usage_weekly,
            self.usage_monthly,
            self.reserved,
            self.parallel,
        )

    @property
    def windows(self) -> Periods:
        return self.day, self.week, self.month

    def spent(self, reset: Reset | None) -> int:
        """What counts against a limit that is reset so."""
        used: int = getattr(self, SPENT[reset])
        return used

    def row(self) -> tuple[int, ...]:
        return _row(self)


_row = attrgetter(*[field.name for field in fields(Account)])
