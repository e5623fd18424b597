"""Which notifications follow from what a request's status says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.core.formats.json import JSONFormat

from export_operator.domain import times
from export_operator.domain.channels import ENDS, Channel, Event, all_channels, channels_of, unknown_names
from export_operator.domain.model import Named
from export_operator.domain.notifications import MAX_TEXT, Notification, due, turns_with_time

from .builders import KEY, NOW, RUN, SHA, UID, URI, later, spec

pytestmark = pytest.mark.unit

EVERY = [event.value for event in Event]
EFFECTIVE = {"policy": "default", "source": "app-db", "dataset": "users", "destination": "bucket"}


def channel(name: str = "ops", **changes: Any) -> dict[str, Any]:
    return {"name": name, "type": "Webhook", "secretRef": {"name": f"{name}-secret"}, "events": EVERY} | changes


def policy(*channels: Mapping[str, Any], **changes: Any) -> Mapping[str, Named]:
    section = {"channels": list(channels or (channel(),)), **changes}
    return {"default": Named("default", {"notifications": section})}


def document(status: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "namespace": KEY.namespace,
            "name": KEY.name,
            "uid": UID,
            "resourceVersion": "7",
            "creationTimestamp": times.render(NOW),
        },
        "spec": spec(**({"notify": ["ops"]} | changes)),
        "status": {"run": RUN, "runID": ""} | dict(status),
    }


def ended(phase: str = "Succeeded", reason: str = "Delivered", **changes: Any) -> dict[str, Any]:
    status = {
        "phase": phase,
        "reason": reason,
        "message": "delivered 100 rows (2048 bytes)",
        "completionTime": times.render(NOW),
        "effective": EFFECTIVE,
        "result": {"uri": URI, "rows": 100, "bytes": 2048, "sha256": SHA},
    }
    return document(status | changes)


def told(found: dict[str, Any], policies: Mapping[str, Named] | None = None, seconds: float = 1) -> list[Notification]:
    return [each for each, _ in due(found, policies or policy(), later(seconds))]


def events(found: dict[str, Any], policies: Mapping[str, Named] | None = None, seconds: float = 1) -> list[str]:
    return [each.event.value for each in told(found, policies, seconds)]


@pytest.mark.parametrize("phase", ["Succeeded", "PartiallySucceeded", "Failed", "Rejected", "Cancelled"])
def test_each_end_is_told_with_an_id_of_its_run_and_event(phase: str) -> None:
    (found,) = told(ended(phase))
    assert (found.id, found.event, found.time) == (f"{RUN}-{phase.lower()}", phase, NOW)


def test_what_has_happened_is_found_again_with_the_same_id_and_the_same_bytes() -> None:
    (first,), (later_on,) = told(ended()), told(ended(), seconds=10_000)
    assert first == later_on
    assert first.cloud_event() == later_on.cloud_event()


def test_a_request_that_is_kept_as_expired_tells_nothing_new() -> None:
    (before,) = told(ended())
    complete = {"type": "Complete", "status": "True"}
    (after,) = told(ended("Expired", "TTLExpired", conditions=[complete]))
    assert (after.id, after.event) == (before.id, before.event)


def test_a_result_that_is_taken_over_was_told_of_before() -> None:
    assert told(ended(reason="Adopted")) == []


def test_a_run_is_told_of_when_it_starts_with_the_same_bytes_whenever_that_is_found() -> None:
    start = {"startTime": times.render(NOW)}
    (first,) = told(document({"phase": "Pending", "effective": EFFECTIVE, **start}))
    assert (first.event, first.id, first.time) == (Event.STARTED, f"{RUN}-started", NOW)
    (running,) = told(document({"phase": "Running", "reason": "Exporting", "effective": EFFECTIVE, **start}))
    late, end = told(ended(**start))
    assert end.event == Event.SUCCEEDED
    assert [first.cloud_event()] * 2 == [running.cloud_event(), late.cloud_event()]


def test_a_request_that_waits_is_told_of_when_it_has_waited_for_long() -> None:
    waiting = document({"phase": "Queued", "queuedTime": times.render(NOW)})
    assert events(waiting, seconds=899) == []
    (found,) = told(waiting, seconds=900)
    assert (found.event, found.time) == (Event.QUEUED_LONG, later(900))
    assert events(waiting, policy(queuedLongSeconds=60), seconds=60) == ["QueuedLong"]
    assert turns_with_time(waiting)


def test_objects_that_will_be_deleted_are_told_of_a_day_before_or_half_way() -> None:
    week: dict[str, Any] = {"result": {"expirationTime": times.render(NOW + timedelta(days=7))}}
    day = timedelta(days=1).total_seconds()
    assert events(ended(**week), seconds=6 * day - 1) == ["Succeeded"]
    assert events(ended(**week), seconds=6 * day) == ["Succeeded", "Expiring"]
    hour: dict[str, Any] = {"result": {"expirationTime": times.render(later(3600))}}
    assert events(ended(**hour), seconds=1799) == ["Succeeded"]
    assert events(ended(**hour), seconds=1800) == ["Succeeded", "Expiring"]
    assert events(ended(**hour), seconds=3600) == ["Succeeded"]
    gone: dict[str, Any] = {"result": {**hour["result"], "deleted": True}}
    assert events(ended(**gone), seconds=1800) == ["Succeeded"]
    assert turns_with_time(ended(**hour))
    assert not turns_with_time(ended())


def quota(used: int, **changes: Any) -> dict[str, Any]:
    state = {"policy": "default", "scope": "User", "resource": "requests", "used": used, "limit": 5} | changes
    reserved = {"type": "QuotaReserved", "status": "True", "lastTransitionTime": times.render(NOW)}
    return document({"phase": "Pending", "quota": [state], "conditions": [reserved]})


def test_a_limit_that_is_nearly_used_up_is_told_of_once_a_day_for_whom_it_binds() -> None:
    assert events(quota(3)) == []
    (found,) = told(quota(4))
    assert found.event == Event.QUOTA_NEAR
    assert {name: found.facts[name] for name in ("quotaSubject", "quotaResource", "quotaUsed", "quotaLimit")} == {
        "quotaSubject": "alice",
        "quotaResource": "requests",
        "quotaUsed": 4,
        "quotaLimit": 5,
    }
    other = quota(5) | {"status": quota(5)["status"] | {"run": "another"}}
    (again,) = told(other)
    assert again.id == found.id
    assert found.until == NOW.replace(hour=0) + timedelta(days=1)
    (of_namespace,) = told(quota(4, scope="Namespace"))
    assert of_namespace.id != found.id
    assert events(quota(4, scope="Cluster")) == []
    assert events(quota(3), policy(quotaNearPercent=50)) == ["QuotaNear"]


def test_only_channels_that_are_asked_for_or_always_told_and_want_the_event_get_it() -> None:
    channels = policy(
        channel("ops"),
        channel("audit", always=True, events=["Succeeded"]),
        channel("chat"),
        channel("failures", always=True, events=["Failed"]),
    )
    ((_, keys),) = due(ended(), channels, NOW)
    assert keys == ("default/ops", "default/audit")
    ((_, keys),) = due(ended() | {"spec": spec()}, channels, NOW)
    assert keys == ("default/audit",)
    assert due(ended() | {"spec": spec()}, policy(), NOW) == []


def test_channels_of_a_policy_that_does_not_select_the_request_are_not_reached() -> None:
    others = {"theirs": Named("theirs", {**policy()["default"].spec, "selector": {"users": ["bob"]}})}
    assert due(ended(), others, NOW) == []


def test_a_channel_is_read_with_its_defaults() -> None:
    bare = Named("p", {"notifications": {"channels": [{"name": "c", "type": "Apprise", "secretRef": {"name": "s"}}]}})
    expected = Channel(policy="p", name="c", type="Apprise", secret="s", events=frozenset(ENDS))
    assert channels_of(bare) == {"c": expected}
    assert all_channels({"p": bare}) == {"p/c": expected}


def test_the_event_is_a_cloud_event_by_the_sdk_of_its_makers() -> None:
    (found,) = told(ended())
    message = HTTPMessage({"content-type": "application/cloudevents+json"}, found.cloud_event())
    event = from_http_event(message, JSONFormat())
    assert event.get_attributes() == {
        "specversion": "1.0",
        "id": f"{RUN}-succeeded",
        "source": "/apis/export-operator.io/v1alpha1/namespaces/team-a/exportrequests/users-2026-11",
        "type": "io.export-operator.request.succeeded",
        "subject": RUN,
        "time": NOW,
        "datacontenttype": "application/json",
    }
    assert event.get_data() == {
        "event": "Succeeded",
        "time": times.render(NOW),
        "id": f"{RUN}-succeeded",
        "namespace": "team-a",
        "name": "users-2026-11",
        "uid": UID,
        "run": RUN,
        "requester": "alice",
        "policy": "default",
        "phase": "Succeeded",
        "reason": "Delivered",
        "message": "delivered 100 rows (2048 bytes)",
        "source": "app-db",
        "dataset": "users",
        "destination": "bucket",
        "rows": 100,
        "bytes": 2048,
        "uri": URI,
        "completionTime": times.render(NOW),
    }


def test_people_read_a_text_with_what_is_known_and_nothing_else() -> None:
    (found,) = told(ended())
    body = (
        "delivered 100 rows (2048 bytes)\n"
        "\n"
        "Dataset: users of app-db\n"
        "Asked for by: alice\n"
        "Rows: 100\n"
        "Bytes: 2,048\n"
        f"Where: {URI}\n"
        f"Event: {RUN}-succeeded"
    )
    made = channels_of(policy()["default"])["ops"]
    assert found.text(made) == ("Export team-a/users-2026-11 is ready", body)


def test_a_template_says_what_the_platform_team_wants() -> None:
    (found,) = told(ended())
    templates = {"title": "${name}: ${event}", "body": "${rows} rows, kept until ${expirationTime}. $$5 for ${nobody}"}
    made = channels_of(policy(channel(template=templates))["default"])["ops"]
    assert found.text(made) == ("users-2026-11: Succeeded", "100 rows, kept until . $5 for ${nobody}")
    assert unknown_names(templates["body"]) == ["nobody"]
    assert unknown_names("costs $ 5") == ["$"]
    assert unknown_names(templates["title"]) == []


def test_no_text_of_a_tenants_begins_a_line_and_none_is_long() -> None:
    (found,) = told(ended(message="x\r\nBcc: everyone@example.com\u2028" + "y" * 5000))
    message = str(found.facts["message"])
    assert "\n" not in message
    assert "\r" not in message
    assert "\u2028" not in message
    assert len(message.encode()) <= MAX_TEXT
    assert json.loads(found.cloud_event())["data"]["message"] == message
