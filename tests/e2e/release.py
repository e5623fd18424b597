"""Another release of the product, made of this one: images of their own, and a chart that has moved on.

What its exporter tells has fields that this one has never heard of, and its CRD has one as well.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from tests.cluster import digests, images, locks, providers, say
from tests.platform.names import CHART

VERSION = "0.9.9"
FIELD = "hibernate"
"""Of a request's spec."""
NEWS = '''"""Read by Python when it starts: each report has a field that a later release has added."""

from export_contract import codec

written = codec.encode


def encode(value):
    found = written(value)
    if type(value).__name__ in {"Progress", "Outcome", "Delivered", "Manifest"}:
        found["ofALaterRelease"] = {"and": ["more"]}
    return found


codec.encode = encode
'''


@dataclass(frozen=True)
class Release:
    """`built` are its images, `chart` is the directory of its chart."""

    built: images.Images
    chart: Path


@contextmanager
def later(cluster: providers.Cluster, built: images.Images) -> Iterator[Release]:
    """The release after this one, whose images are in the cluster while the block runs."""
    builder = images.builder(cluster)
    with TemporaryDirectory() as directory:
        place = Path(directory)
        (place / "sitecustomize.py").write_text(NEWS)
        chart = place / "chart"
        shutil.copytree(CHART, chart)
        _edit(chart / "Chart.yaml", ("version", VERSION), ("appVersion", VERSION))
        crd = ("spec", "versions", 0, "schema", "openAPIV3Schema", "properties", "spec", "properties", FIELD)
        _edit(chart / "files" / "crds" / "exportrequests.yaml", (*crd, {"type": "boolean"}))
        with say.step("making a later release"), locks.exclusive("images"):
            operator = _image(builder, place, built.operator, f"LABEL release={VERSION}\n")
            exporter = _image(builder, place, built.exporter, "COPY sitecustomize.py /own/\n")
        try:
            yield Release(images.Images(operator, exporter, built.postgres, built.s3), chart)
        finally:
            with locks.exclusive("images"):
                builder.remove([operator, exporter])


def _image(builder: images.Builder, context: Path, present: str, more: str) -> str:
    """An image that is the present one and a layer more."""
    repository, _, tag = present.rpartition(":")
    reference = f"{repository}-later:{digests.of([tag, more, NEWS])}"
    builder.build(f"FROM {present}\n{more}", context, reference)
    return builder.load(reference)


def _edit(file: Path, *changes: tuple[object, ...]) -> None:
    """Set what is at the path that each change begins with to what it ends with."""
    document = yaml.safe_load(file.read_text())
    for *path, name, value in changes:
        inner = document
        for each in path:
            inner = inner[each]
        inner[name] = value
    file.write_text(yaml.safe_dump(document, sort_keys=False))
