"""Identifiers. None carries personal data: they appear in Temporal and in logs."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Annotated, Any, NewType

from pydantic import Field

TenantId = NewType("TenantId", str)
"""A tenant that somebody has checked. Only authentication and the store make one: plain str does not fit."""

TenantKey = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$", examples=["demo"])]
BusinessKey = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._~-]{0,63}$",
        description="The caller's own key of this stop (tour and leg, say). No personal data: it is shown "
        "to operators and kept for years.",
        examples=["tour-4711.leg-2"],
    ),
]
ExternalId = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9*._:~-]+$")]

_NAMESPACE = uuid.UUID("6f0c6f2e-5d1c-5b52-9a68-1f5f0f6a7b10")


def workflow_id_for(tenant_id: str, business_key: str) -> str:
    """The Temporal workflow id of a stop; the same in any language: `stop:<tenant>:<business key>`."""
    return f"stop:{tenant_id}:{business_key}"


def stop_id_for(tenant_id: str, business_key: str) -> str:
    """The stop's own id: `stop_` and the UUIDv5 (hex) of its workflow id, so every starter agrees on it."""
    return "stop_" + uuid.uuid5(_NAMESPACE, workflow_id_for(tenant_id, business_key)).hex


def attempt_id_for(stop_id: str, number: int) -> str:
    """A UUID for one attempt. It fits OCPI's authorization_reference (36 characters) and is the
    idempotency key of everything the attempt commands."""
    return str(uuid.uuid5(_NAMESPACE, f"{stop_id}#{number}"))


def remote_start_id_for(attempt_id: str) -> int:
    """OCPP 2.x remoteStartId: a positive int32 derived from the attempt (never 0, never -1)."""
    return int.from_bytes(hashlib.sha256(attempt_id.encode()).digest()[:4], "big") % 2_147_483_646 + 1


def canonical_json(value: Any) -> bytes:
    """The one byte form that is hashed: sorted keys, no spaces, UTF-8, no NaN."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def fingerprint(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON."""
    return hashlib.sha256(canonical_json(value)).hexdigest()
