"""A line of a log, as operator and exporter write it: one a fact, as text for people or as JSON for log stores.

`trace_id` has the name that OpenTelemetry gives it in logs of other formats
(opentelemetry.io/docs/specs/otel/compatibility/logging_trace_context).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from export_contract import names

_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_TEXT = re.compile(
    r"\d{4}-\d\d-\d\dT[\d:.]+Z [A-Z]+ +[\w.-]+: (?P<message>.*?)(?: request=\S+)?(?: run=\S+ trace_id=[0-9a-f]{32})?"
)


@dataclass(frozen=True, slots=True)
class About:
    """What a line is about: a request as `namespace/name`, and one of its runs. Both may be empty."""

    request: str = ""
    run: str = ""

    def fields(self) -> dict[str, str]:
        """What of it is known, under the names that lines have for it."""
        found = {"request": self.request, "run": self.run, "trace_id": names.trace_id(self.run) if self.run else ""}
        return {name: value for name, value in found.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One fact. `level` is that of Python's logging; `exception` a traceback, over several lines."""

    time: datetime
    level: str
    logger: str
    message: str
    about: About = About()
    exception: str = ""

    def to_json(self) -> str:
        """One line, whatever is in the message."""
        fields = {
            "time": _moment(self.time),
            "level": self.level.lower(),
            "logger": self.logger,
            "message": self.message,
            **self.about.fields(),
        }
        if self.exception:
            fields["exception"] = self.exception
        return _encodable(json.dumps(fields, ensure_ascii=False))

    def to_text(self) -> str:
        """One line, and the traceback below it if there is one. What would steer a terminal or begin a line of its own
        is shown as Python writes it."""
        message = _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), self.message)
        marks = "".join(f" {name}={value}" for name, value in self.about.fields().items())
        text = f"{_moment(self.time)} {self.level:<7} {self.logger}: {message}{marks}"
        return _encodable(f"{text}\n{self.exception}" if self.exception else text)


FORMATS: dict[str, Callable[[Line], str]] = {"text": Line.to_text, "json": Line.to_json}


def message_of(line: str) -> str | None:
    """The message of a line of either form; None when it is none."""
    if line.startswith("{"):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            return None
        message = found.get("message") if "logger" in found else None
        return message if isinstance(message, str) else None
    text = _TEXT.fullmatch(line)
    return text["message"] if text else None


def _moment(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _encodable(text: str) -> str:
    """Half of a surrogate pair has no bytes."""
    return text.encode("utf-8", "backslashreplace").decode()
