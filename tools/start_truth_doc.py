"""Writes docs/start-truth.md from the table that the tests run.

python -m tools.start_truth_doc   (from the checkout)
"""

from __future__ import annotations

from pathlib import Path

from models.commands import CommandOutcome
from tests.workflows.start_truth import TABLE, Row

PAGE = Path(__file__).resolve().parents[1] / "docs" / "start-truth.md"

_HEAD = """# When has a charge begun, and what does an end mean?
*Accepted is not started, and ended means seen to end.* Each row below is run as a test on the real
server, from the same data (`tests/workflows/start_truth.py`; `python -m tools.start_truth_doc` writes
this page).

A need of 30 kWh, a tolerance of 5 %. "Reply" is the answer to the start command; "heard" is the evidence
after it, in the order in which it comes; evidence wins over words. "Falls back" means: the attempt fails
with the code, a session that lives is stopped until it has been seen to end, one that may yet come alive
is guarded, and the next charger (or the same once more) is tried.

| phase | partner | what happens | reply | heard | the stop | code | booked |
|---|---|---|---|---|---|---|---|
"""
_TAIL = """
Before the start the planned charger may fail as well, while the vehicle is on its way:
`reach.station_faulted`, `reach.occupied`, `reach.station_offline`, `reach.charger_removed`,
`reach.will_not_make_it`. The stop re-plans at once, with the ETA impact, and opens no attempt
(tests/workflows/test_arrival_and_words.py).

The uplink that is lost between the answer and the start is `confirm.contact_lost`: silence proves nothing,
and ranking learns nothing of it. A pause by load management that outlasts `pause_s` keeps its own code,
`sustain.paused_by_charger`, and leads to another site (tests/workflows/test_session_truth.py).

Our own outage never blames a charger: a command that no process of ours took, or that our store kept
from being sent, is `start.not_sent`; it is tried again, as long as `offline_patience_s` lasts, under the
same command id.
"""


def page() -> str:
    return _HEAD + "\n".join(_line(row) for row in TABLE) + "\n" + _TAIL


def _line(row: Row) -> str:
    replies = {
        CommandOutcome.ACCEPTED: "accepted",
        CommandOutcome.UNCERTAIN: "none",
        CommandOutcome.UNREACHABLE: "not sent",
        CommandOutcome.REJECTED: f"`{row.reply.reason}`",
    }
    heard = ", ".join(item.words() for item in row.evidence) or "nothing"
    code = f"`{row.code}`" if row.code else ""
    booked = f"{row.energy_kwh:g} kWh" if row.energy_kwh else ""
    cells = (
        row.phase,
        row.partner,
        row.fault,
        replies[row.reply.outcome],
        heard,
        str(row.then),
        code,
        booked,
    )
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    PAGE.write_text(page())
