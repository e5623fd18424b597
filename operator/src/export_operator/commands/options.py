"""What commands share: options that say which cluster is meant and how to answer, and an exit code."""

from __future__ import annotations

import argparse
import os

from export_operator.settings import PREFIX

INTERRUPTED = 130  # as shells tell of Ctrl-C


def add_shared(parser: argparse.ArgumentParser) -> None:
    """Add `--run-namespace`, `--context` and `--output`."""
    parser.add_argument(
        "--run-namespace",
        default=os.environ.get(f"{PREFIX}RUN_NAMESPACE") or "export-runs",
        help=f"where Jobs and ledger are (default: ${PREFIX}RUN_NAMESPACE, or export-runs)",
    )
    parser.add_argument("--context", default="", help="context of KUBECONFIG (default: the current one)")
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text", help="text (default) or json")
