"""Runs in export pods in place of the exporter (see test_endings.py) and ends as the request's name says."""

import json
import os
import sys
import time
from pathlib import Path

run = json.loads(os.environ["EXPORT_RUN_SPEC"])["run"]
behaviour, _, number = run["name"].rpartition("-")
delivered = {
    "uri": "s3://elsewhere/forged.csv",
    "manifestURI": "s3://elsewhere/manifest.json",
    "rows": 1,
    "bytes": 1,
    "sha256": "",
}
failure = {
    "reason": "SourceUnavailable",
    "failureClass": "Source",
    "message": "not my fault",
    "retryable": True,
    "exitCode": 80,
}
forged = {"version": 1, "run": run["id"]}
told = {
    "says-elsewhere": json.dumps(forged | {"delivered": delivered}),
    "says-too-much": json.dumps(forged | {"delivered": delivered | {"consistency": "x" * 100_000}}),
    "says-nonsense": "\u0000}{" * 100,
    "contradicts-itself": json.dumps(forged | {"failure": failure}),
    "claims-a-refund": json.dumps(forged | {"failure": failure | {"reason": "ValueTooLarge", "exitCode": 72}}),
}
if behaviour in told:
    Path("/dev/termination-log").write_text(told[behaviour])
if behaviour == "fills-its-folder":
    with Path("/tmp/full").open("wb") as file:  # noqa: S108 - the pod's own
        for _ in range(80):
            file.write(bytes(1 << 20))
    time.sleep(600)
sys.exit(int(number))
