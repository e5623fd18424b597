"""When a schedule says that it is time: cron in a time zone, by CronSim.

A time that the clock leaps over comes at the leap, and one that it shows twice comes once, the first time. Schedules
for every hour come at each minute that shows what they name instead, whatever the clock does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from cronsim import CronSim, CronSimError

from export_operator.domain.model import EPOCH
from export_operator.domain.policy import find_zone

ALIASES: Mapping[str, str] = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
HOURS = set(range(24))
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)


class ScheduleError(ValueError):
    """There are no such times; `reason` is for programs, the message names the field and says what is allowed."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Cron:
    """A schedule that was read. `expression` is as CronSim takes it; `hourly` says that it names every hour."""

    expression: str
    zone: tzinfo
    hourly: bool

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Every time later than `moment`, in UTC, in order; it ends where 50 years hold none."""
        return self._by_the_hour(moment) if self.hourly else self._by_the_wall(moment)

    def _by_the_wall(self, moment: datetime) -> Iterator[datetime]:
        simulated = CronSim(self.expression, moment.astimezone(self.zone))
        last = moment
        # Where the clock goes back or leaps, CronSim may tell the same time twice, or one that has passed.
        while (found := next(simulated, None)) is not None:
            if (time := found.astimezone(UTC)) > last:
                last = time
                yield time

    def _by_the_hour(self, moment: datetime) -> Iterator[datetime]:
        """As long as the clock is not set it shows a fixed distance from UTC, and after that another."""
        last = moment.replace(microsecond=0)
        simulated = CronSim(self.expression, last.astimezone(self._fixed(last)))
        while (found := next(simulated, None)) is not None:
            if (leap := self._leap(last, found)) is not None:
                last = leap
                simulated = CronSim(self.expression, (leap - SECOND).astimezone(self._fixed(leap)))
            else:
                last = found
                yield found.astimezone(UTC)

    def _leap(self, start: datetime, end: datetime) -> datetime | None:
        """The first second after `start`, and not after `end`, at which the clock has been set."""
        while start < end:
            later = min(start + DAY, end)
            if self._fixed(later) != self._fixed(start):
                while later - start > SECOND:
                    middle = start + ((later - start) / 2 // SECOND) * SECOND
                    start, later = (middle, later) if self._fixed(middle) == self._fixed(start) else (start, middle)
                return later
            start = later
        return None

    def _fixed(self, moment: datetime) -> tzinfo:
        distance = moment.astimezone(self.zone).utcoffset()
        assert distance is not None, "every zone has one"
        return timezone(distance)


def read_schedule(schedule: str, time_zone: str) -> Cron:
    """Read `spec.schedule` and `spec.timeZone` ("" for UTC). Raises `ScheduleError`."""
    # UTC has no leaps, which CronSim knows of this one object alone.
    zone = UTC if time_zone in {"", "UTC"} else find_zone(time_zone)
    if zone is None:
        raise ScheduleError(
            "TimeZoneNotFound",
            f"spec.timeZone: {time_zone!r} is no time zone that is known here: use an IANA name, such as Europe/Berlin",
        )
    fields = ALIASES.get(schedule.strip(), schedule).replace("?", "*").split()
    try:
        if len(fields) != 5:
            raise CronSimError("Wrong number of fields")
        named = CronSim(" ".join(fields), EPOCH)
        # CronSim goes by the wall only if neither begins with a star, as Debian's cron does; its manual says as we do.
        starless = (fields[0].replace("*", "0-59"), fields[1].replace("*", "0-23"), *fields[2:])
        cron = Cron(" ".join(starless), zone, named.hours == HOURS)
    except CronSimError as error:
        raise ScheduleError(
            "ScheduleInvalid",
            f"spec.schedule: {schedule!r} is no schedule ({error}): write minute, hour, day of the month, month and day"
            " of the week, for example 30 2 * * 1-5",
        ) from None
    return cron
