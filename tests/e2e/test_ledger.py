"""The ledger is lost while the operator runs: it is made again from what was delivered, and counts as before."""

import json
from typing import Any

import pytest

from export_operator.domain.identity import Subject
from export_operator.domain.usage import usage_name
from tests.cluster.kubectl import Kubectl
from tests.e2e.conftest import MakeTeam, World
from tests.platform.names import DEPLOYMENT, RUN_NAMESPACE

pytestmark = pytest.mark.e2e


def ledger(operator: Kubectl, *words: str) -> tuple[int, Any]:
    """Exit code and document of the command in the operator's pod."""
    command = ["export-operator", "ledger", *words, "--output", "json"]
    done = operator.run("exec", f"deployment/{DEPLOYMENT}", "--", *command, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_what_was_delivered_counts_again_after_its_page_was_deleted(
    teams: MakeTeam, world: World, operator: Kubectl
) -> None:
    team = teams()
    # What the first has used is written with the reservation of the second, and that one's when it is deleted.
    for name in ("kept", "deleted"):
        team.ask(name)
        team.succeeded(name)
    team.delete("deleted")
    page = f"User {team.user}"

    def differences(document: Any) -> list[str]:
        return [each["kind"] for each in document["differences"] if each["page"] == page]

    def used() -> list[int]:
        return [each["used"] for each in ledger(operator, "show", "--user", team.user)[1]["usage"]]

    assert differences(ledger(operator, "verify")[1]) == []
    assert used() == [2]

    world.platform.api.delete("ExportUsage", usage_name(Subject("User", team.user)), RUN_NAMESPACE)
    code, document = ledger(operator, "verify", "--wait", "1")
    assert (code, differences(document)) == (1, ["Missing"])

    code, document = ledger(operator, "rebuild", "--yes", "--wait", "1")
    assert (code, document["done"]) == (1, False)
    assert [loss for loss in document["losses"] if loss.startswith(page)]
    assert used() == []

    _, document = ledger(operator, "rebuild", "--yes", "--accept-loss", "--wait", "1")
    assert document["done"]
    assert used() == [2]
    team.ask("next")
    team.succeeded("next")
    assert used() == [3]
