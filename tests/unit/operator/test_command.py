"""The command line: what it says and its exit codes. The process is the real one."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from export_operator import __version__
from export_operator.__main__ import main
from tests.services.processes import free_port

pytestmark = pytest.mark.unit


def operator(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
    return subprocess.run(
        [sys.executable, "-m", "export_operator", *arguments],
        env=kept | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert (main(["version"]), capsys.readouterr().out) == (0, f"{__version__}\n")


def test_a_missing_setting_is_wrong_usage_and_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EXPORT_OPERATOR_RUN_NAMESPACE", raising=False)
    assert (main(["run"]), capsys.readouterr().err) == (
        2,
        "export-operator: EXPORT_OPERATOR_RUN_NAMESPACE is not set\n",
    )


@pytest.mark.parametrize("arguments", [[], ["fly"], ["run", "--fast"]], ids=str)
def test_wrong_usage_ends_with_two(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def test_without_a_way_to_a_cluster_it_says_so_and_ends_with_one(tmp_path: Path) -> None:
    found = operator(
        "check",
        EXPORT_OPERATOR_RUN_NAMESPACE="runs",
        EXPORT_OPERATOR_RUNNER_IMAGE="image",
        KUBECONFIG=str(tmp_path / "none"),
    )
    assert (found.returncode, found.stderr.count("\n"), found.stderr[:64]) == (
        1,
        1,
        "export-operator: 0 NotConfigured: no way to reach a cluster: Inv",
    )


def test_a_cluster_that_does_not_answer_ends_with_one(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text(
        json.dumps(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
                "clusters": [{"name": "k", "cluster": {"server": "http://127.0.0.1:1"}}],
                "users": [{"name": "u", "user": {}}],
            }
        )
    )
    found = operator(
        "run",
        EXPORT_OPERATOR_RUN_NAMESPACE="runs",
        EXPORT_OPERATOR_RUNNER_IMAGE="image",
        KUBECONFIG=str(kubeconfig),
    )
    assert (found.returncode, found.stderr) == (
        1,
        "export-operator: the API server does not answer: 0 Unreachable: ClientConnectorError\n",
    )


SPEAKING = [
    {
        "kind": "Role",
        "metadata": {"name": "speak", "namespace": "team-a"},
        "rules": [{"apiGroups": ["export-operator.io"], "resources": ["requesters"], "verbs": ["act-as"]}],
    },
    {
        "kind": "RoleBinding",
        "metadata": {"name": "speak", "namespace": "team-a"},
        "roleRef": {"kind": "Role", "name": "speak"},
        "subjects": [{"kind": "ServiceAccount", "namespace": "gitops", "name": "deployer"}],
    },
]
EDITED = [
    {
        "kind": "ClusterRole",
        "metadata": {"name": "edit"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["*"]}],
    },
    {
        "kind": "RoleBinding",
        "metadata": {"name": "edit", "namespace": "gitops"},
        "roleRef": {"kind": "ClusterRole", "name": "edit"},
        "subjects": [{"kind": "Group", "name": "developers"}],
    },
]


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        (json.dumps({"items": SPEAKING}), 0, "ok: no account with the verb act-as can be used by others"),
        (json.dumps({"items": SPEAKING + EDITED}), 1, "account gitops/deployer may act as others, and so can whoever"),
        ("", 2, "standard input is not a list of roles and bindings"),
        ("[]", 2, "standard input is not a list of roles and bindings"),
    ],
    ids=["safe", "exposed", "nothing", "no list"],
)
def test_accounts_that_others_can_use_to_speak_for_anybody_are_told_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, given: str, code: int, said: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(given))
    assert main(["grants"]) == code
    shown = capsys.readouterr()
    assert said in shown.out + shown.err


HISTORY = {"EXPORT_OPERATOR_HISTORY_HOST": "127.0.0.1", "EXPORT_OPERATOR_HISTORY_DATABASE": "audit"}


def test_migrating_the_history_needs_to_know_where_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert (main(["history", "migrate"]), capsys.readouterr().err) == (
        2,
        "export-operator: EXPORT_OPERATOR_HISTORY_HOST is not set\n",
    )


def test_a_server_that_is_not_there_ends_a_migration_with_one_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (HISTORY | {"EXPORT_OPERATOR_HISTORY_CREDENTIALS_DIR": str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("EXPORT_OPERATOR_HISTORY_PORT", str(free_port()))
    assert main(["history", "migrate"]) == 1
    assert "credentials cannot be read: No such file or directory" in capsys.readouterr().err
    (tmp_path / "username").write_text("owner")
    (tmp_path / "password").write_text("not-told")
    assert main(["history", "migrate"]) == 1
    told = capsys.readouterr().err
    assert "Connection refused" in told
    assert "not-told" not in told


def test_rows_are_kept_for_a_number_of_days(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (HISTORY | {"EXPORT_OPERATOR_HISTORY_CREDENTIALS_DIR": "/nowhere"}).items():
        monkeypatch.setenv(name, value)
    assert main(["history", "migrate", "--retention-days", "-1"]) == 2
    assert capsys.readouterr().err == "export-operator: --retention-days: -1 is not between 0 and 36500\n"


def test_without_a_history_the_driver_of_postgresql_is_not_loaded() -> None:
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, export_operator.__main__; print({'psycopg', 'sqlalchemy'} & set(sys.modules))",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert found.stdout == "set()\n"


def test_the_first_process_of_a_container_ends_at_once_when_it_is_told_to_before_it_serves() -> None:
    told = """
import os, signal, sys, types
own, os.getpid = os.getpid(), lambda: 1
still_importing = sys.modules["export_operator.__main__"] = types.ModuleType("export_operator.__main__")
still_importing.main = lambda: os.kill(own, signal.SIGTERM)
from export_operator import start
sys.exit(start.entry())
"""
    found = subprocess.run([sys.executable, "-c", told], timeout=60, check=False)
    assert found.returncode == 128 + signal.SIGTERM
