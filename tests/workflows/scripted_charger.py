"""A charger for workflow tests: a CommandPort that follows a script, keeps a ledger and gives evidence
through the real relay. Protocol peers over sockets are tested in tests/ocpp, tests/ocpi and tests/demo."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from connectors.ports import RoutedEvidence
from models.commands import ChargerCommand, CommandKind, CommandOutcome, CommandReply
from models.evidence import Evidence, EvidenceKind, EvidenceSource
from models.money import Money
from models.reason_codes import ReasonCode
from workers.evidence_relay import EvidenceRelay

ACCEPT = CommandReply(outcome=CommandOutcome.ACCEPTED, vendor_code="Accepted")
REJECT = CommandReply(
    outcome=CommandOutcome.REJECTED, reason=ReasonCode.START_REJECTED, vendor_code="Rejected"
)
UNCERTAIN = CommandReply(outcome=CommandOutcome.UNCERTAIN, reason=ReasonCode.START_TIMEOUT)
UNREACHABLE = CommandReply(outcome=CommandOutcome.UNREACHABLE, reason=ReasonCode.START_OFFLINE)


@dataclass
class ScriptedCharger:
    """`replies[charger_id]`: replies to starts in order, then ACCEPT. `silent`: accepts and never starts."""

    relay: EvidenceRelay
    tenant_id: str
    replies: defaultdict[str, list[CommandReply]] = field(default_factory=lambda: defaultdict(list))
    silent: set[str] = field(default_factory=set)
    obeys_stop: bool = True
    ledger: list[ChargerCommand] = field(default_factory=list)

    async def send(self, command: ChargerCommand) -> CommandReply:
        if command.tenant_id != self.tenant_id:
            return ACCEPT  # a keeper that an earlier test has left behind shares the product's queue
        self.ledger.append(command)
        if command.kind is CommandKind.STOP:
            if self.obeys_stop:
                await self.say(
                    command, EvidenceKind.SESSION_ENDED, reason=ReasonCode.SUSTAIN_STOPPED_REMOTELY
                )
            return ACCEPT
        charger_id = command.charger.charger_id
        script = self.replies[charger_id]
        reply = script.pop(0) if script else ACCEPT
        if reply.outcome is CommandOutcome.ACCEPTED and charger_id not in self.silent:
            await self.say(command, EvidenceKind.SESSION_STARTED)
        return reply

    async def until(self, ready: Callable[[], bool], seconds: float = 30.0) -> None:
        """Poll the ledger until it satisfies `ready`."""
        async with asyncio.timeout(seconds):
            while not ready():
                await asyncio.sleep(0.02)

    def starts(self, charger_id: str | None = None) -> list[ChargerCommand]:
        return [
            c
            for c in self.ledger
            if c.kind is CommandKind.START and charger_id in (None, c.charger.charger_id)
        ]

    def stops(self) -> list[ChargerCommand]:
        return [c for c in self.ledger if c.kind is CommandKind.STOP]

    async def say(
        self,
        command: ChargerCommand,
        kind: EvidenceKind,
        *,
        energy_kwh: float | None = None,
        reason: ReasonCode | None = None,
        at: datetime | None = None,
        event_id: str | None = None,
        cost: Money | None = None,
    ) -> None:
        at = at or datetime.now(UTC)
        evidence = Evidence(
            event_id=event_id or f"{command.attempt_id}:{kind}:{energy_kwh}",
            source=EvidenceSource.OCPP,
            kind=kind,
            observed_at=at,
            attempt_id=command.attempt_id,
            charger_id=command.charger.charger_id,
            session_ref=f"tx-{command.attempt_id[:8]}",
            energy_kwh=energy_kwh,
            reason=reason,
            cost=cost,
        )
        await self.relay.accept(
            [RoutedEvidence(tenant_id=self.tenant_id, evidence=evidence, stop_id=command.stop_id)]
        )
