"""What Helm, Argo CD, Flux and `kubectl wait` make of requests on a real cluster."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import providers, shell, tools
from tests.e2e.conftest import World
from tests.e2e.team import Team
from tests.platform.verdicts import argo, flux, kstatus

pytestmark = pytest.mark.e2e


def release(directory: Path, team: Team, world: World, name: str, **spec: Any) -> tuple[int, str]:
    """`helm install --wait` of a chart that has one request: exit code and what was said."""
    chart = directory / name
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text(yaml.safe_dump({"apiVersion": "v2", "name": name, "version": "1.0.0"}))
    request = team.request(name, **spec)
    del request["metadata"]["namespace"]
    (chart / "templates" / "request.yaml").write_text(yaml.safe_dump(request))
    command: list[str | Path] = [
        tools.path("helm"),
        "install",
        name,
        str(chart),
        "--namespace",
        team.namespace,
        "--wait",
    ]
    done = shell.run([*command, "--timeout=40s"], env=providers.environment(world.platform.cluster), check=False)
    return done.returncode, done.stdout + done.stderr


def test_helm_waits_until_a_request_is_accepted_and_no_longer(world: World, team: Team, tmp_path: Path) -> None:
    code, said = release(tmp_path, team, world, "later", suspend=True)
    assert code == 0, said
    assert team.status("later")["phase"] == "Queued"


def test_helm_fails_at_once_for_one_that_is_rejected(world: World, team: Team, tmp_path: Path) -> None:
    code, said = release(tmp_path, team, world, "wrong", dataset="no-such-dataset")
    assert code != 0
    assert team.status("wrong")["reason"] == "DatasetNotFound", said


def test_each_tool_sees_what_it_is_promised(team: Team) -> None:
    team.ask("held", suspend=True)
    team.ask("good")
    team.ask("bad", dataset="broken")
    team.ask("refused", dataset="no-such-dataset")
    team.ask("stopped", cancel=True)
    for name, phase in (
        ("held", "Queued"),
        ("good", "Succeeded"),
        ("bad", "Failed"),
        ("refused", "Rejected"),
        ("stopped", "Cancelled"),
    ):
        team.until(name, phase)
    names = ("held", "good", "bad", "refused", "stopped")
    seen = {name: (argo(found)[0], flux(found), kstatus(found)) for name in names if (found := team.get(name))}
    assert seen == {
        "held": ("Suspended", "InProgress", "Current"),
        "good": ("Healthy", "Current", "Current"),
        "bad": ("Degraded", "Failed", "Current"),
        "refused": ("Degraded", "Failed", "Failed"),
        "stopped": ("Healthy", "Failed", "Current"),
    }
    wait = ("wait", "--timeout=30s")
    team.kubectl.run(*wait, "--for=condition=Complete", "exreq/good")
    team.kubectl.run(*wait, "--for=condition=Failed", "exreq/bad")
    team.kubectl.run(*wait, "--for=condition=Accepted", "exreq/held")
    team.kubectl.run(*wait, "--for=jsonpath={.status.phase}=Cancelled", "exreq/stopped")
