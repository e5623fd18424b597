"""The exporter is the first process of its container, which the kernel spares each signal that has no handler yet."""

import json
from collections.abc import Iterator

import pytest

from tests.cluster.kubectl import Kubectl
from tests.e2e.conftest import World
from tests.platform.api import Json
from tests.platform.names import RUN_NAMESPACE
from tests.platform.waiting import until

pytestmark = pytest.mark.e2e

NAME = "stopped-at-once"
SPEC = "/shared/spec"
SECONDS = 60.0
MAKE = f"import os; os.mkfifo({SPEC!r})"
STOP = f"""
import os, signal, subprocess
example = subprocess.check_output(["export-runner", "example-spec"])
with open({SPEC!r}, "wb") as spec:  # when the exporter opens it: it runs, and listens to nobody yet
    os.kill(1, signal.SIGTERM)
    spec.write(example)
"""


@pytest.fixture
def pod(world: World) -> Iterator[None]:
    """An exporter that waits for its run spec."""
    restricted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {
        "image": world.platform.images.exporter,
        "securityContext": restricted,
        "volumeMounts": [{"name": "shared", "mountPath": "/shared"}],
    }
    made = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": NAME, "namespace": RUN_NAMESPACE},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "initContainers": [container | {"name": "queue", "command": ["python", "-c", MAKE]}],
            "containers": [container | {"name": "exporter", "args": ["run", "--spec", SPEC]}],
            "volumes": [{"name": "shared", "emptyDir": {}}],
        },
    }
    world.platform.api.apply(made)
    yield
    world.platform.api.delete("Pod", NAME, RUN_NAMESPACE, grace=0)


@pytest.mark.usefixtures("pod")
def test_a_word_to_stop_that_comes_before_anybody_listens_is_not_lost(world: World, runs: Kubectl) -> None:
    def state() -> Json:
        found = world.platform.api.get("Pod", NAME, RUN_NAMESPACE)["status"].get("containerStatuses") or [{}]
        stands: Json = found[0].get("state") or {}
        return stands

    until("the exporter runs", lambda: state().get("running"), SECONDS)
    # Who says the word may be killed along with the container before it has ended itself.
    runs.run("exec", NAME, "--", "python", "-c", STOP, check=False)
    ended = until("the exporter ended", lambda: state().get("terminated"), SECONDS)
    failure = json.loads(world.platform.api.log(NAME, RUN_NAMESPACE).splitlines()[-1])["failure"]
    assert (ended["exitCode"], failure["reason"], failure["message"]) == (
        82,
        "Interrupted",
        "Stopped by SIGTERM. Nothing was delivered.",
    )
