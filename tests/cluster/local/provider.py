"""The local provider: Kubernetes from its own modules, on this machine, without Docker."""

import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from tests.cluster import locks, paths, say, shell, templates
from tests.cluster.local import cgroups, components, network, pki, processes, program, settings, store
from tests.cluster.local.client import Client, http_ok
from tests.cluster.local.containerd import Containerd
from tests.cluster.problem import Problem

OBJECTS = ("etcd", "kubelet", "pod-logs", "apiserver-pki")
"""Directories that hold what users created in the cluster."""
REST = ("log", "etc", "containerd", "pki", "kubeconfig", "kubelet-pki")
"""Directories that the next start would make again."""


def place() -> Path:
    """Where the cluster's state is: each release has its own, for none reads what a newer one has written."""
    release = program.release()
    return paths.cache() / ("local" if release == program.NEWEST else f"local-{release}")


class Local:
    """A single-node cluster; see the modules beside this one for how each part is done."""

    name = "local"

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory or place()

    @cached_property
    def settings(self) -> settings.Settings:
        return settings.load(self._directory)

    @cached_property
    def processes(self) -> processes.Processes:
        return processes.Processes(self.settings.directory)

    @cached_property
    def client(self) -> Client:
        return Client(self.settings)

    @cached_property
    def containerd(self) -> Containerd:
        return Containerd(self.settings)

    @property
    def kubeconfig(self) -> Path:
        return self.settings.kubeconfig

    @property
    def no_proxy(self) -> list[str]:
        return [self.settings.node_ip, self.settings.service_cidr]

    def running(self) -> bool:
        """Do all components live, and does the API server answer?"""
        return all(self.processes.pid(each) for each in components.ALL) and self.client.ready()

    def up(self) -> None:
        if self.running() and self.client.node_ready():
            return
        settings.need_packages()
        binary, services = program.path(), program.services()
        with locks.exclusive("local"), say.step(f"starting Kubernetes {program.kubernetes()}") as step:
            if self.running() and self.client.node_ready():
                return  # another was quicker
            for other in self._others():
                say.warn(f"a machine carries one cluster of this kind: stopping the one in {other}")
                Local(other)._sweep()
            if not self.processes.pid("containerd"):
                self._sweep()  # what a crash, a reboot or an interrupted start may have left
                network.must_be_free(self.settings)
            self._prepare()
            self._start(binary, services, step)

    def _prepare(self) -> None:
        """Everything on disk and in the kernel that the components find when they start."""
        directory = self.settings.directory
        (directory / "etc" / "cni").mkdir(parents=True, exist_ok=True)
        pki.make(self.settings)
        forward = "forward . /etc/resolv.conf" if network.nameservers() else ""
        values = {**self.settings.placeholders(), "FORWARD": forward}
        places = {"cni.conflist": "cni/10-net.conflist"}
        for template in (program.SOURCE / "etc").iterdir():
            target = directory / "etc" / places.get(template.name, template.name)
            target.write_text(templates.render(template.read_text(), values))
        network.up(self.settings)
        cgroups.up(self.settings.name)
        if network.forwarding_is_dropped():
            say.warn("this machine's firewall drops forwarded packets (Docker sets that); pods may reach nothing")

    def _start(self, binary: Path, services: Path, step: say.Step) -> None:
        chosen, flags = self.settings, program.made_by().flags

        def start(name: str, command: list[str | Path]) -> None:
            self.processes.start(name, [*command, *flags.get(name, ())])

        start("containerd", components.containerd(chosen))
        start("etcd", components.etcd(chosen, services))
        start("kube-apiserver", components.apiserver(chosen, binary))
        store.make_pause(program.directory() / "pause")  # meanwhile
        self._await("containerd", self.settings.socket.exists, 20, step)
        if store.PAUSE not in self.containerd.images():
            self.containerd.load(store.PAUSE)
        self._await("kube-apiserver", self.client.ready, 60, step, needs=("etcd", "kube-apiserver"))
        start("kube-controller-manager", components.controller_manager(chosen, binary))
        start("kube-scheduler", components.scheduler(chosen, binary))
        start("kubelet", components.kubelet(chosen, binary))
        system = self.settings.directory / "etc" / "system.yaml"
        shell.run([program.kubectl(), "--kubeconfig", self.kubeconfig, "apply", "-f", system], env=self._direct())
        start("coredns", components.coredns(chosen, services))
        self._await("kubelet", lambda: bool(self.client.node()), 60, step)
        start("kube-proxy", components.proxy(chosen, binary))  # earlier, it would look for the node once a second
        self._await("coredns", lambda: http_ok(chosen.dns_ready_port, "/ready"), 30, step)
        self._await("kubelet", self.client.node_ready, 60, step)
        self._await("kube-proxy", self.client.served, 30, step)
        self._await("kube-controller-manager", self.client.has_default_account, 30, step)

    def _await(
        self, name: str, ready: Callable[[], bool], seconds: float, step: say.Step, needs: Iterable[str] = ()
    ) -> None:
        """Wait for a component, watching that it and those it needs stay alive."""
        step.progress(f"waiting for {name}")
        deadline = time.monotonic() + seconds
        while not ready():
            self.processes.must_live([*needs, name])
            if time.monotonic() > deadline:
                tail = self.processes.log_tail(name)
                raise Problem(f"{name} was not ready within {seconds:.0f} s; its last words:\n{tail}")
            time.sleep(0.05)

    def _direct(self) -> dict[str, str]:
        """No proxy between us and the node."""
        return {"NO_PROXY": self.settings.node_ip, "no_proxy": self.settings.node_ip}

    def down(self) -> None:
        """Stop everything and forget the cluster's objects; keys, images and programs stay for the next start."""
        with locks.exclusive("local"), say.step("stopping the local cluster"):
            self._sweep()
            self._forget(OBJECTS)

    def purge(self) -> None:
        with locks.exclusive("local"), say.step("removing the local cluster"):
            self._sweep()
            self._forget([*OBJECTS, *REST])
            shutil.rmtree(self.settings.directory, ignore_errors=True)

    def _others(self) -> list[Path]:
        return self.processes.others(Path("/proc/self/mountinfo").read_text())

    def _forget(self, names: Iterable[str]) -> None:
        for name in names:
            shutil.rmtree(self.settings.directory / name, ignore_errors=True)

    def _sweep(self) -> None:
        """Leave nothing running and nothing mounted, whatever state things are in."""
        workers = [each for each in components.ALL if each not in ("containerd", "etcd", "kube-apiserver")]
        self.processes.stop(workers)
        if self.processes.pid("containerd") and shutil.which("ctr"):
            with suppress(Problem):  # it may hang; its containers end with the control groups
                self.containerd.stop_containers()
        self.processes.stop(["kube-apiserver", "etcd", "containerd"])
        processes.stop(self.processes.strays(), grace=1)
        for _ in range(3):  # a process may fork while it is being killed
            processes.stop(cgroups.members(self.settings.name), grace=0.5)
        unmount_below(self.settings.directory)
        unmount_below(store.home())
        if not self._others():  # else the address and kube-proxy's rules are another's
            network.down(self.settings)
        cgroups.down(self.settings.name)
        for socket in self.settings.directory.glob("containerd.sock*"):
            socket.unlink()
        shutil.rmtree(self.settings.directory / "containerd" / "state", ignore_errors=True)
        self._forget(["run", "cni-ipam"])

    def status(self) -> list[tuple[str, str, str]]:
        """Rows of (component, state, where to look)."""
        rows = []
        for name in components.ALL:
            pid = self.processes.pid(name)
            log = str(self.processes.logs / f"{name}.log")
            rows.append((name, f"process {pid}" if pid else "not running", log))
        answer = "ready" if self.client.ready() else "does not answer"
        rows.append(("API server", answer, self.settings.api_url))
        rows.append(("node", "ready" if self.client.node_ready() else "not ready", self.settings.node_name))
        return rows

    def logs(self, component: str | None) -> list[Path]:
        found = sorted(self.processes.logs.glob(f"{component or '*'}.log"))
        if not found:
            raise Problem(f"no such log; components are: {' '.join(components.ALL)}")
        return found


def mounted_below(directory: Path, mountinfo: str) -> list[str]:
    """Mount points below a directory, the deepest first. The kernel writes odd characters as octal numbers."""
    points = (line.split()[4].encode().decode("unicode_escape") for line in mountinfo.splitlines())
    return sorted((each for each in points if each.startswith(f"{directory}/")), reverse=True)


def unmount_below(directory: Path) -> None:
    for point in mounted_below(directory, Path("/proc/self/mountinfo").read_text()):
        shell.run(["umount", "--lazy", point], check=False)
