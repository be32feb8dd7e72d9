"""Worker versioning: a running stop drains on the code that began it; new ones start on the current version.

A version is `<deployment>.<build id>`; the build id is a hash of the code that decides inside workflows,
unless settings name one. A versioned worker is given nothing until its version is current.
"""

from __future__ import annotations

import asyncio
import hashlib
from functools import cache
from pathlib import Path

import structlog
from temporalio.api.workflowservice.v1 import (
    DescribeWorkerDeploymentRequest,
    SetWorkerDeploymentCurrentVersionRequest,
)
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import WorkerDeploymentConfig

from workers.settings import Settings

_log = structlog.get_logger(__name__)

_DECIDES = ("models", "stops", "workflows")
_ROOT = Path(__file__).resolve().parents[1]
_AGAIN_S = 0.3


@cache
def code_build_id() -> str:
    """The same code has the same build id, on every machine."""
    digest = hashlib.sha256()
    for room in _DECIDES:
        for file in sorted((_ROOT / room).rglob("*.py")):
            digest.update(str(file.relative_to(_ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def version_of(settings: Settings) -> WorkerDeploymentVersion:
    return WorkerDeploymentVersion(settings.deployment_name, settings.build_id or code_build_id())


def deployment_of(settings: Settings) -> WorkerDeploymentConfig | None:
    """None where versioning is off: development, where code changes under kept state."""
    if not settings.worker_versioning:
        return None
    return WorkerDeploymentConfig(
        version=version_of(settings),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.PINNED,
    )


async def become_current(client: Client, settings: Settings) -> None:
    """Make this worker's version current, where nothing is, or where settings say so. Call it while the
    worker polls: the server does not know a version before that. Tries until it works."""
    if not settings.worker_versioning:
        return
    version = version_of(settings)
    while True:
        try:
            current = await current_version(client, settings.deployment_name)
            if current == version.build_id or (current and not settings.become_current):
                return
            await set_current(client, version)
            _log.info("worker version is current", build_id=version.build_id, former=current or "none")
            return
        except RPCError as error:
            if error.status is RPCStatusCode.INVALID_ARGUMENT:
                _log.warning("worker version could not become current", error=str(error))
        await asyncio.sleep(_AGAIN_S)


async def set_current(client: Client, version: WorkerDeploymentVersion) -> None:
    """New stops start on this version from now on. Raises RPCError."""
    await client.workflow_service.set_worker_deployment_current_version(
        SetWorkerDeploymentCurrentVersionRequest(
            namespace=client.namespace,
            deployment_name=version.deployment_name,
            build_id=version.build_id,
            identity=client.identity,
            ignore_missing_task_queues=True,
        )
    )


async def current_version(client: Client, deployment_name: str) -> str:
    """The build id that new stops start on; empty where there is none. Raises RPCError."""
    try:
        found = await client.workflow_service.describe_worker_deployment(
            DescribeWorkerDeploymentRequest(namespace=client.namespace, deployment_name=deployment_name)
        )
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return ""
        raise
    return found.worker_deployment_info.routing_config.current_deployment_version.build_id
