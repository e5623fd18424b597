"""Log lines: one a fact, as text or JSON, with the request and run that each is about. No secret is ever given to a
logger, so none needs hiding here."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime

from export_contract.logs import FORMATS, About, Line

_about: ContextVar[About | None] = ContextVar("about", default=None)
"""Of the asyncio task at hand; each has its own."""


def concerning(request: object = "", run: str = "") -> None:
    """What the present task logs from now on is about this request, `namespace/name`, and this run; so is what tasks
    log that it makes."""
    _about.set(About(str(request), run))


def about(request: object = "", run: str = "") -> Mapping[str, About]:
    """The `extra` of one line that is about another request or run than its task."""
    return {"about": About(str(request), run)}


class LineFormatter(logging.Formatter):
    """Renders records as lines of `export_contract.logs`."""

    def __init__(self, render: Callable[[Line], str]) -> None:
        super().__init__()
        self._render = render

    def format(self, record: logging.LogRecord) -> str:
        return self._render(
            Line(
                time=datetime.fromtimestamp(record.created, UTC),
                level=record.levelname,
                logger=record.name,
                message=record.getMessage(),
                about=getattr(record, "about", None) or _about.get() or About(),
                exception=self.formatException(record.exc_info) if record.exc_info else "",
            )
        )


def configure(log_format: str, level: str) -> None:
    """Log to stdout. kopf's own lines about events and watches are of interest only at DEBUG."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(LineFormatter(FORMATS[log_format]))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("botocore").setLevel(logging.INFO)  # at DEBUG it tells signatures, and so links
    if level != "DEBUG":
        logging.getLogger("kopf").setLevel(logging.WARNING)
        logging.getLogger("aiohttp").setLevel(logging.WARNING)
