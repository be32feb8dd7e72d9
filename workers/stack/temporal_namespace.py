"""What Backstop needs on any Temporal server: a namespace, and its search attributes in it."""

from __future__ import annotations

from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    DescribeNamespaceRequest,
    RegisterNamespaceRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from models.contract import SEARCH_ATTRIBUTES
from workers.stack.processes import until_ready

RETENTION = timedelta(days=7)

_NOT_YET = (RPCStatusCode.NOT_FOUND, RPCStatusCode.UNAVAILABLE, RPCStatusCode.INVALID_ARGUMENT)


async def prepare_namespace(client: Client, seconds: float = 60.0) -> None:
    """Register the client's namespace and our search attributes where missing, and wait until both are
    usable. Idempotent, also from several processes at once. Raises RPCError where the server forbids it,
    TimeoutError where it does not come to know them."""
    await _register_namespace(client)
    await until_ready(lambda: _attributes_added(client), "Temporal's search attributes", seconds)
    await until_ready(lambda: _attributes_usable(client), "Temporal's search attributes in queries", seconds)


async def _register_namespace(client: Client) -> None:
    try:
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
        return
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
    retention = Duration()
    retention.FromTimedelta(RETENTION)
    try:
        await client.workflow_service.register_namespace(
            RegisterNamespaceRequest(
                namespace=client.namespace, workflow_execution_retention_period=retention
            )
        )
    except RPCError as error:
        if error.status is not RPCStatusCode.ALREADY_EXISTS:
            raise


async def _attributes_added(client: Client) -> bool:
    try:
        known = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=client.namespace)
        )
        missing = {
            name: IndexedValueType.Value(f"INDEXED_VALUE_TYPE_{kind.upper()}")
            for name, kind in SEARCH_ATTRIBUTES.items()
            if name not in known.custom_attributes
        }
        if missing:
            await client.operator_service.add_search_attributes(
                AddSearchAttributesRequest(namespace=client.namespace, search_attributes=missing)
            )
    except RPCError as error:
        # The namespace is not known everywhere yet, or another process added them between the two calls.
        if error.status in (*_NOT_YET, RPCStatusCode.ALREADY_EXISTS):
            return False
        raise
    return not missing


async def _attributes_usable(client: Client) -> bool:
    query = " OR ".join(f"{name} IS NOT NULL" for name in SEARCH_ATTRIBUTES)
    try:
        await client.workflow_service.count_workflow_executions(
            CountWorkflowExecutionsRequest(namespace=client.namespace, query=query)
        )
    except RPCError as error:
        if error.status in _NOT_YET:
            return False
        raise
    return True
