"""What exactly a request asks for, as one short text: two requests with the same one get the same export."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def digest(spec: Mapping[str, Any], effective: Mapping[str, Any]) -> str:
    """SHA-256, in hex, over source, destination and output: as `spec` has them, and with what policy and dataset fill
    in, which `effective` has. What neither says anything of leaves no trace, so that a schema or an operator that knows
    more fields finds the same."""
    resolved = {
        "source": {"name": effective["source"], "dataset": effective["dataset"], "columns": effective["columns"]},
        "destination": {"name": effective["destination"], "keyPrefix": effective["keyPrefix"]},
        "output": {name: effective[name] for name in ("format", "compression", "layout")},
    }
    asked = {name: _canonical(spec.get(name)) | values for name, values in resolved.items()}
    text = json.dumps(asked, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _canonical(value: Mapping[str, Any] | None) -> dict[str, Any]:
    """Without what says nothing: null, and objects and lists with nothing in them."""
    found = {}
    for name, item in (value or {}).items():
        kept = _canonical(item) if isinstance(item, Mapping) else item
        if kept not in (None, {}, []):
            found[name] = kept
    return found
