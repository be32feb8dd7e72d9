"""Temporal's sandbox for our workflows, less one thing of it that we have no use for.

The SDK asks a run, from within its sandbox, once per payload, for the serialization context of the command
that the payload belongs to: for converters and codecs that work differently per workflow or activity. Each
question enters the sandbox, and all of them together were a ninth of a stop worker's Python time (sampled
during 2,000 starts). Ours work the same everywhere (tests/workers/test_workflow_sandbox.py holds us to it),
so the answer is always the same, and is given outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from temporalio import workflow
from temporalio.converter import SerializationContext, StorageDriverStoreContext
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

if TYPE_CHECKING:
    from temporalio.bridge.proto.workflow_activation import WorkflowActivation
    from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
    from temporalio.worker._command_aware_visitor import CommandInfo


@dataclass(frozen=True)
class ContextFreeSandbox(SandboxedWorkflowRunner):
    """For clients whose data converter has no use for a context."""

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        return _ContextFree(super().create_instance(det))


class _ContextFree(WorkflowInstance):
    def __init__(self, within: WorkflowInstance) -> None:
        self._within = within

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        return self._within.activate(act)

    def get_serialization_context(self, command_info: CommandInfo | None) -> SerializationContext | None:
        return None

    def get_external_store_context(self, command_info: CommandInfo | None) -> StorageDriverStoreContext:
        return self._within.get_external_store_context(command_info)

    def get_info(self) -> workflow.Info:
        return self._within.get_info()

    def get_thread_id(self) -> int | None:
        return self._within.get_thread_id()
