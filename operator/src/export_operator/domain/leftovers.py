"""Where a run may have left something outside the cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from export_contract import environment
from export_contract.leftovers import folder_of
from export_contract.names import Keys
from export_contract.runspec import Destination, FallbackBucket, RunSpec
from export_operator.domain.credentials import CA_VOLUME
from export_operator.domain.places import Coordinates


@dataclass(frozen=True, slots=True)
class Area:
    """A folder of one run in a bucket; `place` has the fields of an ExportDestination that tell how it is reached. One
    of `data` holds the export and its manifest, another the checkpoint. `known` are the keys that are certainly the
    run's, for whoever may not list."""

    place: Mapping[str, Any]
    folder: str
    known: tuple[str, ...]
    data: bool


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Where a run may have left something. The checkpoint comes first: once it is gone, a process that was thought dead
    can go on with nothing."""

    run: str
    destination: str
    areas: tuple[Area, ...]
    database: bool = False
    """The fallback is a database."""

    @property
    def by_pod(self) -> bool:
        """Something is reached by an export pod alone: it has a service account, or a driver, that the operator has
        not."""
        secrets = ((area.place.get("credentialsSecret") or {}).get("name") for area in self.areas)
        return self.database or not all(secrets)


def at(coordinates: Coordinates, name: str, destination: Mapping[str, Any]) -> Leftovers:
    """Of a run whose Job is gone; `destination` is the spec of the ExportDestination `name` as it is now."""
    keys = coordinates.keys(destination)
    areas = _areas(destination, destination.get("checkpointBucket") or "", keys)
    fallback = destination.get("fallback") or {}
    if bucket := fallback.get("bucket"):
        spare = coordinates.keys(bucket)
        areas += _areas({**bucket, "caSecret": destination.get("caSecret")}, "", replace(spare, checkpoint=""))
    return Leftovers(coordinates.run, name, tuple(areas), bool(fallback.get("database")))


def of_job(document: Mapping[str, Any], destination: Callable[[str], Mapping[str, Any] | None]) -> Leftovers:
    """Of a Job's run: buckets and keys are those that its pods were told. How they are reached may have changed since,
    so an ExportDestination that still names the same bucket says. Raises `ContractError`, also for a RunSpec that a
    newer release wrote."""
    pod = document["spec"]["template"]["spec"]
    variables = {each["name"]: each for each in pod["containers"][0].get("env") or ()}
    volumes = {each["name"]: each for each in pod.get("volumes") or ()}
    spec = RunSpec.from_json(variables[environment.RUN_SPEC]["value"].replace("$$", "$"))
    target, present = spec.destination, destination(spec.destination.name) or {}
    authority = {"name": ((volumes.get(CA_VOLUME) or {}).get("secret") or {}).get("secretName") or ""}
    told = _told(target, variables.get(environment.AWS_ACCESS_KEY_ID)) | {"caSecret": authority}
    place = present if present.get("bucket") == target.bucket else told
    keys = Keys(target.key, target.manifest_key, target.checkpoint_key)
    areas = _areas(place, target.checkpoint_bucket, keys)
    spare = target.fallback.bucket if target.fallback else None
    if spare is not None:
        now = (present.get("fallback") or {}).get("bucket") or {}
        then = _told(spare, variables.get(environment.FALLBACK_AWS_ACCESS_KEY_ID))
        place = {**(now if now.get("bucket") == spare.bucket else then), "caSecret": place.get("caSecret")}
        areas += _areas(place, "", Keys(spare.key, spare.manifest_key, ""))
    database = target.fallback is not None and target.fallback.database is not None
    return Leftovers(spec.run.id, target.name, tuple(areas), database)


def _told(bucket: Destination | FallbackBucket, key: Mapping[str, Any] | None) -> dict[str, Any]:
    """How a pod was told to reach a bucket; `key` is the variable that names the Secret."""
    secret = ((key or {}).get("valueFrom") or {}).get("secretKeyRef") or {}
    return {
        "bucket": bucket.bucket,
        "region": bucket.region,
        "endpoint": bucket.endpoint,
        "pathStyle": bucket.path_style,
        "credentialsSecret": {"name": secret.get("name") or ""},
    }


def _areas(place: Mapping[str, Any], checkpoints: str, keys: Keys) -> list[Area]:
    """Documents beside the checkpoint are in its bucket, and a probe of the destination in the destination's."""
    found = [Area(place, folder_of(keys.object), (keys.manifest, keys.object), data=True)]
    if keys.checkpoint:
        buckets = dict.fromkeys((checkpoints or place["bucket"], place["bucket"]))
        documents = [
            Area({**place, "bucket": each}, folder_of(keys.checkpoint), (keys.checkpoint,), data=False)
            for each in buckets
        ]
        found = [*documents, *found]
    return found
