"""What each command does; the command line itself is in `__main__`.

Modules that only one command needs are imported by it: `up` on a running cluster should not take longer for them.
"""

import shlex
import shutil
from argparse import Namespace

from tests.cluster import locks, paths, providers, say
from tests.cluster.problem import Problem


def up(_: Namespace) -> int:
    cluster = providers.up()
    say.line('point this shell at it with:  eval "$(python -m tests.cluster env)"  or')
    print(f"export KUBECONFIG={shlex.quote(str(cluster.kubeconfig))}")
    return 0


def down(_: Namespace) -> int:
    cluster = providers.remembered()
    if not cluster:
        say.line("no cluster was started")
        return 0
    if cluster.name == "current":
        say.line("CLUSTER=current: the cluster is not ours to stop")
    cluster.down()
    return 0


def status(_: Namespace) -> int:
    cluster = providers.remembered()
    if not cluster:
        say.line("no cluster was started; start one: python -m tests.cluster up")
        return 1
    print(f"provider: {cluster.name}")
    rows = cluster.status()
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for what, how, where in rows:
        print(f"{what:<{widths[0]}}  {how:<{widths[1]}}  {where}".rstrip())
    return 0 if cluster.running() else 1


def env(_: Namespace) -> int:
    from tests.cluster import tools

    cluster = providers.running()
    tools.path("kubectl")
    for name, value in providers.environment(cluster).items():
        if name == "PATH":
            print(f'export PATH={shlex.quote(str(paths.binaries()))}:"$PATH"')
        else:
            print(f"export {name}={shlex.quote(value)}")
    return 0


def check(_: Namespace) -> int:
    from tests.cluster import selftest

    return selftest.run(providers.running())


def logs(arguments: Namespace) -> int:
    cluster = providers.remembered()
    if not cluster:
        raise Problem("no cluster was started")
    for path in cluster.logs(arguments.component):
        print(f"==> {path}")
        for each in path.read_text(errors="replace").splitlines()[-arguments.lines :]:
            print(each)
    return 0


def images(arguments: Namespace) -> int:
    from tests.cluster import images as builder

    for name, reference in builder.references(providers.running(), arguments.only).items():
        print(f"{name}={reference}")
    return 0


def tool(arguments: Namespace) -> int:
    from tests.cluster import tools

    print(tools.path(arguments.name))
    return 0


def schemas(_: Namespace) -> int:
    from tests.cluster import schemas as builder

    print(builder.directory())
    return 0


def purge(_: Namespace) -> int:
    cluster = providers.remembered()
    if cluster:
        cluster.purge()
    with locks.exclusive("purge"), say.step(f"removing {paths.cache()}"):
        for entry in paths.cache().iterdir():
            if entry.name == "locks":
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    say.line("packages of the distribution stay: they are the system's")
    return 0
