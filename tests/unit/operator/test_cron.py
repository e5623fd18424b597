"""Times of a schedule, against what the clock on the wall shows minute by minute."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from export_operator.domain.cron import ScheduleError, read_schedule

pytestmark = pytest.mark.unit

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
HOURS, DAYS = frozenset(range(24)), frozenset(range(7))
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
# Leaps of an hour and of half an hour, at night and at midnight, on either half of the earth; a day that was left out.
ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Santiago",
    "America/Havana",
    "Africa/Cairo",
    "Asia/Beirut",
    "Pacific/Chatham",
    "Asia/Kathmandu",
    "UTC",
)


def leaps(zone: str) -> list[datetime]:
    """The hours of 2026 in which the zone's clock is set; the year's begin, where it never is."""
    tz = ZoneInfo(zone)
    hours = [BEGIN + timedelta(hours=number) for number in range(365 * 24)]
    return [
        hour
        for hour in hours
        if hour.astimezone(tz).utcoffset() != (hour + timedelta(hours=1)).astimezone(tz).utcoffset()
    ] or [BEGIN]


LEAPS = {zone: leaps(zone) for zone in ZONES}


@dataclass(frozen=True)
class Given:
    """A schedule by its sets, where its clock is set, and when somebody looks."""

    minutes: frozenset[int]
    hours: frozenset[int]
    weekdays: frozenset[int]
    zone: str
    begin: datetime

    @property
    def text(self) -> str:
        return f"{self._field(self.minutes, 60)} {self._field(self.hours, 24)} * * {self._field(self.weekdays, 7)}"

    @staticmethod
    def _field(numbers: frozenset[int], of: int) -> str:
        if len(numbers) == of:
            return "*"
        step = min(numbers - {0}, default=of)
        if numbers == frozenset(range(0, of, step)) and step < of:
            return f"*/{step}"
        return ",".join(map(str, sorted(numbers)))

    def expected(self, end: datetime) -> list[datetime]:
        """By looking at the wall each minute. Within the hours that are named each time comes once: when the clock
        first shows it or has passed it. If all hours are, each minute that shows one of the minutes."""
        tz = ZoneInfo(self.zone)
        early = self.begin.replace(second=0, microsecond=0) - 2 * DAY
        moments = [early + number * MINUTE for number in range(int((end - early) / MINUTE) + 1)]
        walls = [moment.astimezone(tz).replace(tzinfo=None) for moment in moments]
        found: set[datetime] = set()
        if len(self.hours) == 24:
            found = {moment for moment, wall in zip(moments, walls, strict=True) if self._names(wall)}
        else:
            shown = walls[0]
            for moment, wall in zip(moments, walls, strict=True):
                while shown < wall:
                    shown += MINUTE
                    if self._names(shown):
                        found.add(moment)
        return sorted(moment for moment in found if self.begin < moment <= end)

    def _names(self, wall: datetime) -> bool:
        return wall.minute in self.minutes and wall.hour in self.hours and wall.isoweekday() % 7 in self.weekdays


def numbers(of: int) -> st.SearchStrategy[frozenset[int]]:
    """A few numbers, every so many-th, or all."""
    few = st.frozensets(st.integers(0, of - 1), min_size=1, max_size=4)
    every = st.sampled_from([2, 3, 5, 6, 12, 15]).map(lambda step: frozenset(range(0, of, min(step, of))))
    return few | every | st.just(frozenset(range(of)))


@st.composite
def schedules(draw: st.DrawFn) -> Given:
    zone = draw(st.sampled_from(ZONES))
    leap = draw(st.sampled_from(LEAPS[zone]))
    return Given(
        draw(numbers(60)),
        draw(numbers(24)),
        draw(st.just(DAYS) | numbers(7)),
        zone,
        leap + timedelta(seconds=draw(st.integers(-24 * 3600, 5 * 3600))),
    )


@settings(deadline=None, max_examples=100)
@example(Given(frozenset({30}), HOURS, DAYS, "Australia/Lord_Howe", datetime(2026, 4, 4, 14, tzinfo=UTC)))
@given(schedules())
def test_each_time_on_the_wall_comes_once_whatever_the_clock_does(case: Given) -> None:
    end = case.begin + DAY
    found = takewhile(lambda time: time <= end, read_schedule(case.text, case.zone).after(case.begin))
    assert list(found) == case.expected(end)


@settings(deadline=None, max_examples=100)
@example(Given(frozenset({30}), HOURS, DAYS, "Australia/Lord_Howe", datetime(2026, 4, 4, 14, tzinfo=UTC)), 3599)
@given(schedules(), st.integers(0, 24 * 3600))
def test_it_makes_no_difference_where_one_looks_from(case: Given, seconds: int) -> None:
    cron = read_schedule(case.text, case.zone)
    middle, end = case.begin + timedelta(seconds=seconds), case.begin + DAY
    whole = list(takewhile(lambda time: time <= end, cron.after(case.begin)))
    first = list(takewhile(lambda time: time <= middle, cron.after(case.begin)))
    second = list(takewhile(lambda time: time <= end, cron.after(middle)))
    assert first + second == whole


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("schedule", ["@daily", "30 0 * * *", "30 2 * * *", "30 23 * * *"])
def test_every_day_of_the_year_has_its_time_once(zone: str, schedule: str) -> None:
    tz = ZoneInfo(zone)
    begin = datetime(2025, 12, 31, 23, 59, tzinfo=tz)
    found = [time.astimezone(tz).date() for time in islice(read_schedule(schedule, zone).after(begin), 365)]
    assert found == [BEGIN.date() + number * DAY for number in range(365)]


def next_of(schedule: str, zone: str, moment: str, count: int = 1) -> list[str]:
    found = read_schedule(schedule, zone).after(datetime.fromisoformat(moment))
    return [time.strftime("%Y-%m-%dT%H:%MZ") for time in islice(found, count)]


@pytest.mark.parametrize(
    ("schedule", "zone", "after", "times"),
    [
        ("30 2 * * 1-5", "", "2026-11-27T03:00:00Z", ["2026-11-30T02:30Z"]),
        ("@hourly", "", "2026-11-27T03:00:00Z", ["2026-11-27T04:00Z"]),
        ("@weekly", "UTC", "2026-11-27T03:00:00Z", ["2026-11-29T00:00Z"]),
        ("@monthly", "Europe/Berlin", "2026-11-27T03:00:00Z", ["2026-11-30T23:00Z"]),
        ("0 6 L * ?", "", "2026-02-01T00:00:00Z", ["2026-02-28T06:00Z", "2026-03-31T06:00Z"]),
        ("0 6 LW * *", "", "2026-02-01T00:00:00Z", ["2026-02-27T06:00Z"]),
        ("0 6 * * mon#1", "", "2026-11-01T00:00:00Z", ["2026-11-02T06:00Z"]),
        ("0 6 * * 5L", "", "2026-11-01T00:00:00Z", ["2026-11-27T06:00Z"]),
        # The clock goes from 2:00 to 3:00, and in autumn from 3:00 to 2:00.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", ["2026-03-29T01:00Z", "2026-03-30T00:30Z"]),
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", ["2026-10-25T00:30Z", "2026-10-26T01:30Z"]),
        ("0 */2 * * *", "Europe/Berlin", "2026-03-28T22:30:00Z", ["2026-03-28T23:00Z", "2026-03-29T01:00Z"]),
        ("30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", ["2026-10-25T00:30Z", "2026-10-25T01:30Z"]),
        ("0 0 29 2 *", "", "2026-03-01T00:00:00Z", ["2028-02-29T00:00Z"]),
    ],
)
def test_times(schedule: str, zone: str, after: str, times: list[str]) -> None:
    assert next_of(schedule, zone, after, len(times)) == times


@pytest.mark.parametrize(
    ("schedule", "zone", "reason", "told"),
    [
        ("61 * * * *", "", "ScheduleInvalid", "spec.schedule: '61 * * * *' is no schedule (Bad minute)"),
        ("0 0 31 2 *", "", "ScheduleInvalid", "(Bad day-of-month)"),
        ("0 0 L 2 8", "", "ScheduleInvalid", "(Bad day-of-week)"),
        ("* * * *", "", "ScheduleInvalid", "(Wrong number of fields)"),
        ("0 * * * * *", "", "ScheduleInvalid", "(Wrong number of fields)"),
        ("@reboot", "", "ScheduleInvalid", "for example 30 2 * * 1-5"),
        ("@daily", "Mars/Olympus", "TimeZoneNotFound", "spec.timeZone: 'Mars/Olympus' is no time zone"),
        ("@daily", "Europe", "TimeZoneNotFound", "such as Europe/Berlin"),
        ("@daily", "../etc/passwd", "TimeZoneNotFound", "such as Europe/Berlin"),
    ],
)
def test_what_is_no_schedule_is_told_by_its_field(schedule: str, zone: str, reason: str, told: str) -> None:
    with pytest.raises(ScheduleError, match="spec") as caught:
        read_schedule(schedule, zone)
    assert caught.value.reason == reason
    assert told in str(caught.value)
