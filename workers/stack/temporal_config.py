"""The stock server's configuration, written by us: own ports, own database, everything on loopback."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy.engine import make_url

from workers.stack.ports import free_port

_SERVICES = ("frontend", "matching", "history", "worker")


@dataclass
class ServerPorts:
    """Free ports for every service of one server."""

    grpc: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in _SERVICES})
    membership: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in _SERVICES})
    http: int = field(default_factory=free_port)
    ui: int = field(default_factory=free_port)


def sqlite_store(file: Path) -> dict[str, Any]:
    """One file, write-ahead log, full synchronisation: survives kill -9."""
    sql: dict[str, Any] = {
        "pluginName": "sqlite",
        "databaseName": str(file),
        "connectAddr": "localhost",
        "connectProtocol": "tcp",
        "user": "",
        "password": "",
        "maxConns": 1,
        "maxIdleConns": 1,
        "maxConnLifetime": "1h",
        "connectAttributes": {
            "cache": "private",
            "setup": "true",
            "journal_mode": "wal",
            "synchronous": "2",
        },
    }
    return {"default": {"sql": dict(sql)}, "visibility": {"sql": dict(sql)}}


def postgres_store(url: str, default: str, visibility: str) -> dict[str, Any]:
    """Two databases of one PostgreSQL server (the production shape)."""
    parts = make_url(url)
    sql: dict[str, Any] = {
        "pluginName": "postgres12",
        "connectAddr": f"{parts.host}:{parts.port}",
        "connectProtocol": "tcp",
        "user": parts.username,
        "password": parts.password or "",
        "maxConns": 20,
        "maxIdleConns": 20,
        "maxConnLifetime": "1h",
    }
    return {
        "default": {"sql": {**sql, "databaseName": default}},
        "visibility": {"sql": {**sql, "databaseName": visibility}},
    }


def write_config(folder: Path, ports: ServerPorts, datastores: dict[str, Any], shards: int) -> Path:
    """Write server, dynamic and UI configuration; returns the server's file."""
    folder.mkdir(parents=True, exist_ok=True)
    dynamic = folder / "dynamic.yaml"
    dynamic.write_text(yaml.safe_dump(_DYNAMIC))
    config: dict[str, Any] = {
        "log": {"stdout": True, "level": "warn"},
        "persistence": {
            "defaultStore": "default",
            "visibilityStore": "visibility",
            "numHistoryShards": shards,
            "datastores": datastores,
        },
        "global": {"membership": {"maxJoinDuration": "30s", "broadcastAddress": "127.0.0.1"}},
        "services": {
            name: {
                "rpc": {
                    "grpcPort": ports.grpc[name],
                    "membershipPort": ports.membership[name],
                    "bindOnIP": "127.0.0.1",
                    **({"httpPort": ports.http} if name == "frontend" else {}),
                }
            }
            for name in _SERVICES
        },
        "clusterMetadata": {
            "enableGlobalNamespace": False,
            "failoverVersionIncrement": 10,
            "masterClusterName": "active",
            "currentClusterName": "active",
            "clusterInformation": {
                "active": {
                    "enabled": True,
                    "initialFailoverVersion": 1,
                    "rpcName": "frontend",
                    "rpcAddress": f"127.0.0.1:{ports.grpc['frontend']}",
                }
            },
        },
        "dcRedirectionPolicy": {"policy": "noop"},
        "dynamicConfigClient": {"filepath": str(dynamic), "pollInterval": "60s"},
    }
    file = folder / "server.yaml"
    file.write_text(yaml.safe_dump(config))
    ui: dict[str, Any] = {
        "temporalGrpcAddress": f"127.0.0.1:{ports.grpc['frontend']}",
        "host": "127.0.0.1",
        "port": ports.ui,
        "enableUi": True,
        "cors": {"allowOrigins": [f"http://127.0.0.1:{ports.ui}"]},
        "defaultNamespace": "default",
    }
    (folder / "ui").mkdir(exist_ok=True)
    (folder / "ui" / "local.yaml").write_text(yaml.safe_dump(ui))
    return file


_DYNAMIC: dict[str, Any] = {
    # Per-workflow virtual clocks for tests and the sandbox (server 1.32).
    "frontend.WorkflowTimeSkippingEnabled": [{"value": True}],
    "frontend.workerVersioningDataAPIs": [{"value": True}],
    "system.forceSearchAttributesCacheRefreshOnRead": [{"value": True}],
    # One process, one core or two: fewer partitions mean fewer hops.
    "matching.numTaskqueueReadPartitions": [{"value": 1}],
    "matching.numTaskqueueWritePartitions": [{"value": 1}],
    "limit.maxIDLength": [{"value": 255}],
}
