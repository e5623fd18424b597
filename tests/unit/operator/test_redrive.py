"""Which failed requests are run anew, by whose rights, and how fast."""

from __future__ import annotations

import argparse
import base64
import io
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio import client

from export_operator.__main__ import main
from export_operator.adapters.kube import ApiError
from export_operator.adapters.login import Login, LoginError, read_login
from export_operator.commands import redrive as command
from export_operator.commands.redrive import Outcome, Redriver
from export_operator.domain.model import Key
from export_operator.domain.redrive import Letter, change, matches, new_run_id, read_letter, selector, wanted

from .builders import NOW, later, spec
from .hand import Hand, Killed, Trouble, finish, unreachable
from .test_crash_safety import deliver, fail, start
from .world import Operator, World, settle

pytestmark = pytest.mark.unit

FAILED: Mapping[str, Any] = {
    "phase": "Failed",
    "reason": "SourceUnavailable",
    "runID": "",
    "completionTime": "2026-11-24T12:01:00Z",
    "effective": {"source": "app-db", "destination": "bucket"},
    "failure": {"reason": "SourceUnavailable", "class": "Source"},
}
LETTER = Letter(
    key=Key("team-a", "users"),
    version="7",
    requester="alice",
    reason="SourceUnavailable",
    failure_class="Source",
    source="app-db",
    destination="bucket",
    failed=later(60),
)


def document(status: Mapping[str, Any] = FAILED, **changes: Any) -> dict[str, Any]:
    metadata = {"namespace": "team-a", "name": "users", "uid": "u", "resourceVersion": "7"}
    return {"metadata": metadata, "spec": spec(**changes), "status": dict(status)}


def test_a_failed_request_is_a_letter() -> None:
    assert read_letter(document()) == LETTER


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (document({"phase": "Running"}), "it has not failed: its phase is Running"),
        (document({}), "it has not failed: its phase is not known yet"),
        (document(runID="next"), "a new run of it is asked for already"),
        (document(cancel=True), "spec.cancel is true: whoever set it must set it to false first"),
        (document(suspend=True), "spec.suspend is true: the new run would only wait"),
    ],
)
def test_what_is_left_alone_says_why(given: dict[str, Any], why: str) -> None:
    assert read_letter(given).obstacle == why


def test_the_api_server_chooses_by_fields() -> None:
    assert selector(wanted()) == "status.phase=Failed"
    given = wanted(failure_class="Source", reason="SourceUnavailable", source="app-db", destination="bucket")
    assert selector(given) == (
        "status.phase=Failed,status.failure.class=Source,status.failure.reason=SourceUnavailable,"
        "spec.source.name=app-db,status.effective.destination=bucket"
    )
    assert matches(document(), given)


@pytest.mark.parametrize("other", [{"reason": "Deadline"}, {"source": "other-db"}, {"destination": "elsewhere"}])
def test_what_differs_in_a_field_is_not_chosen(other: dict[str, str]) -> None:
    assert not matches(document(), wanted(**other))


def test_what_has_no_status_yet_is_not_chosen() -> None:
    fresh = document()
    del fresh["status"]
    assert not matches(fresh, wanted())


def test_a_new_run_is_asked_for_only_if_the_request_is_as_it_was_read() -> None:
    run_id = new_run_id(NOW)
    assert run_id == "redrive-20261124T120000.000000Z"
    assert change(LETTER, run_id) == {"metadata": {"resourceVersion": "7"}, "spec": {"runID": run_id}}


class Answers:
    """An API server that answers each patch as it is told; what it was asked."""

    def __init__(self, *answers: ApiError | None) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[str, str]] = []

    async def patch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return await self.dry_run("real", path, body)

    async def dry_run(self, verb: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append((verb, f"{path} {body['spec']['runID']}"))
        if answer := self._answers.pop(0):
            raise answer
        return {}


PATH = "/apis/export-operator.io/v1alpha1/namespaces/team-a/exportrequests/users"


async def redriven(api: Answers, *letters: Letter, dry_run: bool = False) -> tuple[list[Outcome], list[float]]:
    """What became of each, and the pauses that were made."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    desk = Redriver(api, "next", 2.0, dry_run=dry_run, sleep=sleep)  # type: ignore[arg-type]
    return [each async for each in desk.all(letters)], pauses


async def test_each_is_asked_for_at_the_bounded_rate_and_what_is_skipped_costs_no_time() -> None:
    api = Answers(None, None, None)
    skipped = read_letter(document(suspend=True))
    outcomes, pauses = await redriven(api, LETTER, skipped, LETTER, LETTER)
    assert [each.word for each in outcomes] == ["Redriven", "Skipped", "Redriven", "Redriven"]
    assert (pauses, api.asked) == ([2.0, 2.0], [("real", f"{PATH} next")] * 3)


async def test_a_dry_run_asks_the_api_server_and_does_not_wait() -> None:
    api = Answers(None, ApiError(403, "Forbidden", "not yours"))
    outcomes, pauses = await redriven(api, LETTER, LETTER, dry_run=True)
    assert outcomes == [Outcome(LETTER, "WouldRedrive"), Outcome(LETTER, "Refused", "not yours")]
    assert (pauses, {verb for verb, _ in api.asked}) == ([], {"patch"})


async def test_a_refusal_or_a_change_of_one_does_not_stop_the_others() -> None:
    api = Answers(ApiError(422, "Invalid", "no"), ApiError(409, "Conflict", ""), ApiError(404, "NotFound", ""), None)
    outcomes, _ = await redriven(api, *[LETTER] * 4)
    assert [each.word for each in outcomes] == ["Refused", "Changed", "Changed", "Redriven"]


@pytest.mark.parametrize("status", [0, 429, 500])
async def test_who_gets_no_answer_stops(status: int) -> None:
    api = Answers(ApiError(status, "Unreachable", "TimeoutError"))
    outcomes, _ = await redriven(api, LETTER, LETTER)
    assert outcomes == [Outcome(LETTER, "Unknown", "TimeoutError")]


CERTIFICATE = base64.b64encode(b"certificate").decode()
KEY = base64.b64encode(b"key").decode()


def kubeconfig(**user: Any) -> str:
    return json.dumps(
        {
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "me"}}],
            "users": [{"name": "me", "user": user}],
        }
    )


@pytest.mark.parametrize(
    ("text", "login"),
    [
        (" abc.def-ghi_jkl\n", Login(token="abc.def-ghi_jkl")),
        (kubeconfig(token="t"), Login(token="t")),
        (
            kubeconfig(**{"client-certificate-data": CERTIFICATE, "client-key-data": KEY}),
            Login(certificate=b"certificate", key=b"key"),
        ),
    ],
)
def test_credentials_are_a_token_or_a_kubeconfig(text: str, login: Login) -> None:
    assert read_login(text) == login


@pytest.mark.parametrize(
    ("text", "context", "says"),
    [
        ("", "", "neither a kubeconfig nor a token"),
        ("two words", "", "neither a kubeconfig nor a token"),
        ("[1, 2", "", "neither a kubeconfig nor a token"),
        (kubeconfig(exec={"command": "aws"}), "", "gets its credentials from a program"),
        (kubeconfig(), "", "neither token nor certificate for context 'here'"),
        (kubeconfig(token="t"), "there", "no context 'there'"),
        (kubeconfig(**{"client-certificate-data": "?", "client-key-data": KEY}), "", "no base64"),
    ],
)
def test_what_are_no_credentials_says_what_to_give(text: str, context: str, says: str) -> None:
    with pytest.raises(LoginError, match=says.replace("'", ".")):
        read_login(text, context)


def test_nobody_elses_credentials_are_left_in_place_and_no_key_on_disk() -> None:
    configuration = client.Configuration()
    configuration.api_key = {"BearerToken": "bearer the-pod's"}
    setattr(configuration, "refresh_api_key_hook", print)  # noqa: B010 - typed as if there were none
    with Login(certificate=b"certificate", key=b"key").applied(configuration) as theirs:
        place = Path(str(theirs.key_file))
        assert (place.read_bytes(), theirs.api_key, theirs.refresh_api_key_hook) == (b"key", {}, None)
    assert not place.exists()
    with Login(token="mine").applied(configuration) as theirs:
        assert (theirs.api_key, theirs.cert_file) == ({"BearerToken": "Bearer mine"}, None)


def test_credentials_do_not_show() -> None:
    shown = repr(Login(token="planted", certificate=b"planted", key=b"planted"))
    assert shown == "Login()"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--all-namespaces"], "nothing is chosen"),
        (["--class", "Source"], "in which namespaces?"),
        (["users"], "of which namespace is 'users'?"),
        (["team-a/users", "--all"], "not both"),
    ],
)
def test_who_does_not_say_what_is_meant_is_asked(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert main(["redrive", *words]) == 2
    assert says in capsys.readouterr().err


def test_in_a_pod_it_asks_for_the_persons_own_credentials(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert main(["redrive", "team-a/users"]) == 2
    assert "--credentials -" in capsys.readouterr().err
    options = argparse.Namespace(
        names=["team-a/users"], credentials="-", context="", namespace="", all_namespaces=False
    )
    for choice in ("failure_class", "reason", "source", "destination", "all"):
        setattr(options, choice, "")
    assert command.run(options, io.StringIO("no token")) == 2
    assert "neither a kubeconfig nor a token" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--rate", "0"], ["--rate", "x"], ["--limit", "0"], ["--class", "Weather"]])
def test_a_wrong_value_is_wrong_usage(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["redrive", "--all", "-A", *words])
    assert ended.value.code == 2


def test_help_tells_of_rights_rate_and_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["redrive", "--help"])
    told = capsys.readouterr().out
    for part in (
        "whose rights",
        "act-as",
        "examples:",
        "--dry-run",
        "kubectl -n export-operator exec -i",
        "exit codes",
    ):
        assert part in told


class Desk:
    """The API server as a person's command meets it, over the world of the operator."""

    def __init__(self, world: World, hand: Hand) -> None:
        self._world = world
        self._hand = hand

    async def letters(self) -> list[Letter]:
        async with self._hand.call(unreachable):
            failed = [each for each in self._world.requests.values() if each["status"]["phase"] == "Failed"]
        return sorted(map(read_letter, failed), key=lambda letter: (letter.failed, letter.key))

    async def patch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        async with self._hand.call(unreachable):
            *_, namespace, _, name = path.split("/")
            key = Key(namespace, name)
            present = self._world.requests.get(key)
            if present is None:
                raise ApiError(404, "NotFound", path)
            if present["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
                raise ApiError(409, "Conflict", path)
            self._world.apply(key, **body["spec"])
            return self._world.requests[key]


def redrive_all(world: World, hand: Hand, run_id: str) -> list[str]:
    """What the command does, and says of each; nothing when it is killed."""

    async def sleep(_: float) -> None:
        return

    async def told() -> list[str]:
        desk = Desk(world, hand)
        redriver = Redriver(desk, run_id, 2.0, dry_run=False, sleep=sleep)  # type: ignore[arg-type]
        return [each.word async for each in redriver.all(await desk.letters())]

    with suppress(Killed, ApiError):
        return finish(told())
    return []


NAMES = [Key("team-a", name) for name in ("one", "two", "three")]


def mended(hand: Hand) -> World:
    """Three fail, what broke is mended, and the command is given twice: the first time trouble befalls it."""
    world, quiet = World(), Hand()

    def rest() -> None:
        operator = settle(world, Operator(world, quiet), quiet)
        for step in (start, deliver):
            step(world)
            operator = settle(world, operator, quiet)

    for key in NAMES:
        world.apply(key)
    operator = settle(world, Operator(world, quiet), quiet)
    start(world)
    fail(world)
    settle(world, operator, quiet)
    world.wait(60)
    redrive_all(world, hand, "first")
    rest()
    world.wait(60)
    redrive_all(world, Hand(), "again")
    rest()
    hand.land()
    rest()
    return world


@pytest.mark.parametrize("trouble", ["killed", "refused", "lost", "late"])
def test_whatever_befalls_the_command_who_gives_it_again_has_each_run_anew_once(trouble: Trouble) -> None:
    quiet = Hand()
    mended(quiet)
    assert quiet.calls == 1 + len(NAMES)  # the list, and a patch for each
    for when in range(quiet.calls):
        world = mended(Hand(trouble, when))
        assert {key: world.status(key)["phase"] for key in NAMES} == dict.fromkeys(NAMES, "Succeeded")
        assert (len(world.created), len(set(world.created)), len(world.delivered)) == (6, 6, 3)
        assert [len(entries) for entries in world.windows.values()] == [6]
