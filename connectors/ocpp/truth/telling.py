"""Samples as they go to the journal."""

from __future__ import annotations

from connectors.ocpp.ports import Told, TransactionFacts
from connectors.ocpp.truth.meter import Sample


def told_of(
    kind: str,
    of: TransactionFacts | int,
    samples: list[Sample],
    *,
    sequence: int | None = None,
    offline: bool = False,
) -> list[Told]:
    """One journal line for each sample. `of`: the transaction, or the connector where none is known. Signed
    values are kept as they came: they alone prove the energy to the driver (Eichrecht)."""
    facts = of if isinstance(of, TransactionFacts) else None
    return [
        Told(
            kind,
            facts.connector_number if facts else int(of if isinstance(of, int) else 0),
            sample.at,
            transaction_id=facts.transaction_id if facts else None,
            sequence=sequence,
            offline=offline,
            register_wh=sample.register_wh,
            unit_known=sample.unit_known,
            power_kw=sample.power_kw,
            soc_percent=sample.soc_percent,
            body=_body(sample),
        )
        for sample in samples
    ]


def _body(sample: Sample) -> dict[str, object] | None:
    body: dict[str, object] = {}
    if sample.signed is not None:
        body["signed"] = sample.signed
    if not sample.unit_known:
        body["unit_known"] = False
    return body or None
