"""What `ledger verify` and `ledger rebuild` say, to people and to programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from export_operator.commands.text import BOLD, GREEN, RED, YELLOW, counted, painted, plain, table
from export_operator.domain.ledger_rebuild import Difference, Mending, Plan, title


def verified(plan: Plan, blind: Sequence[str]) -> None:
    """The differences, then what is no difference but worth knowing."""
    _differences(plan.differences)
    mended = sum(each.mended for each in plan.differences)
    if mended:
        print(f"`export-operator ledger rebuild` makes good {mended} of them.")
    if plan.unproven:
        entries, pages = counted(sum(plan.unproven.values()), "entry", "entries"), counted(len(plan.unproven), "page")
        print(f"Note: {entries} of {pages} stand in the ledger alone, without request, Job or manifest: they count.")
    for sentence in blind:
        print(plain(f"Note: {sentence}."))


def planned(plan: Plan, blind: Sequence[str], server: str) -> None:
    """What a rebuild will do, and what it cannot."""
    print(f"Ledger of the cluster at {server}.")
    verified(plan, blind)
    if not plan.mendings:
        print("There is nothing to make good.")
        return
    print(painted("To be done:", BOLD))
    for mending in plan.mendings:
        print(plain(f"  {_deed(mending)}"))
    if plan.losses:
        print(painted("What nobody can know any more:", YELLOW))
        for loss in plan.losses:
            print(plain(f"  {loss}."))


def refused(plan: Plan, *, yes: bool) -> None:
    """Why nothing was done, and what to say to have it done."""
    needed = " ".join(["--yes"] * (not yes) + ["--accept-loss"] * bool(plan.losses))
    print(f"Nothing was changed. To do it: add {needed}")


def done(mending: Mending, copy: str) -> None:
    """After each object: where its copy is, if it was damaged."""
    kept = f"; as it was, it is in ConfigMap {copy}" if copy else ""
    print(plain(f"{painted('done', GREEN)}  {title(mending.subject, mending.name)}{kept}"))


def as_json(
    plan: Plan, blind: Sequence[str], copies: Mapping[str, str] | None = None, *, rebuild: bool = False
) -> None:
    """All of it as one document; `copies` by object when it was done, None when not."""
    document: dict[str, Any] = {
        "differences": [asdict(each) for each in plan.differences],
        "unproven": dict(plan.unproven),
        "notes": list(blind),
    }
    if rebuild:
        mendings = [
            {
                "object": mending.name,
                "page": title(mending.subject, mending.name),
                "runs": sorted(proof.entry.run for proof in mending.proofs),
                "aside": mending.aside,
                "copy": (copies or {}).get(mending.name, ""),
            }
            for mending in plan.mendings
        ]
        document |= {"mendings": mendings, "losses": list(plan.losses), "done": copies is not None}
    print(json.dumps(document, indent=2))


def _differences(found: Sequence[Difference]) -> None:
    if not found:
        print(painted("The ledger says what requests, Jobs and manifests prove.", GREEN))
        return
    rows = [(each.page, each.kind, each.run or "-", each.message) for each in found]
    print("\n".join(table(("PAGE", "DIFFERENCE", "RUN", "WHAT"), rows)))
    print(painted(counted(len(found), "difference") + ".", RED))


def _deed(mending: Mending) -> str:
    page = title(mending.subject, mending.name)
    if mending.subject is None:
        return f"{page}: copy it into a ConfigMap and remove it"
    runs = f"count {counted(len(mending.proofs), 'proven run')}"
    return f"{page}: copy it into a ConfigMap, make it anew, {runs}" if mending.aside else f"{page}: {runs}"
