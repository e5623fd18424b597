"""The cluster's containerd, and how an image gets there from buildah without a registry between the two.

buildah writes an image as an OCI layout: a directory of files named by their digests. It does not write a layer whose
file is there, so an empty file keeps it from packing what containerd has already; the archive that containerd then
imports lacks these layers. A change to the last layer of an image of 300 MB costs the last layer.
"""

import hashlib
import io
import json
import shlex
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from tests.cluster import shell
from tests.cluster.local import store
from tests.cluster.local.settings import Settings
from tests.cluster.problem import Problem

IMAGE_NAME = "io.containerd.image.name"
"""The annotation by which containerd calls what it imports."""
Json = dict[str, Any]
Blobs = dict[str, bytes | Path]
"""Digest to content."""


class Packed:
    """Which packed layer is which layer: buildah names a layer by its content, containerd by its compressed form."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def load(self) -> dict[str, Json]:
        """Descriptors of packed layers, by the digest of what they unpack to."""
        try:
            known: dict[str, Json] = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return {}
        return known

    def save(self, known: Mapping[str, Json]) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(known))
        fresh.rename(self._file)


class Containerd:
    """The images and containers of the cluster."""

    def __init__(self, settings: Settings) -> None:
        self._ctr: list[str | Path] = ["ctr", "--address", settings.socket, "--namespace", "k8s.io"]
        self._packed = Packed(settings.directory / "containerd" / "packed.json")

    def images(self) -> set[str]:
        return set(shell.output([*self._ctr, "images", "ls", "-q"]).split())

    def used(self) -> str:
        """A table of the containers, each with its image: what is in it may be started again."""
        return shell.output([*self._ctr, "containers", "ls"])

    def remove(self, references: list[str]) -> None:
        if references:
            listed = shell.output([*self._ctr, "images", "ls"])
            shell.run([*self._ctr, "images", "rm", *with_aliases(listed, references)], check=False)

    def stop_containers(self) -> None:
        """Kill and forget every container; the shims go with them."""
        containers = shell.run([*self._ctr, "containers", "ls", "-q"], check=False, timeout=10).stdout.split()
        for each in containers:
            shell.run([*self._ctr, "tasks", "rm", "--force", each], check=False, timeout=10)
        if containers:
            shell.run([*self._ctr, "containers", "rm", *containers], check=False, timeout=10)

    def load(self, reference: str) -> None:
        """Bring an image from buildah's store."""
        there = set(shell.output([*self._ctr, "content", "ls", "-q"]).split())
        known = {layer: packed for layer, packed in self._packed.load().items() if packed["digest"] in there}
        try:
            self._transfer(reference, known)
        except Problem:
            self._transfer(reference, {})  # a layer may have been collected as garbage since we asked

    def _transfer(self, reference: str, known: Mapping[str, Json]) -> None:
        template = "{{range .OCIv1.RootFS.DiffIDs}}{{.}} {{end}}"
        layers = store.buildah("inspect", "--type", "image", "--format", template, reference).stdout.split()
        with tempfile.TemporaryDirectory(dir=store.home()) as directory:
            layout = Path(directory)
            for layer in known.keys() & set(layers):
                blob(layout, layer).parent.mkdir(parents=True, exist_ok=True)
                blob(layout, layer).touch()
            store.buildah("push", "--quiet", reference, f"oci:{layout}:image")
            index, blobs, packed = assemble(layout, reference, layers, known)
            self._import(index, blobs)
        self._packed.save({**known, **packed})

    def _import(self, index: Json, blobs: Blobs) -> None:
        command = [str(each) for each in (*self._ctr, "images", "import", "--digests=false", "-")]
        with (
            tempfile.TemporaryFile() as said,
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said) as process,
        ):
            assert process.stdin
            try:
                write_archive(process.stdin, index, blobs)
                process.stdin.close()
            except BrokenPipeError:
                pass  # its own words say more
            code = process.wait()
            said.seek(0)
            text = said.read().decode(errors="replace")
        if code:
            raise Problem(f"`{shlex.join(command)}` ended with code {code}: {text}")


def with_aliases(listed: str, references: list[str]) -> list[str]:
    """The references, and the names by digest that Kubernetes gave the same images; `listed` is `ctr images ls`."""
    digests = {words[0]: words[2] for line in listed.splitlines()[1:] if len(words := line.split()) > 2}
    going = {digests.get(each) for each in references}
    staying = {digest for name, digest in digests.items() if name not in references and not name.startswith("sha256:")}
    aliases = [name for name, digest in digests.items() if name.startswith("sha256:") and digest in going - staying]
    return [*references, *aliases]


def blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")


def assemble(
    layout: Path, reference: str, layers: list[str], known: Mapping[str, Json]
) -> tuple[Json, Blobs, dict[str, Json]]:
    """The index, what has to be sent, and the layers that are packed for the first time.

    The manifest that buildah wrote takes the empty files for layers; ours has the packed layers that containerd has.
    """
    written = json.loads((layout / "index.json").read_text())["manifests"][0]
    manifest: Json = json.loads(blob(layout, written["digest"]).read_text())
    packed = {layer: each for layer, each in zip(layers, manifest["layers"], strict=True) if layer not in known}
    manifest["layers"] = [known[layer] if layer in known else packed[layer] for layer in layers]
    content = json.dumps(manifest).encode()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    named = {**written, "digest": digest, "size": len(content), "annotations": {IMAGE_NAME: reference}}
    sent = [manifest["config"]["digest"], *(each["digest"] for each in packed.values())]
    blobs: Blobs = {digest: content, **{each: blob(layout, each) for each in sent}}
    return {"schemaVersion": 2, "manifests": [named]}, blobs, packed


def write_archive(out: IO[bytes], index: Json, blobs: Blobs) -> None:
    """An OCI layout as a stream."""
    texts: Blobs = {
        "oci-layout": json.dumps({"imageLayoutVersion": "1.0.0"}).encode(),
        "index.json": json.dumps(index).encode(),
    }
    files = {**texts, **{f"blobs/{digest.replace(':', '/')}": content for digest, content in blobs.items()}}
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
            else:
                member.size = content.stat().st_size
                with content.open("rb") as file:
                    archive.addfile(member, file)
