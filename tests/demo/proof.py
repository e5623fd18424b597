"""What was delivered, held against what was promised and against PostgreSQL."""

import gzip
import hashlib
import json
from dataclasses import dataclass

from tests.platform.api import Json
from tests.platform.database import Database
from tests.platform.storage import Storage
from tests.services import data


@dataclass(frozen=True)
class Check:
    """One thing that must hold."""

    claim: str
    holds: bool
    found: str


def check(result: Json, storage: Storage, database: Database) -> list[Check]:
    """Read the object back without any code of ours and compare."""
    content = storage.read(result["uri"])
    digest = hashlib.sha256(content).hexdigest()
    manifest = json.loads(storage.read(result["manifestURI"]))
    rows = database.count("users")
    difference = database.compare_csv(gzip.decompress(content), "users", data.COLUMNS)
    bucket = result["uri"].removeprefix("s3://").partition("/")[0]
    left = storage.uploads(bucket)
    return [
        Check("the object has the bytes that status names", len(content) == result["bytes"], f"{len(content):,}"),
        Check("its SHA-256, computed here, is the one in status", digest == result["sha256"], digest),
        Check("the manifest says the same", _agrees(manifest, result), f"{manifest['rows']:,} rows, {digest[:12]}…"),
        Check("its rows, counted by PostgreSQL, are those of the table", difference.rows == rows, f"{rows:,}"),
        Check(
            "every row of the table is in it, and no other (COPY back, EXCEPT ALL both ways)",
            difference.none,
            f"{difference.missing} missing, {difference.surplus} too many",
        ),
        Check("no unfinished upload is left in the bucket", not left, f"{len(left)} left"),
    ]


def _agrees(manifest: Json, result: Json) -> bool:
    (object_,) = manifest["objects"]
    told = (manifest["rows"], object_["bytes"], object_["sha256"], manifest["complete"])
    return bool(told == (result["rows"], result["bytes"], result["sha256"], True))
