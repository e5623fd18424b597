"""Which of the notifications that were given up are sent again, and how one asks for it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

import pytest

from export_operator.adapters.kube import ApiError
from export_operator.commands import notifications as command
from export_operator.domain.channels import Channel, Event
from export_operator.domain.model import ANNOTATION_RESEND
from export_operator.domain.notifications import Notification
from export_operator.domain.outbox import Box, Dead, Outbox
from export_operator.domain.resend import Wish, wanted, wish_of

from .builders import NOW, later

pytestmark = pytest.mark.unit

FOUND = Notification("run-succeeded", Event.SUCCEEDED, NOW, NOW, {"namespace": "team-a", "name": "users"})
DEAD = Dead("2026-11-24T12:00:00Z", "default/ops", "run-succeeded", "team-a/users", "HTTP 400", FOUND)
OLD = Dead("2026-11-24T11:00:00Z", "default/ops", "old-failed", "team-a/old", "HTTP 413")
GONE = Dead("2026-11-24T12:00:05Z", "default/gone", "run-succeeded", "team-a/users", "HTTP 404", FOUND)
OTHER = Dead("2026-11-24T12:00:05Z", "other/ops", "run-succeeded", "team-a/users", "HTTP 400", FOUND)
CHANNELS = {"default/ops": Channel("default", "ops", "Webhook", "ops", frozenset())}
POLICY = "/apis/export-operator.io/v1alpha1/exportpolicies/default"


def policy(annotation: str | None) -> dict[str, Any]:
    annotations = {} if annotation is None else {ANNOTATION_RESEND: annotation}
    channels = [{"name": "ops", "type": "Webhook", "secretRef": {"name": "ops"}}]
    return {
        "metadata": {"name": "default", "annotations": annotations},
        "spec": {"notifications": {"channels": channels}},
    }


@pytest.mark.parametrize("wish", [Wish(NOW), Wish(NOW, ("ops", "mail"))])
def test_what_is_asked_for_is_read_as_it_was_written(wish: Wish) -> None:
    assert wish_of(policy(wish.render())) == wish


@pytest.mark.parametrize("annotation", [None, "", "yes", "ops"])
def test_who_names_no_moment_asks_for_nothing(annotation: str | None) -> None:
    assert wish_of(policy(annotation)) is None


@pytest.mark.parametrize(
    ("dead", "wishes", "expected"),
    [
        (DEAD, {"default": Wish(NOW)}, True),
        (DEAD, {"default": Wish(NOW, ("ops",))}, True),
        (DEAD, {"default": Wish(NOW, ("mail",))}, False),
        (DEAD, {"other": Wish(NOW)}, False),
        (DEAD, {"default": Wish(later(-1))}, False),
        (DEAD, {"default": Wish(later(61))}, False),
        (GONE, {"default": Wish(later(10))}, False),
    ],
    ids=["all", "its channel", "another channel", "another policy", "given up later", "not yet", "no such channel"],
)
def test_what_is_sent_again(dead: Dead, wishes: Mapping[str, Wish], expected: bool) -> None:
    assert wanted(dead, CHANNELS, wishes, later(60)) is expected


class Policies:
    """An API server with one policy; what it was patched with."""

    def __init__(self) -> None:
        self.patched: list[tuple[str, Mapping[str, Any]]] = []

    async def get(self, path: str) -> dict[str, Any]:
        if path != POLICY:
            raise ApiError(404, "NotFound", path)
        return policy(None)

    async def patch(self, path: str, body: Mapping[str, Any]) -> None:
        self.patched.append((path, body))


def options(**changes: Any) -> argparse.Namespace:
    given = {"policy": "default", "channel": [], "dry_run": False, "output": "text"}
    return argparse.Namespace(**given | changes)


def outbox(*dead: Dead) -> Outbox:
    made = Outbox({"default/ops": Box(NOW), "other/ops": Box(NOW)})
    made.boxes["default/ops"].counts["delivered"] = 1234
    assert made.add(FOUND, "default/ops", NOW)
    made.dead.extend(dead)
    return made


async def test_the_command_asks_for_all_that_was_given_up_so_far_and_says_what_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    api = Policies()
    code = await command.resend(api, outbox(OLD, DEAD, GONE, OTHER), options())  # type: ignore[arg-type]
    assert (code, api.patched) == (
        1,
        [(POLICY, {"metadata": {"annotations": {ANNOTATION_RESEND: "2026-11-24T12:00:00Z"}}})],
    )
    told = capsys.readouterr().out
    assert "1 notification will be sent again within 15 seconds; 2 cannot be." in told
    assert "  old-failed for default/ops: an older release did not keep it\n" in told
    assert "  run-succeeded for default/gone: its channel is gone\n" in told
    assert "other/ops" not in told


@pytest.mark.parametrize(
    ("dead", "changes", "answer"),
    [
        ((), {}, "Nothing was given up.\n"),
        ((OTHER,), {}, "Nothing was given up.\n"),
        ((DEAD,), {"channel": ["mail"]}, "Nothing was given up.\n"),
        ((DEAD,), {"dry_run": True}, "1 notification would be sent again.\n"),
    ],
    ids=["none", "another policy's", "another channel's", "a trial"],
)
async def test_nothing_is_changed_when(
    dead: tuple[Dead, ...], changes: dict[str, Any], answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    api = Policies()
    assert await command.resend(api, outbox(*dead), options(**changes)) == 0  # type: ignore[arg-type]
    assert (api.patched, capsys.readouterr().out.endswith(answer)) == ([], True)


async def test_programs_get_what_is_sent_again_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    made = options(output="json", channel=["ops"])
    assert await command.resend(Policies(), outbox(DEAD), made) == 0  # type: ignore[arg-type]
    plain = {"time": DEAD.time, "channel": "default/ops", "id": DEAD.id, "event": "Succeeded"}
    resent = [plain | {"request": "team-a/users", "why": "HTTP 400"}]
    assert json.loads(capsys.readouterr().out) == {"dryRun": False, "resent": resent, "left": []}


def test_the_list_shows_channels_and_what_was_given_up(capsys: pytest.CaptureFixture[str]) -> None:
    command.show(outbox(DEAD, OTHER), "default", as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "CHANNEL       DELIVERED   FAILED   GIVEN UP   WAITING   SINCE",
        "default/ops   1,234       0        0          1         2026-11-24T12:00:00Z",
        "",
        "TIME                   CHANNEL       EVENT       REQUEST        WHY",
        "2026-11-24T12:00:00Z   default/ops   Succeeded   team-a/users   HTTP 400",
    ]
    command.show(outbox(DEAD), "", as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert ([each["channel"] for each in told["channels"]], told["givenUp"][0]["why"]) == (
        ["default/ops", "other/ops"],
        "HTTP 400",
    )
    command.show(Outbox(), "", as_json=False)
    assert capsys.readouterr().out == "No channel has told anything yet.\n"
