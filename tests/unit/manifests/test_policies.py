"""The admission policies know every kind with a requester, and every field that its requester alone may change."""

import re
import subprocess
from typing import Any

import pytest
import yaml
from scripts.crd_parts import block, filled
from scripts.crd_schemas import crds

from export_operator.adapters.canary import GUARDED, STATUS
from export_operator.domain.identity import ACT_AS, BY_WILDCARD
from tests.cluster import tools

from .chart import CHART, ROOT, rendered

pytestmark = pytest.mark.unit

KINDS = crds()


def policy(name: str) -> dict[str, Any]:
    document: dict[str, Any] = next(yaml.safe_load_all((ROOT / "manifests" / "policies" / f"{name}.yaml").read_text()))
    return document


def spec_of(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = KINDS[kind]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return found


def expression(name: str, variable: str) -> str:
    variables = policy(name)["spec"]["variables"]
    return str(next(each["expression"] for each in variables if each["name"] == variable))


@pytest.mark.parametrize("name", ["check-identity", "stamp-identity", "warn-act-as"])
def test_each_policy_and_the_canary_know_all_kinds_with_a_requester(name: str) -> None:
    carrying = {KINDS[kind]["spec"]["names"]["plural"] for kind in KINDS if "requester" in spec_of(kind)["properties"]}
    (rule,) = policy(name)["spec"]["matchConstraints"]["resourceRules"]
    assert set(rule["resources"]) == carrying == set(GUARDED)


def test_only_the_requester_changes_what_a_schedule_makes() -> None:
    """suspend has a rule of its own; requester and submittedBy never change."""
    guarded = set(re.findall(r"'(\w+)'", expression("check-identity", "schedulesAnew"))) - {"scheduledexports"}
    assert guarded == set(spec_of("ScheduledExport")["properties"]) - {"suspend", "requester", "submittedBy"}


def test_a_schedule_can_ask_for_all_that_a_request_can_but_for_what_steers_one_run() -> None:
    template = spec_of("ScheduledExport")["properties"]["template"]["properties"]["spec"]["properties"]
    request = spec_of("ExportRequest")["properties"]
    steering = {"runID", "suspend", "cancel", "requester", "submittedBy"}
    assert template == {name: field for name, field in request.items() if name not in steering}


def test_policy_and_operator_ask_for_the_same_verbs() -> None:
    speaks = expression("check-identity", "speaks") + expression("check-identity", "wildcard")
    assert re.findall(r"check\('([\w-]+)'\)", speaks) == [ACT_AS, BY_WILDCARD]


def test_the_status_that_the_canary_tries_is_one_that_nobody_may_write() -> None:
    refused = policy("guard-status")["spec"]["validations"][0]["expression"]
    assert refused.endswith(f"!= {STATUS['status']['observedGeneration']}")


def test_policies_are_those_of_the_mode_and_of_the_release() -> None:
    only = ("--show-only", "templates/policies.yaml")
    attested, declared = rendered(*only), rendered(*only, identity__mode="Declared")
    names = {
        mode: {document["metadata"]["name"].split(".")[0] for document in found}
        for mode, found in (("Attested", attested), ("Declared", declared))
    }
    assert names["Attested"] - names["Declared"] == {"stamp-identity"}
    for mode, found in (("Attested", attested), ("Declared", declared)):
        check = next(each for each in found if each["metadata"]["name"].startswith("check-identity"))
        variables = {each["name"]: each["expression"] for each in check["spec"]["variables"]}
        assert variables["mode"] == f"'{mode}'"
        assert variables["operator"] == "'system:serviceaccount:exports:export-operator'"


def test_a_cluster_that_cannot_stamp_is_refused_and_told_what_it_can() -> None:
    command = [str(tools.path("helm")), "template", "one", str(CHART), "-n", "platform", "--kube-version"]
    refused = subprocess.run([*command, "1.35.2"], check=False, capture_output=True, text=True)
    assert "identity.mode Attested needs Kubernetes 1.36 or newer" in refused.stderr
    assert "Use --set identity.mode=Declared" in refused.stderr
    for version, options in (("1.36.0", []), ("1.30.0", ["--set", "identity.mode=Declared"])):
        assert subprocess.run([*command, version, *options], check=False, capture_output=True).returncode == 0


SOURCE = """\
spec:
  a:
    deep:
      b: 1
  b:
    text: >-
      more

      text
  c: 2
""".splitlines()


def test_a_part_of_a_crd_is_taken_whole_from_where_it_is_outermost() -> None:
    assert block(SOURCE, "spec.b") == ["b:", "  text: >-", "    more", "", "    text"]
    with pytest.raises(KeyError, match=r"spec\.d"):
        block(SOURCE, "spec.d")


def test_filling_in_again_changes_nothing() -> None:
    lines = ["  # from exportrequests.yaml: spec.b", "  # to here", "end"]
    once = list(filled(lines, SOURCE))
    assert once == [lines[0], "  b:", "    text: >-", "      more", "", "      text", lines[1], "end"]
    assert list(filled(once, SOURCE)) == once
