"""The times that a window counts: the last so many seconds, or a calendar day of a time zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

MAX_WINDOW = timedelta(days=31)  # the longest window a policy may ask for: what is older can count nowhere


@dataclass(frozen=True, slots=True)
class Sliding:
    """What was used within `length` before now counts."""

    length: timedelta

    def begins(self, now: datetime) -> datetime:
        """The earliest moment that counts at `now`."""
        return now - self.length + datetime.resolution

    def leaves(self, moment: datetime) -> datetime:
        """When something used at `moment` no longer counts."""
        return moment + self.length

    def __str__(self) -> str:
        return f"within {self.length.total_seconds() / 3600:g} h"


@dataclass(frozen=True, slots=True)
class CalendarDay:
    """What was used since the day began in `zone` counts. A day has 23, 24 or 25 hours, as the zone's law has it."""

    zone: ZoneInfo

    def begins(self, now: datetime) -> datetime:
        """The earliest moment that counts at `now`."""
        return self._midnight(now, 0)

    def leaves(self, moment: datetime) -> datetime:
        """When something used at `moment` no longer counts."""
        return self._midnight(moment, 1)

    def _midnight(self, moment: datetime, days: int) -> datetime:
        # A midnight that the clock leaps over is the moment of the leap (PEP 495, fold=0): the day begins there.
        day = moment.astimezone(self.zone).date() + timedelta(days=days)
        return datetime.combine(day, time(), self.zone).astimezone(UTC)

    def __str__(self) -> str:
        return f"in a day of {self.zone.key}"


Window = Sliding | CalendarDay
