"""One installation for all tests, a namespace for each, and what a failed test's namespace looked like."""

import json
import secrets
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field

import pytest

from tests.cluster.kubectl import Kubectl
from tests.e2e import furniture
from tests.e2e.furniture import PLENTY
from tests.e2e.killer import Killer, killer
from tests.e2e.team import Team
from tests.platform import chart, install, tenants
from tests.platform.database import Database, database
from tests.platform.names import LABEL_REQUEST_UID, NAMESPACE, OPERATOR, RUN_NAMESPACE
from tests.platform.storage import Storage, storage

MakeTeam = Callable[..., Team]
MAX_LINES = 60
"""Of a failed test's namespace."""


@dataclass(frozen=True)
class World:
    """The installation and the ways to look at it from outside."""

    platform: install.Platform
    storage: Storage
    database: Database
    attests: bool
    """The cluster writes down who asks; else whoever asks does."""
    teams: list[Team] = field(default_factory=list)

    def team(self, *groups: str, user: str = "", label: str = "e2e") -> Team:
        """A namespace of its own with a user of its own, unless one is named; `groups` choose the policy."""
        mark = secrets.token_hex(4)
        name, user = f"{label}-{mark}", user or f"user-{mark}"
        tenants.namespace(self.platform.api, name)
        tenants.let_edit(self.platform.api, name, user)
        kubectl = tenants.UserKubectl(self.platform.cluster, name, user, groups)
        api = self.platform.api
        made = Team(name, user, api, api.as_user(user, *groups), kubectl, declares=not self.attests)
        self.teams.append(made)
        return made

    def leave(self, team: Team) -> None:
        """Delete a team's namespace with all that is in it."""
        self.platform.api.delete("Namespace", team.namespace)
        self.teams.remove(team)


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """Installed as this working tree has it; stays, so that the next session is quick. Only the tests' own cluster-wide
    objects go."""
    platform = install.install(install.cluster())
    with database(platform.services) as postgres, storage(platform.services) as s3:
        install.load(platform.services, postgres)
        furniture.furnish(platform, s3)
        yield World(platform, s3, postgres, chart.attests(platform.cluster))
        furniture.unfurnish(platform.api)


@pytest.fixture(scope="session")
def operator(world: World) -> Kubectl:
    """The administrator in the operator's namespace."""
    return world.platform.kubectl


@pytest.fixture(scope="session")
def executioner(world: World) -> Iterator[Killer]:
    with killer(world.platform) as found:
        yield found


@pytest.fixture(scope="session")
def runs(world: World) -> Kubectl:
    """The administrator in the run namespace."""
    return Kubectl(world.platform.cluster, RUN_NAMESPACE)


@pytest.fixture
def teams(world: World) -> Iterator[MakeTeam]:
    """Makes teams that go with the test."""
    before = len(world.teams)
    yield world.team
    for team in world.teams[before:]:
        world.leave(team)


@pytest.fixture
def team(teams: MakeTeam) -> Team:
    """A tenant who has runs enough."""
    return teams(PLENTY)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "older: also run on each older Kubernetes, by `make e2e-older`")
    config.addinivalue_line("markers", "late: waits for what takes its time by itself, so it runs after the others")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("late") is not None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to a failure what one would look at first."""
    report = yield
    world = getattr(item, "funcargs", {}).get("world")
    if report.failed and report.when == "call" and isinstance(world, World):
        for team in world.teams:
            report.sections.append((f"namespace {team.namespace}", _portrait(team)))
        logs = world.platform.kubectl.run("logs", "--selector", OPERATOR, "--prefix", "--tail=60", check=False)
        report.sections.append((f"operator in {NAMESPACE}", logs.stdout + logs.stderr))
    return report


def _portrait(team: Team) -> str:
    """Requests that did not succeed, with the states of their Jobs and pods and the ends of their logs; bounded."""
    lines: list[str] = []
    for request in team.admin.items("ExportRequest", team.namespace):
        metadata, status = request["metadata"], request.get("status") or {}
        lines.append(
            f"{metadata['name']}: {status.get('phase')} ({status.get('reason')}): {status.get('message')}"[:300]
        )
        if status.get("phase") in {"Succeeded", "Rejected"} or len(lines) > MAX_LINES:
            continue
        of_request = f"{LABEL_REQUEST_UID}={metadata['uid']}"
        for job in team.admin.items("Job", RUN_NAMESPACE, of_request):
            ended = [each["type"] for each in job["status"].get("conditions") or []]
            lines.append(f"  Job {job['metadata']['name']}: {', '.join(ended) or 'not ended'}")
        for pod in team.admin.items("Pod", RUN_NAMESPACE, of_request):
            name = pod["metadata"]["name"]
            states = [each.get("state") for each in pod["status"].get("containerStatuses") or []]
            lines.append(f"  pod {name}: {json.dumps(states)[:600]}")
            lines += [f"    {line[:300]}" for line in team.admin.log(name, RUN_NAMESPACE, 5).splitlines()]
    del lines[2 * MAX_LINES :]
    for event in team.admin.items("Event", team.namespace)[-20:]:
        lines.append(f"  {event['reason']}: {event.get('message', '')[:200]}")
    return "\n".join(lines)
