"""What reaches a workflow, decoded where it can be. What cannot be read never fails a workflow task.

Whoever holds a Temporal client may send anything, and neighbours may be newer than the code that a run is
pinned to. The SDK fails the task for what it cannot decode, and for a wrong number of arguments: for ever,
because history does not change. Here such a thing arrives as `Unread`: a signal is dropped, an update
refused, a start ends with a word, and a call's result counts as none at all (workflows/calls.py).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadConverter
from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    HandleSignalInput,
    HandleUpdateInput,
    UnsandboxedWorkflowRunner,
    WorkflowInboundInterceptor,
    WorkflowInstance,
    WorkflowInstanceDetails,
)

with workflow.unsafe.imports_passed_through():
    from pydantic import BaseModel, TypeAdapter, ValidationError

    from models.faults import faults_of

M = TypeVar("M", bound=BaseModel)

UNREADABLE = "message.unreadable"


class Unread:
    """A payload that could not be decoded. `why` names fields, never values."""

    def __init__(self, why: str) -> None:
        self.why = why


def the_one(arguments: Sequence[Any]) -> Any:
    """The one argument of a start or a message; `Unread` where there is none, or more."""
    return arguments[0] if len(arguments) == 1 else Unread(f"one argument, not {len(arguments)}")


def read(kind: type[M], value: Any) -> M | Unread:
    """What was decoded as plain JSON, as a message of this kind."""
    if isinstance(value, Unread):
        return value
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        return Unread(faults_of(error))


def read_each(kind: type[M], items: Sequence[Any]) -> list[M]:
    """Those of the items that can be read: one of tomorrow's takes no other with it."""
    found: list[M] = []
    for item in items:
        value = read(kind, item)
        if isinstance(value, Unread):
            workflow.logger.warning("an item was passed over", extra={"fault": value.why})
        else:
            found.append(value)
    return found


class IntakeRunner(UnsandboxedWorkflowRunner):
    """Runs a workflow with this module's decoding and checks; the sandbox makes one for each run."""

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        inner = det.payload_converter_factory
        return super().create_instance(
            dataclasses.replace(
                det,
                payload_converter_factory=lambda: _Decoding(inner()),
                interceptor_classes=[*det.interceptor_classes, _Fitting],
            )
        )


class _Decoding(PayloadConverter):
    """As the converter within, one payload at a time; what it cannot decode is `Unread`."""

    def __init__(self, inner: PayloadConverter) -> None:
        self._inner = inner

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        return self._inner.to_payloads(values)

    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        hints: Sequence[type | None] = type_hints or [None] * len(payloads)
        return [self._decoded(payload, hint) for payload, hint in zip(payloads, hints, strict=True)]

    def _decoded(self, payload: Payload, hint: type | None) -> Any:
        try:
            value = self._inner.from_payloads([payload], [hint] if hint else None)[0]
            if value is None and hint is not None:
                TypeAdapter(hint).validate_python(None)  # a null is decoded whatever the hint says
            return value
        except ValidationError as error:
            return Unread(faults_of(error))
        except Exception as error:  # noqa: BLE001  another encoding, no text, too deep: none of it is ours to mend
            return Unread(type(error).__name__)


class _Fitting(WorkflowInboundInterceptor):
    """Lets messages in that their handler can take."""

    async def handle_signal(self, input: HandleSignalInput) -> None:
        fault = _misfit(input.args)
        if fault:
            workflow.logger.warning("a signal was dropped", extra={"signal": input.signal, "fault": fault})
            return
        await super().handle_signal(input)

    def handle_update_validator(self, input: HandleUpdateInput) -> None:
        _refuse_misfit(input)
        super().handle_update_validator(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        _refuse_misfit(input)  # again: an update without a validator comes straight here
        return await super().handle_update_handler(input)


def _refuse_misfit(input: HandleUpdateInput) -> None:
    fault = _misfit(input.args)
    if fault:
        raise ApplicationError(f"This cannot be read: {fault}", type=UNREADABLE, non_retryable=True)


def _misfit(arguments: Sequence[Any]) -> str:
    """Why a handler of ours cannot take these (each takes one argument); empty where it can."""
    argument = the_one(arguments)
    return argument.why if isinstance(argument, Unread) else ""
