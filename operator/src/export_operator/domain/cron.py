"""When a schedule says that it is time: cron in a time zone, by CronSim.

A time that the clock leaps over comes at the leap, and one that it shows twice comes once, the first time. Schedules
for every hour go by the hours that pass instead: they come each hour, whatever the clock does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

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


class ScheduleError(ValueError):
    """There are no such times; `reason` is for programs, the message names the field and says what is allowed."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Cron:
    """A schedule that was read. `expression` is as CronSim takes it."""

    expression: str
    zone: tzinfo

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Every time later than `moment`, in UTC, in order; it ends where 50 years hold none."""
        simulated = CronSim(self.expression, moment.astimezone(self.zone))
        last = moment
        # Where the clock goes back or leaps, CronSim may tell the same time twice, or one that has passed.
        while (found := next(simulated, None)) is not None:
            if (time := found.astimezone(UTC)) > last:
                last = time
                yield time


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
        cron = Cron(_by_the_hour(*fields), zone)
    except CronSimError as error:
        raise ScheduleError(
            "ScheduleInvalid",
            f"spec.schedule: {schedule!r} is no schedule ({error}): write minute, hour, day of the month, month and day"
            " of the week, for example 30 2 * * 1-5",
        ) from None
    if next(cron.after(EPOCH), None) is None:
        raise ScheduleError("ScheduleInvalid", f"spec.schedule: {schedule!r} names a day that never comes")
    return cron


def _by_the_hour(minute: str, hour: str, *days: str) -> str:
    """The expression, such that CronSim goes by the hours that pass if all hours are named, and by the clock on the
    wall if not. As Debian's cron it looks for a leading star only, though its manual says as this does. Raises
    `CronSimError`."""
    if CronSim(" ".join((minute, hour, *days)), EPOCH).hours == HOURS:
        hour = "*"
    else:
        minute, hour = minute.replace("*", "0-59"), hour.replace("*", "0-23")
    return " ".join((minute, hour, *days))
