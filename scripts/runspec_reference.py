"""Writes docs/reference/runspec.md from the contract: python -m scripts.runspec_reference.

Names, types and defaults come from the code; meanings stand here, and a field without one, or one without a field, is
an error.
"""

import dataclasses
import json
import sys
import typing
from typing import Any

from export_contract import environment, manifest, report, runspec
from export_contract.codec import camel, encode
from export_contract.failures import FAILURES
from export_runner import checkpoint
from scripts.runspec_meanings import FIELDS, VARIABLES

HEAD = """\
<!-- Rendered from the code by scripts/render-manifests. Do not edit. -->
# RunSpec reference

What `export-runner run` reads and writes. All documents are strict JSON: an unknown, missing or mistyped field is
refused with its path. `export-runner example-spec` prints a RunSpec to start from. Credentials are in none of
these documents.
"""
SPEC = (
    runspec.RunSpec,
    runspec.Run,
    runspec.Source,
    runspec.Relation,
    runspec.Parameter,
    runspec.Mask,
    runspec.Destination,
    runspec.Encryption,
    runspec.Fallback,
    runspec.FallbackBucket,
    runspec.FallbackDatabase,
    runspec.Output,
    runspec.CsvOptions,
    runspec.JsonOptions,
    runspec.Limits,
)
OUTCOME = (report.Progress, report.Outcome, report.Delivered, report.FailureReport)
MANIFEST = (manifest.Manifest, manifest.Column, manifest.ObjectRef, manifest.Segment)
CHECKPOINT = (checkpoint.Checkpoint, checkpoint.Mark)


def type_of(hint: Any) -> str:
    """A type as a person reads it; a document's name for a nested one."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " · ".join(f"`{value}`" for value in arguments)
    if origin is tuple:
        return f"list of {type_of(arguments[0])}"
    if origin is dict:
        return f"map of {type_of(arguments[1])}"
    if arguments:  # optional
        return type_of(next(each for each in arguments if each is not type(None)))
    return {str: "string", int: "integer", float: "number", bool: "boolean"}.get(hint, str(hint.__name__))


def default_of(field: Any) -> str:
    """The default as JSON; empty for a field that must be given."""
    if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
        return "required"
    value = field.default_factory() if field.default is dataclasses.MISSING else field.default
    if dataclasses.is_dataclass(value):
        return "its own"
    return "none" if value is None else f"`{json.dumps(encode(value))}`"


def section(kind: Any) -> str:
    """One document's table."""
    hints = typing.get_type_hints(kind)
    lines = [f"### {kind.__name__}", "", "| field | type | default | meaning |", "|---|---|---|---|"]
    for field in dataclasses.fields(kind):
        name = camel(field.name)
        meaning = FIELDS[f"{kind.__name__}.{name}"].replace("|", "\\|")
        lines.append(f"| `{name}` | {type_of(hints[field.name])} | {default_of(field)} | {meaning} |")
    return "\n".join(lines)


def paths() -> set[str]:
    """Every field of every document."""
    return {
        f"{kind.__name__}.{camel(field.name)}"
        for kind in (*SPEC, *OUTCOME, *MANIFEST, *CHECKPOINT)
        for field in dataclasses.fields(kind)
    }


def variables() -> set[str]:
    """Every variable of the contract."""
    return {value for name, value in vars(environment).items() if name.isupper() and isinstance(value, str)}


def page() -> str:
    """Raises ValueError where meanings and contract differ."""
    if wrong := (paths() ^ set(FIELDS)) | (variables() ^ set(VARIABLES)):
        raise ValueError(f"documented and not there, or there and not documented: {', '.join(sorted(wrong))}")
    parts = [HEAD, "## RunSpec\n\nBy `--spec FILE`, `--spec -` for stdin, or the variable `EXPORT_RUN_SPEC`."]
    parts += [section(kind) for kind in SPEC]
    lines = [f"| `{name}` | {VARIABLES[name]} |" for name in sorted(variables())]
    parts.append("\n".join(["## Environment variables\n", "| variable | meaning |", "|---|---|", *lines]))
    parts.append(
        "## Progress and outcome\n\nProgress is one JSON line a second on stdout. The outcome is its last line and, in"
        f" a pod, the termination message (at most {report.MAX_TERMINATION_BYTES} bytes). As lines both have `request`"
        " (namespace and name) and `trace_id` besides."
    )
    parts += [section(kind) for kind in OUTCOME]
    codes = [
        f"| {kind.exit_code} | `{kind.reason}` | {kind.failure_class} | {'yes' if kind.retryable else 'no'} |"
        for kind in sorted(FAILURES.values(), key=lambda each: each.exit_code)
    ]
    head = ["## Exit codes\n", "| code | reason | class | retried |", "|---|---|---|---|", "| 0 | delivered | | |"]
    parts.append("\n".join([*head, *codes]))
    parts.append("## Manifest\n\n`manifest.json` beside the object, written last: what it names is whole.")
    parts += [section(kind) for kind in MANIFEST]
    parts.append(
        "## Checkpoint\n\nAt `destination.checkpointKey` while a run keeps one; its size does not grow with the rows."
        " It is for the exporter\nalone, and holds values of rows (`lastKey`)."
    )
    parts += [section(kind) for kind in CHECKPOINT]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
