"""The command line: `python -m tests.cluster COMMAND`."""

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence

from tests.cluster import say
from tests.cluster.problem import Problem

DESCRIPTION = """\
A real Kubernetes cluster for the demo and the tests.

`up` chooses how, and says which and why:
  kind      where `docker info` or `podman info` answers
  local     otherwise, on Linux as root: Kubernetes built once from its Go modules (minutes), run with the
            distribution's containerd; a later start takes seconds
  current   a cluster that exists, where KUBECONFIG leads; only when asked for
CLUSTER=kind|local|current in the environment chooses instead.

What is downloaded, built or run lies in ${XDG_CACHE_HOME:-~/.cache}/export-operator.
"""
EPILOG = """\
examples:
  python -m tests.cluster up
  eval "$(python -m tests.cluster env)"        # kubectl and helm in this shell, pointed at the cluster
  kubectl get pods --all-namespaces
  python -m tests.cluster images               # build this repository's images into the cluster
  "$(python -m tests.cluster tool helm)" list
  python -m tests.cluster down

environment:
  CLUSTER                the provider, instead of the choice above
  KUBECONFIG             the cluster of CLUSTER=current
  KUBERNETES_VERSION     the release of the local provider, 1.36 if it is not set; 1.30 and 1.35 are the others, built
                         once as well. Each has its own state, and starting one stops the others
  IMAGE_REGISTRY         where images are pushed to for CLUSTER=current, such as registry.example.com/team
  CLUSTER_NODE_IP, CLUSTER_POD_CIDR, CLUSTER_SERVICE_CIDR, CLUSTER_PORTS
                         addresses and the first of four ports of the local provider, if the usual ones are taken
  NO_COLOR               no colours
"""


def parser() -> argparse.ArgumentParser:
    from tests.cluster import commands  # here, so that Ctrl-C while it is read is answered as any other

    top = argparse.ArgumentParser(
        prog="python -m tests.cluster",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = top.add_subparsers(required=True, metavar="COMMAND", title="commands")

    def verb(name: str, action: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=text, description=text)
        added.set_defaults(action=action)
        return added

    verb("up", commands.up, "have a cluster: at once if it runs, in seconds if it was built before")
    verb("down", commands.down, "stop it: nothing stays running or mounted, builds stay for the next start")
    verb("status", commands.status, "show what runs, and where its logs are")
    verb("env", commands.env, "print the export lines that point a shell at the cluster")
    verb("check", commands.check, "try in the cluster what the product needs of it, and print a table")
    logs = verb("logs", commands.logs, "print the end of the components' logs")
    logs.add_argument("component", nargs="?", help="one component, such as kubelet; else all")
    logs.add_argument("--lines", type=int, default=40, help="how many lines of each (default 40)")
    images = verb("images", commands.images, "build this repository's images, load them, and print their names")
    images.add_argument("only", nargs="*", help="some of: operator exporter postgres s3 (default: all)")
    tool = verb("tool", commands.tool, "print where a tool is; built or installed if it is not there yet")
    tool.add_argument("name", help="such as helm, kubectl, kubeconform, versitygw, kind, toxiproxy, shellcheck")
    verb("schemas", commands.schemas, "print where the JSON schemas of Kubernetes are, for kubeconform without network")
    verb("purge", commands.purge, "stop the cluster and remove everything that this package keeps in the cache")
    return top


def main(arguments: Sequence[str]) -> int:
    parsed = parser().parse_args(arguments)
    action: Callable[[argparse.Namespace], int] = parsed.action
    try:
        return action(parsed)
    except Problem as problem:
        say.line(f"{say.paint('31', 'error:')} {problem}")
        return 1
    except KeyboardInterrupt:
        command = shlex.join(["python", "-m", "tests.cluster", *arguments])
        say.line(f"\ninterrupted; the same command goes on from here: {command}")
        return 130
    except BrokenPipeError:
        return 141


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
