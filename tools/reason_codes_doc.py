"""Writes docs/reason-codes.md from the reason catalogue: `python tools/reason_codes_doc.py`.

A test compares the file with `document()`, so the page cannot fall behind the code.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # run as a script, Python looks only beside the script itself
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from models.reason_catalogue import CATALOGUE, MREC
from models.reason_codes import CATALOGUE_VERSION, Phase, ReasonEntry

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reason-codes.md"

_NEXT = {
    "none": "nothing",
    "same_connector": "same connector again",
    "other_connector": "another connector",
    "other_site": "another site",
    "human": "a human",
}


def document() -> str:
    """The whole page."""
    lines = [
        "# Reason codes",
        "",
        f"Catalogue {CATALOGUE_VERSION}, written by `tools/reason_codes_doc.py`: change "
        "`models/reason_rows.py`, not this page.",
        "",
        "A code is a pair (phase, cause). It is closed and versioned: codes are never reused or renamed. "
        "A partner's own word is kept beside ours in every event. The same rows are served at "
        "`GET /v1/reason-codes`.",
        "",
        "Mappings name the field of the protocol that a word comes from, `field:value`. MREC are the ChargeX "
        "Minimum Required Error Codes (INL, 2023); the last table says whom each may point to.",
        "",
    ]
    for phase in Phase:
        rows = [row for row in CATALOGUE.values() if row.phase is phase]
        lines += [f"## {phase.value}", ""]
        for row in rows:
            lines += _section(row)
    lines += ["## MREC", "", "| code | name | may be | our codes |", "|---|---|---|---|"]
    for code, (name, parties) in MREC.items():
        ours = ", ".join(f"`{row.code.value}`" for row in CATALOGUE.values() if code in row.mrec)
        lines.append(f"| {code} | {name} | {', '.join(p.value for p in parties)} | {ours} |")
    return "\n".join(lines) + "\n"


def _section(row: ReasonEntry) -> list[str]:
    lines = [
        f"### `{row.code.value}`",
        f"{row.title}. Who can cure it: {row.responsible.value}. Next: {_NEXT[row.next_step.value]}.",
        "",
        f"- Driver: {row.driver_advice}",
        f"- Operator: {row.operator_advice}",
    ]
    for name, words in (
        ("MREC", row.mrec),
        ("OCPP 1.6", row.ocpp16),
        ("OCPP 2.x", row.ocpp201),
        ("OCPI 2.2.1", row.ocpi),
    ):
        if words:
            lines.append(f"- {name}: {', '.join(f'`{word}`' for word in words)}")
    return [*lines, ""]


if __name__ == "__main__":
    PAGE.write_text(document(), encoding="utf-8")
