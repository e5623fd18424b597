"""The local provider's pure parts: settings, templates, mounts, and the archive that carries an image."""

import io
import json
import socket
import tarfile
import time
from pathlib import Path

import pytest

from tests.cluster import digests, golang, images, netconfig, templates
from tests.cluster.local import cgroups, components, containerd, network, processes, program, provider, settings
from tests.cluster.problem import Problem

pytestmark = pytest.mark.unit


def some_settings(directory: Path = Path("/cache/local"), **changes: str) -> settings.Settings:
    given = {"node_ip": "10.97.0.1", "pod_cidr": "10.97.1.0/24", "service_cidr": "10.96.0.0/16", **changes}
    return settings.Settings(directory=directory, first_port=22379, cni_bin=Path("/usr/lib/cni"), **given)


def test_templates_render_every_key() -> None:
    assert templates.render("a @KEY@ user@example.com @KEY@", {"KEY": "x"}) == "a x user@example.com x"
    with pytest.raises(KeyError, match="@OTHER@"):
        templates.render("@OTHER@", {"KEY": "x"})


def test_every_template_of_the_cluster_renders() -> None:
    values = {**some_settings().placeholders(), "FORWARD": ""}
    for template in (program.SOURCE / "etc").iterdir():
        assert not templates.PLACEHOLDER.search(templates.render(template.read_text(), values)), template


def test_the_api_server_has_the_first_service_address() -> None:
    assert some_settings().api_ip == "10.96.0.1"
    assert "10.96.0.0/16" in components.apiserver(some_settings(), Path("onenode"))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (some_settings(Path("/" + "long/" * 20)), "shorter"),
        (some_settings(Path('/with"quote')), "quotes"),
        (some_settings(pod_cidr="10.96.3.0/24"), "overlap"),
        (some_settings(node_ip="10.97.1.9"), "overlap"),
        (some_settings(node_ip="not an address"), "CLUSTER_NODE_IP"),
    ],
)
def test_settings_that_cannot_work_are_refused(changed: settings.Settings, said: str) -> None:
    with pytest.raises(Problem, match=said):
        settings.check(changed)


def test_mounts_are_found_below_the_directory_alone_deepest_first() -> None:
    mountinfo = "\n".join(
        f"22 1 0:21 / {point} rw - tmpfs tmpfs rw"
        for point in ("/", "/cache/local", "/cache/local/a", r"/cache/local/a/with\040space", "/cache/local2/b")
    )
    found = provider.mounted_below(Path("/cache/local"), mountinfo)
    assert found == ["/cache/local/a/with space", "/cache/local/a"]


@pytest.mark.parametrize(
    ("text", "found"), [("nameserver 10.0.0.1\n", True), ("# nameserver\nsearch x\n", False), ("", False)]
)
def test_names_are_forwarded_only_where_there_is_a_server(tmp_path: Path, text: str, found: bool) -> None:
    (tmp_path / "resolv.conf").write_text(text)
    assert network.nameservers(tmp_path / "resolv.conf") is found


@pytest.mark.parametrize(
    ("route", "said"),
    [
        ("default", ""),
        ("192.0.2.0/24", ""),
        ("10.0.0.0/8", ""),
        ("10.97.1.7", "CLUSTER_POD_CIDR"),
        ("10.97.0.1", "CLUSTER_NODE_IP"),
        ("10.96.4.0/24", "CLUSTER_SERVICE_CIDR"),
    ],
)
def test_networks_that_are_taken_are_named(route: str, said: str) -> None:
    answer = network.taken_route(some_settings(), [route])
    assert said in answer
    assert bool(answer) is bool(said)


def test_control_groups_of_both_versions(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "cpu").mkdir()
    assert cgroups.directories("x", tmp_path) == [tmp_path / "cpu/x", tmp_path / "memory/x"]
    (tmp_path / "cgroup.controllers").touch()
    assert cgroups.directories("x", tmp_path) == [tmp_path / "x"]


def test_a_pid_file_of_another_time_names_nobody(tmp_path: Path) -> None:
    some = processes.Processes(tmp_path)
    some.start("sleeper", ["sleep", "30"])
    pid = some.pid("sleeper")
    assert pid
    (some.run / "sleeper.pid").write_text(f"{pid} 1")
    assert some.pid("sleeper") is None
    processes.stop([pid], grace=1)
    assert not processes.started_at(pid)


def test_a_cluster_that_died_with_something_mounted_is_found() -> None:
    lines = (
        r"22 1 0:21 / /with\040space/export-operator/local/containerd/state/netns/cni-1 rw - nsfs nsfs rw",
        "23 1 0:21 / /mine/export-operator/local/containerd/state/netns/cni-2 rw - nsfs nsfs rw",
        "24 1 0:21 / /elsewhere/local/state rw - tmpfs tmpfs rw",
        "25 1 0:21 / /mine/export-operator/local-1.35/containerd/state rw - tmpfs tmpfs rw",
    )
    mine = processes.Processes(Path("/mine/export-operator/local"))
    found = mine.others("\n".join(lines))
    assert {Path("/with space/export-operator/local"), Path("/mine/export-operator/local-1.35")} <= set(found)
    assert not {mine.directory, Path("/elsewhere/local")} & set(found)


def test_the_end_of_a_component_is_told_with_its_last_words(tmp_path: Path) -> None:
    some = processes.Processes(tmp_path)
    some.start("etcd", ["sh", "-c", "echo no space left; exit 1"])
    while some.pid("etcd"):
        time.sleep(0.01)
    with pytest.raises(Problem, match=r"etcd ended(.|\n)*no space left"):
        some.must_live(["etcd"])


@pytest.mark.parametrize(
    ("text", "version"),
    [("go1.26.3", (1, 26, 3)), ("go1.26", (1, 26, 0)), ("go1.27rc1 X:y", (1, 27, 0)), ("devel +1234", (0,))],
)
def test_go_versions_are_compared_as_numbers(text: str, version: tuple[int, ...]) -> None:
    assert golang.version_of(text) == version


@pytest.mark.parametrize("release", ["", *program.RELEASES])
def test_each_release_is_pinned_and_has_a_state_of_its_own(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_VERSION", release)
    wanted = release or program.NEWEST
    assert program.kubernetes().startswith(f"v{wanted}.")
    pins = program.made_by().pins()
    assert {name: (program.SOURCE / name).exists() for name in pins} == dict.fromkeys(pins, True)
    assert provider.place().name == ("local" if wanted == program.NEWEST else f"local-{wanted}")


def test_a_release_that_nobody_pins_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_VERSION", "1.29")
    with pytest.raises(Problem, match=r"KUBERNETES_VERSION is '1\.29'; there are: 1\.36, 1\.35, 1\.30"):
        program.release()


def test_digests_frame_their_parts() -> None:
    assert digests.of(["ab", "c"]) != digests.of(["a", "bc"])
    assert digests.of(["ab"]) == digests.of([b"ab"])


def test_uv_is_told_the_index_as_a_string() -> None:
    assert netconfig.uv_settings("") == "system-certs = true\n"
    assert 'url = "https://u:p@example.com/simple"' in netconfig.uv_settings("https://u:p@example.com/simple")


def test_the_last_tags_that_were_asked_for_stay() -> None:
    loaded = [f"localhost/a:{number}" for number in range(8)] + ["localhost/b:1", "docker.io/library/c:1"]
    asked = {f"localhost/a:{number}": float(number) for number in range(1, 8)}
    assert images.outdated(loaded, asked, ["localhost/a:7"]) == ["localhost/a:2", "localhost/a:1", "localhost/a:0"]


def layout_of_two_layers(directory: Path) -> list[str]:
    """What buildah writes for an image whose first layer it was told not to pack; returns the layers."""
    manifest = {
        "config": {"digest": "sha256:cfg", "size": 1},
        "layers": [{"digest": "sha256:one", "size": 0}, {"digest": "sha256:two-packed", "size": 3}],
    }
    contents = {"manifest": json.dumps(manifest), "cfg": "c", "one": "", "two-packed": "two"}
    (directory / "blobs/sha256").mkdir(parents=True)
    for name, content in contents.items():
        (directory / "blobs/sha256" / name).write_text(content)
    index = {"manifests": [{"digest": "sha256:manifest", "mediaType": "m", "annotations": {"x": "image"}}]}
    (directory / "index.json").write_text(json.dumps(index))
    return ["sha256:one", "sha256:two"]


def test_an_image_is_sent_without_the_layers_that_are_there(tmp_path: Path) -> None:
    layers = layout_of_two_layers(tmp_path)
    known = {"sha256:one": {"digest": "sha256:one-packed", "size": 7}}
    index, blobs, packed = containerd.assemble(tmp_path, "localhost/a:1", layers, known)
    assert packed == {"sha256:two": {"digest": "sha256:two-packed", "size": 3}}
    out = io.BytesIO()
    containerd.write_archive(out, index, blobs)
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        names = archive.getnames()
        assert names[:2] == ["oci-layout", "index.json"]
        assert names[3:] == ["blobs/sha256/cfg", "blobs/sha256/two-packed"]
        sent = archive.extractfile(names[2])
        assert sent
        manifest = json.load(sent)
    assert [each["digest"] for each in manifest["layers"]] == ["sha256:one-packed", "sha256:two-packed"]
    assert index["manifests"][0]["annotations"] == {containerd.IMAGE_NAME: "localhost/a:1"}
    assert names[2] == "blobs/" + index["manifests"][0]["digest"].replace(":", "/")


def test_an_image_goes_with_the_names_that_kubernetes_gave_it() -> None:
    listed = "\n".join(
        [
            *("REF TYPE DIGEST SIZE", "localhost/a:1 t sha256:m1 1", "localhost/a:2 t sha256:m2 1"),
            *("localhost/b:1 t sha256:m2 1", "sha256:c1 t sha256:m1 1", "sha256:c2 t sha256:m2 1"),
        ]
    )
    assert containerd.with_aliases(listed, ["localhost/a:1"]) == ["localhost/a:1", "sha256:c1"]
    assert containerd.with_aliases(listed, ["localhost/a:2"]) == ["localhost/a:2"]


@pytest.mark.parametrize(("address", "taken"), [("0.0.0.0", True), ("127.0.0.1", False)])
def test_a_port_is_taken_where_somebody_has_it_at_every_address(address: str, taken: bool) -> None:
    with socket.create_server((address, 0)) as server:
        assert network.everywhere(server.getsockname()[1]) is taken
