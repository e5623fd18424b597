"""What is logged tells which request and run it is about, and at the finest level no link."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

import pytest

from export_contract import names
from export_operator import logs
from export_operator.adapters.storage import Bucket, make_client

from .builders import KEY, RUN
from .hand import Hand
from .world import Operator, World, settle

pytestmark = pytest.mark.unit

logger = logging.getLogger("export_operator")


@contextmanager
def logging_as(log_format: str, level: str) -> Iterator[io.StringIO]:
    """What the operator logs. What was set up before is so again afterwards."""
    root = logging.getLogger()
    before, level_before = root.handlers[:], root.level
    shown = io.StringIO()
    with redirect_stdout(shown):
        logs.configure(log_format, level)
    try:
        yield shown
    finally:
        root.handlers[:] = before
        root.setLevel(level_before)


async def test_a_link_that_is_signed_is_not_logged() -> None:
    with logging_as("text", "DEBUG") as log:
        client = make_client(
            {"bucket": "exports", "endpoint": "http://s3.svc"}, ("access", "secret", None), verify=True
        )
        (url,) = await Bucket(client, "exports").presign(["one"], 60)
        client.close()
        logging.getLogger("export_operator").debug("this shows")
    signature = url.rpartition("X-Amz-Signature=")[2]
    assert len(signature) == 64
    assert "this shows" in log.getvalue()
    assert signature not in log.getvalue()
    assert "X-Amz" not in log.getvalue()


def test_each_line_about_a_request_says_which_and_which_run_and_trace() -> None:
    with logging_as("json", "INFO") as shown:
        world, hand = World(), Hand()
        world.apply(KEY)
        operator = settle(world, Operator(world, hand), hand)
        (name,) = world.jobs
        world.start(name)
        world.deliver(name)
        settle(world, operator, hand)
    lines = [json.loads(line) for line in shown.getvalue().splitlines()]
    assert [line["message"].partition(":")[0] for line in lines] == [
        "Pending (PodStarting)",
        "Succeeded (Delivered)",
    ]
    run = world.status(KEY)["run"]
    marks = {"request": "team-a/users-2026-11", "run": run, "trace_id": names.trace_id(run)}
    assert [line | marks for line in lines] == lines


async def test_what_tasks_log_at_once_is_about_the_request_of_each() -> None:
    async def work(name: str, turn: asyncio.Event, then: asyncio.Event) -> None:
        logs.concerning(name)
        await turn.wait()
        logger.info("at work")
        then.set()

    logs.concerning()
    first, second, done = asyncio.Event(), asyncio.Event(), asyncio.Event()
    with logging_as("json", "INFO") as shown:
        async with asyncio.TaskGroup() as group:
            group.create_task(work("team-a/late", second, done))
            group.create_task(work("team-b/early", first, second))
            await asyncio.sleep(0)
            first.set()
        logger.info("of nobody")
        logger.info("of another", extra=logs.about("team-c/other", RUN))
    found = [json.loads(line) for line in shown.getvalue().splitlines()]
    assert [(line["message"], line.get("request"), line.get("run")) for line in found] == [
        ("at work", "team-b/early", None),
        ("at work", "team-a/late", None),
        ("of nobody", None, None),
        ("of another", "team-c/other", RUN),
    ]


def test_as_json_a_bug_is_one_line() -> None:
    with logging_as("json", "INFO") as shown:
        try:
            raise ValueError("odd")
        except ValueError:
            logger.exception("a bug")
    (line,) = shown.getvalue().splitlines()
    assert json.loads(line)["exception"].endswith("ValueError: odd")
