"""Names that processes and backends in any language rely on: queues, workflow and message names.

They are part of the public contract (docs/workflow-contract.md): never rename one.
"""

from __future__ import annotations

STOP_QUEUE = "backstop-stops"
"""Workflows of stops, and activities without a home of their own (roaming and vehicle commands)."""
PLANNER_QUEUE = "backstop-planner"
ROAMING_QUEUE = "backstop-roaming"
TELEMATICS_QUEUE = "backstop-telematics"


def gateway_queue(instance: str) -> str:
    """The queue of one OCPP gateway; the process that holds a charger's socket serves it."""
    return f"backstop-ocpp-{instance}"


def keeper_workflow_id(attempt_id: str) -> str:
    """One keeper for each session that outlives its stop."""
    return f"session:{attempt_id}"


STOP_WORKFLOW = "ChargingStop"
KEEPER_WORKFLOW = "SessionKeeper"

UPDATE_ARRIVED = "driver_arrived"
UPDATE_PROBLEM = "driver_reports_problem"
UPDATE_CANCEL = "cancel_stop"
UPDATE_CHOOSE = "choose_charger"
UPDATE_APPROVE = "approve_plan"
SIGNAL_ARRIVED = "arrived"
SIGNAL_EVIDENCE = "evidence"
QUERY_STATUS = "status"
QUERY_TIMELINE = "timeline"

UPDATE_RELEASE_SESSION = "release_session"
"""To a session keeper: a person has seen that the session has ended, and with how much energy."""

SIGNAL_HAND_BACK = "hand_back"
"""To a session keeper: its stop, whose workflow id it gives, runs again and owns the session."""

ACTIVITY_PLAN = "plan_stop"
ACTIVITY_RECORD = "record_stop"
ACTIVITY_OPEN_STOP = "open_stop"
ACTIVITY_OPEN_ATTEMPT = "open_attempt"
ACTIVITY_FIND_ROUTE = "find_route"
ACTIVITY_COMMAND = "command_charger"
ACTIVITY_SETTLE = "price_session"
ACTIVITY_TAKE_BACK = "take_back_holds"
ACTIVITY_LOOK_AROUND = "look_around"
ACTIVITY_FIND_CHARGER = "find_charger"
ACTIVITY_FOLLOW = "follow_session"
ACTIVITY_SESSION_FACTS = "session_facts"
ACTIVITY_AMEND = "amend_stop"

STATION_WORKFLOW = "StationCommand"
ACTIVITY_FIND_STATION = "find_station"
ACTIVITY_DO_AT_STATION = "do_at_station"
ACTIVITY_NOTE_AT_STATION = "note_at_station"


def station_workflow_id(tenant_id: str, command_id: str) -> str:
    """One workflow for each command to a station: its history is the audit."""
    return f"station-command:{tenant_id}:{command_id}"


SEARCH_ATTRIBUTES: dict[str, str] = {
    "BackstopTenant": "Keyword",
    "StopPhase": "Keyword",
    "StopOutcome": "Keyword",
    "ReasonCode": "Keyword",
    "ChargerId": "Keyword",
    "SiteId": "Keyword",
    "Attempt": "Int",
    "ChargerProtocol": "Keyword",
    "AwaitingHuman": "Bool",
    "VehicleId": "Keyword",
    "StationId": "Keyword",
}
"""Registered at start. Plain text for all who may list workflows: no personal data, ever."""
