"""Until when credentials are good, as far as anybody has written it down."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from export_operator.adapters.cluster import secret_data
from export_operator.domain import times
from export_operator.domain.model import ANNOTATION_EXPIRES

CA = "ca.crt"


def expiry(secret: Mapping[str, Any]) -> datetime | None:
    """The first of what a Secret tells: its annotation, and the certificates of its authority."""
    told = times.parse((secret["metadata"].get("annotations") or {}).get(ANNOTATION_EXPIRES))
    return min(
        (moment for moment in (told, certificate_expiry(secret_data(secret).get(CA, b""))) if moment), default=None
    )


def certificate_expiry(pem: bytes) -> datetime | None:
    """When the first of these authorities' certificates expires; None when there is none that can be read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=pem.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError):
        return None
    ends = [ssl.cert_time_to_seconds(str(each["notAfter"])) for each in context.get_ca_certs()]
    return datetime.fromtimestamp(min(ends), UTC) if ends else None
