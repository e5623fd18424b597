"""Which keys of a bucket are of our scheme (`names`), and which of them go when a run is undone.

Only what `owned` knows counts as ours: whatever else somebody has put beside it stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from export_contract.names import CHECKPOINTS, MANIFEST
from export_contract.runspec import EXTENSIONS, SUFFIXES

_RUN = "(?P<run>[0-9a-f]{20})"
_FORM = re.compile("(?:{})(?:{})".format(*("|".join(map(re.escape, each.values())) for each in (EXTENSIONS, SUFFIXES))))
_NUMBER = re.compile("-[0-9]{5,}$")
_DOCUMENT = re.compile(
    rf"{re.escape(CHECKPOINTS)}/{_RUN}/(?:(?:checkpoint|objects-[0-9a-f]{{16}}-[01])\.json|probe-[0-9a-f]{{16}})"
)
_DATA = re.compile(rf"(?P<namespace>[^/]+)/(?:.+/)?(?P<name>[^/]+)/{_RUN}/(?P<file>[^/]+)")


@dataclass(frozen=True, slots=True)
class Owned:
    """What a key of our scheme tells. `namespace` and `name` are empty for documents beside a checkpoint."""

    run: str
    folder: str
    namespace: str = ""
    name: str = ""
    manifest: bool = False

    @property
    def data(self) -> bool:
        """It is of an export, not of a checkpoint."""
        return bool(self.namespace)


def owned(key: str, prefix: str) -> Owned | None:
    """What the key of an object or upload under a destination's `prefix` tells; None when it is none of ours."""
    head = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    if not key.startswith(head):
        return None
    rest, folder = key[len(head) :], key.rpartition("/")[0] + "/"
    if found := _DOCUMENT.fullmatch(rest):
        return Owned(found["run"], folder)
    found = _DATA.fullmatch(rest)
    if found is None or not (found["file"] == MANIFEST or _is_object(found["file"], found["name"])):
        return None
    return Owned(found["run"], folder, found["namespace"], found["name"], found["file"] == MANIFEST)


def _is_object(file: str, name: str) -> bool:
    """The file is an export of that name, or one of several: those are numbered before the first dot, also the
    name's."""
    stem, dot, rest = file.partition(".")
    whole = (file, f"{_NUMBER.sub('', stem)}{dot}{rest}")
    return any(each.startswith(name) and _FORM.fullmatch(each, len(name)) for each in whole)


def folder_of(key: str) -> str:
    """The folder of a key, with a slash at its end."""
    return key.rpartition("/")[0] + "/"


def owns(folder: str, key: str, *, data: bool) -> bool:
    """The key is of our scheme, and in this folder of a run: that of its `data`, or that of its checkpoint."""
    told = owned("/".join([*(["-"] if data else []), *key.split("/")[-3:]]), "")
    return told is not None and told.data == data and folder_of(key) == folder


def doomed(found: Iterable[str], folder: str, *, data: bool, objects: bool) -> tuple[str, ...]:
    """Which of the keys in a folder of a run go. An export that its manifest makes one stays, unless its `objects` are
    to go; then the manifest goes first, so that what is left halfway is no export any more. What no manifest tells of
    is none, and nobody will finish it."""
    ours = sorted(key for key in found if owns(folder, key, data=data))
    manifest = folder + MANIFEST
    if data and manifest in ours and not objects:
        return ()
    return tuple(sorted(ours, key=lambda key: key != manifest))
