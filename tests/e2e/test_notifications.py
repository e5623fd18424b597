"""Notifications from the cluster: to receivers of calls and mails, to one that is away while the operator dies, and to
none that a tenant could name."""

import base64
import gzip
import json
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from email import message_from_string, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks

from export_operator.adapters.outbox import KEY as KEPT_AS
from export_operator.adapters.outbox import NAME
from export_operator.domain.channels import Event
from tests.cluster import templates
from tests.cluster.kubectl import Kubectl
from tests.e2e.conftest import MakeTeam, World
from tests.e2e.furniture import DESTINATION, FEW, SOURCE, paced
from tests.e2e.killer import Killer
from tests.e2e.leader import leader, term
from tests.e2e.team import Team
from tests.platform import catalogue
from tests.platform.api import Json
from tests.platform.names import RUN_NAMESPACE
from tests.platform.waiting import TooLong, until
from tests.services.cluster import NAMESPACE as SERVICES

pytestmark = pytest.mark.e2e

HOOK, TOLD = "e2e-hook", "e2e-told"
"""The receiver, and the group and policy of whom it is told."""
KEY = f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
MAILBOX = "team@example.org"
PRIVATE = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"]
SECONDS = 60.0
KEPT = 60
"""Seconds for which objects are kept: whoever made them is told half-way that they go."""


@dataclass(frozen=True)
class Receiver:
    kubectl: Kubectl
    world: World

    def calls(self, team: Team, *requests: str) -> list[Json]:
        """What the receiver's pod got of these requests, each checked by the standard's own library."""
        found = []
        for call in self._got("body"):
            data = json.loads(call["body"])["data"]
            if data["namespace"] == team.namespace and data["name"] in requests:
                event: Json = standardwebhooks.Webhook(KEY).verify(call["body"], call["headers"])
                assert call["headers"]["webhook-id"] == event["id"]
                found.append(event)
        return found

    def mails(self, team: Team) -> list[tuple[str, list[str], list[str]]]:
        """Subject, recipients and lines of each that is about a team's requests."""
        found = []
        for each in self._got("mail"):
            mail = message_from_string(each["mail"], policy=policy.default)
            assert isinstance(mail, EmailMessage)
            body = mail.get_body(("plain",))
            assert body is not None
            if team.namespace in mail["subject"]:
                found.append((str(mail["subject"]), each["to"], body.get_content().splitlines()))
        return found

    def _got(self, kind: str) -> list[Json]:
        lines = self.kubectl.output("logs", f"deployment/{HOOK}").splitlines()
        return [got for got in map(json.loads, lines) if kind in got]

    def scale(self, replicas: int) -> None:
        self.kubectl.run("scale", f"deployment/{HOOK}", f"--replicas={replicas}")
        self.kubectl.rolled_out(HOOK)
        if not replicas:  # one that is on its way out still takes calls
            self.kubectl.run("wait", "--for=delete", "pod", f"--selector=app={HOOK}", "--timeout=60s")

    def kept(self) -> str:
        """The outbox, as it is kept."""
        found = self.world.platform.api.find("ConfigMap", NAME, RUN_NAMESPACE) or {"binaryData": {}}
        return gzip.decompress(base64.b64decode(found["binaryData"].get(KEPT_AS, ""))).decode()

    def condition(self) -> Json:
        """The policy's, about its channels."""
        conditions = self.world.platform.api.get("ExportPolicy", TOLD)["status"].get("conditions") or []
        return next((each for each in conditions if each["type"] == "NotificationsDelivered"), {})

    def known(self) -> bool:
        """The operator has the policy as it is."""
        policy = self.world.platform.api.get("ExportPolicy", TOLD)
        return bool(policy.get("status", {}).get("observedGeneration") == policy["metadata"]["generation"])

    def channels(self, *channels: dict[str, Any], requests: int = 1000, **settings: int) -> None:
        """Have the policy with these channels, and with so many requests for each user."""
        spec = {
            "selector": {"groups": [TOLD]},
            "limits": {"user": {"requests": requests}},
            "defaults": {"destination": DESTINATION},
            "notifications": {"channels": list(channels), **settings},
            "retention": {"objectTTLSeconds": KEPT},
        }
        self.world.platform.api.apply(catalogue.named("ExportPolicy", TOLD, spec))


def channel(**changes: Any) -> dict[str, Any]:
    made = {
        "name": "hook",
        "type": "Webhook",
        "secretRef": {"name": HOOK},
        "events": ["Started", "Succeeded", "Failed"],
        "allowedNetworks": PRIVATE,
        "allowPlainHTTP": True,
    }
    return {name: value for name, value in (made | changes).items() if value is not None}


@pytest.fixture(scope="module")
def receiver(world: World) -> Iterator[Receiver]:
    platform = world.platform
    kubectl = platform.services.kubectl
    manifest = (Path(__file__).with_name("manifests") / "hook.yaml").read_text()
    kubectl.apply(templates.render(manifest, {"NAME": HOOK, "IMAGE": platform.images.operator}))
    kubectl.rolled_out(HOOK)
    address = f"{HOOK}.{SERVICES}.svc"
    catalogue.secret(platform.api, HOOK, url=f"http://{address}:8080/", signingKeys=KEY)
    mail = f"mailto://{address}:2525/?from=exports@example.com&to={MAILBOX}&mode=insecure"
    catalogue.secret(platform.api, "e2e-mail", url=mail)
    made = Receiver(kubectl, world)
    made.channels(channel())
    yield made
    platform.api.delete("ExportPolicy", TOLD)
    for kind in ("deployment", "service", "configmap"):
        kubectl.run("delete", kind, HOOK, "--ignore-not-found")


def test_a_tenant_picks_a_channel_by_name_and_is_told_of_start_and_end(receiver: Receiver, teams: MakeTeam) -> None:
    team = teams(TOLD)
    team.ask("told", notify=["hook"])
    team.ask("untold")
    result, _ = team.succeeded("told"), team.succeeded("untold")
    until("the end to be told", lambda: len(receiver.calls(team, "told")) == 2, SECONDS)
    started, ended = receiver.calls(team, "told")
    assert (started["type"], ended["type"]) == (
        "io.export-operator.request.started",
        "io.export-operator.request.succeeded",
    )
    source = f"/apis/export-operator.io/v1alpha1/namespaces/{team.namespace}/exportrequests/told"
    assert (ended["specversion"], ended["source"]) == ("1.0", source)
    data = {name: ended["data"][name] for name in ("requester", "rows", "uri")}
    assert data == {"requester": team.user, "rows": FEW, "uri": result["uri"]}
    assert receiver.calls(team, "untold") == []
    until("the channel to be well", lambda: receiver.condition().get("status") == "True", SECONDS)


def test_a_person_gets_a_mail_that_says_what_there_is_and_where(receiver: Receiver, teams: MakeTeam) -> None:
    mail = channel(name="mail", type="Apprise", secretRef={"name": "e2e-mail"}, events=None, allowPlainHTTP=None)
    receiver.channels(channel(), mail)
    team = teams(TOLD)
    team.ask("mailed", notify=["mail"])
    result = team.succeeded("mailed")
    until("the mail", lambda: receiver.mails(team), SECONDS)
    ((subject, to, lines),) = receiver.mails(team)
    assert (subject, to) == (f"Export {team.namespace}/mailed is ready", [MAILBOX])
    status = team.status("mailed")
    assert [line.strip() for line in lines if line.strip()] == [
        status["message"],
        f"Dataset: few of {SOURCE}",
        f"Asked for by: {team.user}",
        f"Rows: {FEW:,}",
        f"Bytes: {result['bytes']:,}",
        f"Where: {result['uri']}",
        f"Manifest: {result['manifestURI']}",
        f"Kept until: {result['expirationTime']}",
        f"Event: {status['run']}-succeeded",
    ]


def test_a_channel_that_the_policy_does_not_have_is_refused_with_those_that_it_has(
    receiver: Receiver, teams: MakeTeam
) -> None:
    receiver.channels(channel())
    until("the policy to be known", receiver.known, SECONDS)
    team = teams(TOLD)
    team.ask("wrong", notify=["hooks"])
    told = team.until("wrong", "Rejected", reason="ChannelNotFound")
    assert "Did you mean 'hook'? Known: hook." in told["message"]


def test_a_receiver_that_is_away_holds_up_no_export_and_is_told_when_it_is_back_whoever_leads(
    receiver: Receiver, teams: MakeTeam, executioner: Killer
) -> None:
    team, api = teams(TOLD), receiver.world.platform.api
    receiver.scale(0)
    try:
        names = [f"away-{number}" for number in range(3)]
        for name in names:
            team.ask(name, notify=["hook"])
        for name in names:
            team.succeeded(name)
        until("the trouble to be shown", lambda: receiver.condition().get("status") == "False", SECONDS)
        assert receiver.condition()["reason"] == "DeliveryFailing"
        end = f"{team.status(names[0])['run']}-succeeded"
        until("its end to be kept", lambda: end in receiver.kept(), SECONDS)
        team.delete(names[0])
        victim, first = leader(api), term(api)
        assert executioner.kill(victim)
        until("the next one to lead", lambda: term(api) not in ("", first), SECONDS)
    finally:
        receiver.scale(1)
    expected = sorted((name, event) for name in names for event in ("Started", "Succeeded"))

    def told() -> list[tuple[str, str]]:
        return sorted((event["data"]["name"], event["data"]["event"]) for event in receiver.calls(team, *names))

    with suppress(TooLong):
        until("every start and end to be told, once", lambda: told() == expected, 2 * SECONDS)
    assert told() == expected
    until("the trouble to be over", lambda: receiver.condition().get("status") == "True", SECONDS)
    assert told() == expected


def test_no_address_inside_is_reached_unless_the_platform_team_allows_its_network(
    receiver: Receiver, teams: MakeTeam
) -> None:
    team = teams(TOLD)
    receiver.channels(channel(), channel(name="inside", allowedNetworks=None))
    team.ask("inside", notify=["inside"])
    team.succeeded("inside")
    text = "is not a public address: the platform team may allow its network by allowedNetworks of the channel"
    until("the refusal to be shown", lambda: text in receiver.condition().get("message", ""), SECONDS)
    assert receiver.calls(team, "inside") == []
    receiver.channels(channel(), channel(name="inside"))
    until("what waited to be told", lambda: len(receiver.calls(team, "inside")) == 2, SECONDS)


def test_whatever_becomes_of_a_request_is_told(receiver: Receiver, teams: MakeTeam) -> None:
    events = [str(event) for event in Event]
    receiver.channels(channel(events=events), requests=10, queuedLongSeconds=1, quotaNearPercent=10)
    team = teams(TOLD)
    team.ask("good", notify=["hook"])
    team.ask("broken", "broken", notify=["hook"])
    team.ask("nowhere", "nowhere", notify=["hook"])
    team.ask("waits", notify=["hook"], destination={"name": "e2e-unreachable"})
    team.ask("late", source=paced(milliseconds=300), notify=["hook"], runDeadlineSeconds=10, onDeadline="Partial")

    def told(*requests: str) -> dict[str, set[str]]:
        calls = receiver.calls(team, *requests)
        # The limit is the user's: which of the requests tells of it is a matter of chance.
        found = {(each["data"]["name"], each["data"]["event"]) for each in calls}
        return {name: {event for of, event in found if of == name} - {"QuotaNear"} for name in requests}

    until("the long wait to be told", lambda: told("waits") == {"waits": {"QueuedLong"}}, SECONDS)
    team.patch("waits", cancel=True)
    expected = {
        "good": {"Started", "Succeeded", "Expiring"},
        "broken": {"Started", "Failed"},
        "nowhere": {"Rejected"},
        "waits": {"QueuedLong", "Cancelled"},
        "late": {"Started", "PartiallySucceeded", "Expiring"},
    }
    with suppress(TooLong):
        until("all of it to be told", lambda: told(*expected) == expected, 2 * SECONDS)
    assert told(*expected) == expected
    near = {
        each["id"]: each["data"] for each in receiver.calls(team, *expected) if each["data"]["event"] == "QuotaNear"
    }
    assert [(each["quotaSubject"], each["quotaResource"]) for each in near.values()] == [(team.user, "requests")]
