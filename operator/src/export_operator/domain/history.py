"""What the history keeps of a run that has ended: one row, told by its request, or by its Job where that is gone.

A row is a mapping from the columns of the table `export_jobs` (`migrations/`) to JSON values; what is not known is left
out. No text that a person or a pod wrote freely is in it, and no value of a parameter.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from export_contract import names
from export_contract.runspec import Parameter, RunSpec
from export_operator.domain import outcome, status, times
from export_operator.domain.evidence import run_spec
from export_operator.domain.expiry import NOT_WANTED
from export_operator.domain.model import (
    ANNOTATION_SUBMITTER,
    TERMINAL_PHASES,
    Job,
    Pod,
    parse_job,
    parse_pod,
    parse_request,
)
from export_operator.domain.places import Places, Uris

Row = Mapping[str, Any]

REQUEST, JOB = "request", "job"
"""Who told of a run."""


def ended_run(document: Mapping[str, Any]) -> str:
    """The run whose end a request's status tells; "" while it has not ended."""
    told = document.get("status") or {}
    return str(told.get("run") or "") if told.get("phase") in TERMINAL_PHASES and told.get("completionTime") else ""


def row_of(document: Mapping[str, Any]) -> Row:
    """The row of the run whose end the request's status tells (`ended_run`)."""
    request = parse_request(document)
    told = request.status
    effective: Mapping[str, Any] = told.get("effective") or {}
    adopted: Mapping[str, Any] = told.get("adopted") or {}
    # Who adopts delivers nothing: rows and bytes are told once, by the run that it names.
    result: Mapping[str, Any] = {} if adopted else told.get("result") or {}
    failure: Mapping[str, Any] = told.get("failure") or {}
    source, output = request.spec.get("source") or {}, request.spec.get("output") or {}
    destination = request.spec.get("destination") or {}
    return _sound(
        {
            "run": told["run"],
            "request_uid": request.uid,
            "namespace": request.key.namespace,
            "request": request.key.name,
            "run_id": str(told.get("runID") or ""),
            "requester": request.requester,
            "submitted_by": request.submitter,
            "schedule": _schedule(document) if request.scheduled else "",
            "policy": effective.get("policy"),
            "source": effective.get("source") or source.get("name"),
            "dataset": effective.get("dataset") or source.get("dataset"),
            "columns": effective.get("columns") or source.get("columns"),
            "parameters_sha256": parameters_hash(source.get("parameters") or {}),
            "digest": effective.get("digest"),
            "destination": effective.get("destination") or destination.get("name"),
            "format": effective.get("format") or output.get("format"),
            "compression": effective.get("compression") or output.get("compression"),
            "layout": effective.get("layout") or output.get("layout"),
            "phase": status.ended_as(told),
            "reason": _reason(told),
            "failure_class": failure.get("class"),
            "exit_code": failure.get("exitCode"),
            "attempts": told.get("attempts"),
            "rows": result.get("rows"),
            "bytes": result.get("bytes"),
            "objects": result.get("objects"),
            "sha256": result.get("sha256"),
            "complete": result.get("complete"),
            "used_fallback": result.get("usedFallback"),
            "uri": result.get("uri"),
            "manifest_uri": result.get("manifestURI"),
            "expires_at": result.get("expirationTime"),
            "consistency": result.get("consistency"),
            "snapshot_at": result.get("snapshotTime"),
            "adopted_run": adopted.get("run"),
            "requested_at": None if told.get("runID") else times.render(request.created),
            "queued_at": told.get("queuedTime"),
            "started_at": told.get("startTime"),
            "completed_at": told["completionTime"],
            "timings": result.get("timings"),
            "told_by": REQUEST,
        }
    )


def row_of_job(body: Mapping[str, Any], pods: Iterable[Mapping[str, Any]], now: datetime) -> Row | None:
    """The row of a run whose request is gone, or wants another run, and has not told its end. None where the Job is
    none of ours. `body` and `pods` are documents, for a Job's RunSpec is not kept in memory."""
    job, spec = parse_job(body), run_spec(body)
    if spec is None or spec.run.id != job.run:
        return None
    ended = _ended(job, tuple(map(parse_pod, pods)), _places(spec))
    row = _identity(body, spec) | {
        "requested_at": None,
        "started_at": times.render(job.started or job.created),
        "completed_at": times.render(job.finished or now),
        "told_by": JOB,
        **_end(ended),
    }
    delivered = ended.delivered
    if delivered is not None:
        where = _places(spec).of(delivered)
        assert where is not None, "what is believed is at one of the run's places"
        row |= {
            "rows": delivered.rows,
            "bytes": delivered.bytes,
            "objects": delivered.objects,
            "sha256": delivered.sha256,
            "complete": delivered.complete,
            "used_fallback": delivered.used_fallback,
            "uri": where.object,
            "manifest_uri": where.manifest,
            "consistency": delivered.consistency,
            "snapshot_at": delivered.snapshot_time,
            "timings": {name: round(seconds, 3) for name, seconds in ended.timings},
        }
    return _sound(row)


def parameters_hash(parameters: Mapping[str, str]) -> str:
    """SHA-256, in hex, over the parameters as JSON: names in order, no spaces; "" where there are none. Whoever may
    guess a value can find out whether it was that one, which is what the hash is for."""
    if not parameters:
        return ""
    text = json.dumps(dict(parameters), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _identity(body: Mapping[str, Any], spec: RunSpec) -> dict[str, Any]:
    annotations = body["metadata"].get("annotations") or {}
    return {
        "run": spec.run.id,
        "request_uid": spec.run.uid,
        "namespace": spec.run.namespace,
        "request": spec.run.name,
        "run_id": spec.run.run_id,
        "requester": spec.run.requester,
        "submitted_by": annotations.get(ANNOTATION_SUBMITTER),
        "source": spec.source.name,
        "dataset": spec.source.dataset,
        "columns": list(spec.source.columns),
        "parameters_sha256": parameters_hash(_given(spec.source.parameters)),
        "digest": spec.run.digest,
        "destination": spec.destination.name,
        "format": spec.output.format,
        "compression": spec.output.compression,
        "layout": spec.output.layout,
    }


def _given(parameters: Sequence[Parameter]) -> dict[str, str]:
    return {each.name: each.value for each in parameters}


def _ended(job: Job, pods: Sequence[Pod], ways: Places) -> outcome.Ended:
    """How it ended; one that never did, for it was suspended, was not wanted any more."""
    if job.terminal:
        return outcome.ended(job, pods, ways)
    return outcome.Ended(None, outcome.stopped(NOT_WANTED, "its request is gone"), len(pods))


def _end(ended: outcome.Ended) -> dict[str, Any]:
    found = ended.problem
    if found is None:
        whole = ended.delivered is None or ended.delivered.complete
        phase, reason = ("Succeeded", "Delivered") if whole else ("PartiallySucceeded", "DeadlineReached")
        return {"phase": phase, "reason": reason, "attempts": ended.attempts}
    if found.reason in {NOT_WANTED, "Cancelled"}:
        return {"phase": "Cancelled", "reason": found.reason, "attempts": ended.attempts}
    return {
        "phase": "Failed",
        "reason": found.reason,
        "failure_class": found.failure_class,
        "exit_code": found.exit_code,
        "attempts": ended.attempts,
    }


def _places(spec: RunSpec) -> Places:
    place, layout = spec.destination, spec.output.layout
    fallback = place.fallback
    return Places(
        Uris(names.export_uri(place.bucket, place.key, layout), f"s3://{place.bucket}/{place.manifest_key}"),
        None
        if fallback is None
        else Uris(
            names.fallback_uri(fallback, spec.run.id, layout), names.fallback_manifest_uri(fallback, spec.run.id)
        ),
    )


def _reason(told: Mapping[str, Any]) -> str:
    """Why it ended so. One that is kept as Expired says it in its condition."""
    if told.get("phase") != "Expired":
        return str(told.get("reason") or "")
    ends = {item["type"]: item for item in told.get("conditions") or () if item.get("status") == "True"}
    end = ends.get("Complete") or ends.get("Failed") or {}
    return str(end.get("reason") or "")


def _schedule(document: Mapping[str, Any]) -> str:
    owners = document["metadata"].get("ownerReferences") or ()
    return next((str(each["name"]) for each in owners if each.get("controller")), "")


def _sound(row: Mapping[str, Any]) -> Row:
    """Without what says nothing, and with texts that PostgreSQL takes: no NUL, no half of a surrogate pair."""
    return {name: _text(value) for name, value in row.items() if value not in (None, "", {}, [])}


def _text(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, list | tuple):
        return [_text(each) for each in value]
    return value
