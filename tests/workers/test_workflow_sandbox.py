"""What the sandbox leaves out is of no use to us, and stays so."""

from __future__ import annotations

from temporalio.converter import WorkflowSerializationContext

from workers.bootstrap import pydantic_data_converter


def test_our_data_converter_works_the_same_for_every_workflow_and_activity() -> None:
    """Where this fails, workers.workflow_sandbox must not answer for the run any more."""
    context = WorkflowSerializationContext(namespace="default", workflow_id="t/acme/stop/1")
    assert pydantic_data_converter.with_context(context) is pydantic_data_converter
