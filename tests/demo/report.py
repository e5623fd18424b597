"""What the demo prints: what is asked, what came, whether it is right, where the time went, what to try next."""

import textwrap

from tests.demo.download import PORT
from tests.demo.follow import Followed, paint, size
from tests.demo.proof import Check
from tests.demo.stage import ALICE, ANYBODY_ELSE, TEAM, Clock
from tests.platform.api import Json

BOUND_SECONDS = 8.0
STEPS = ["connect", "firstRow", "read", "encode", "upload", "commit"]
"""Of the exporter, in the order in which they begin."""


def title(text: str) -> None:
    print(f"\n{paint('1', text)}", flush=True)


def asking(manifest: str) -> None:
    title(f"{ALICE}, a tenant of namespace {TEAM}, applies an ExportRequest")
    print(textwrap.indent(manifest, "    "))
    print(f"  $ kubectl -n {TEAM} --as {ALICE} apply -f request.yaml", flush=True)


def delivered(request: Json) -> None:
    result = request["status"]["result"]
    title("Delivered")
    rows = {
        "object": result["uri"],
        "manifest": result["manifestURI"],
        "rows": f"{result['rows']:,}, of the moment {result.get('snapshotTime', '')}",
        "bytes": f"{result['bytes']:,} ({size(result['bytes'])})",
        "SHA-256": result["sha256"],
        "peak memory": f"{size(result['peakMemoryBytes'])} in the export pod",
    }
    _table(rows)


def checks(found: list[Check]) -> None:
    title("Checked, with PostgreSQL's own COPY and nothing of ours")
    for each in found:
        mark = paint("32", "✓") if each.holds else paint("31", "✗")
        print(f"  {mark} {each.claim}: {each.found}")


def times(clock: Clock, followed: Followed, timings: dict[str, float]) -> None:
    title("Where the time went")
    for name, seconds in clock.steps.items():
        _seconds(name, seconds)
        if name == "export":
            _export_times(followed, timings)
    _seconds("in all", clock.total)
    good = followed.seconds <= BOUND_SECONDS
    told = f"apply to Succeeded: {followed.seconds:.1f} s (promised on a warm cluster: {BOUND_SECONDS:.0f} s)"
    print(f"  {paint('32' if good else '33', told)}")


def _export_times(followed: Followed, timings: dict[str, float]) -> None:
    """As they were seen from here, and within the pod as the exporter measured them."""
    runs = followed.seen.get("Running", 0.0)
    _seconds("  pod starts", runs, "admission, quota, Job, scheduling, container")
    _seconds("  pod runs", followed.seconds - runs, "Python starts, rows are exported, Kubernetes ends pod and Job")
    if "total" in timings:
        _seconds("    exporting", timings["total"], "of it, overlapping:")
    for step in sorted(timings.keys() - {"total"}, key=lambda step: STEPS.index(step) if step in STEPS else len(STEPS)):
        _seconds(f"      {step}", timings[step])


def _seconds(name: str, seconds: float, note: str = "") -> None:
    print(f"  {name:<20}{seconds:6.1f} s  {note}".rstrip())


def quota(request: Json) -> None:
    title("Quota")
    for window in request["status"].get("quota") or []:
        used = f"{window['used']} of {window['limit']} {window['resource']} used"
        print(f"  {ALICE}: {used} in this window, by policy {window['policy']!r}; without a policy it would be 5 a day")


def next_steps(request: Json, link: str) -> None:
    name = request["metadata"]["name"]
    tenant = f"kubectl -n {TEAM} --as {ALICE}"
    title("Try next")
    print('  eval "$(python3 -m tests.cluster env)"     # this shell: kubectl, pointed at the cluster')
    for what, command in {
        "watch": f"{tenant} get exreq --watch",
        "what happened, and its Events": f"{tenant} describe exreq {name}",
        "wait, as a script would": f"{tenant} wait --for=condition=Complete exreq/{name}",
        "run it again, counted again": f'{tenant} patch exreq {name} --type=merge -p \'{{"spec":{{"runID":"2"}}}}\'',
        "cancel one": f'{tenant} patch exreq {name} --type=merge -p \'{{"spec":{{"cancel":true}}}}\'',
        f"exceed a quota: {ANYBODY_ELSE} has five a day, and the sixth waits": (
            f'for n in 1 2 3 4 5 6; do sed "s/users-now/{ANYBODY_ELSE}-$n/" manifests/samples/request-minimal.yaml |'
            f" kubectl -n {TEAM} --as {ANYBODY_ELSE} apply -f -; done; kubectl -n {TEAM} get exreq"
        ),
        "download, by the link that the ExportDownload gave, for an hour": (
            f"kubectl -n demo-services port-forward service/s3 {PORT} & sleep 1; curl -so users.csv.gz '{link}'"
        ),
        "what the platform team made": "kubectl get exportsources,exportdestinations,exportpolicies",
        "remove all of it": "make demo-down",
    }.items():
        print(f"  # {what}\n  {command}")


def _table(rows: dict[str, str]) -> None:
    for name, text in rows.items():
        print(f"  {name:<12} {text}")
