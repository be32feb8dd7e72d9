"""The stock server's and its UI's configuration, written by us: own ports, own database, on loopback only.

Modelled on the server module's own config/development-sqlite-file.yaml and development-postgres12.yaml. The
files are JSON, which is YAML too.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from workers.stack.ports import free_ports, is_free

_SERVICES = ("frontend", "matching", "history", "worker")


@dataclass(frozen=True)
class TemporalPorts:
    """Of one server and its UI. Clients see `frontend` (gRPC) and `ui` only."""

    frontend: int
    ui: int
    http: int
    matching: int
    history: int
    worker: int
    frontend_membership: int
    matching_membership: int
    history_membership: int
    worker_membership: int

    @classmethod
    def kept_in(cls, file: Path) -> TemporalPorts:
        """The ports of the last run on this state if they are free, so that links stay; else new ones."""
        if file.exists():
            kept = cls(**json.loads(file.read_text()))
            if all(is_free(port) for port in asdict(kept).values()):
                return kept
        return cls.fresh(file)

    @classmethod
    def fresh(cls, file: Path) -> TemporalPorts:
        """New ones, noted in `file`."""
        chosen = cls(*free_ports(10))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(chosen)))
        return chosen


@dataclass(frozen=True)
class SqliteFile:
    """One file with write-ahead log and full synchronisation: survives kill -9 and power cuts."""

    file: Path

    history_shards = 1

    def datastores(self) -> dict[str, Any]:
        sql: dict[str, Any] = {
            "pluginName": "sqlite",
            "databaseName": quote(str(self.file)),
            "connectAddr": "localhost",
            "connectProtocol": "tcp",
            "connectAttributes": {
                "cache": "private",
                "setup": "true",
                "journal_mode": "wal",
                "synchronous": "2",
            },
            "maxConns": 1,
            "maxIdleConns": 1,
            "maxConnLifetime": "1h",
        }
        return {"default": {"sql": sql}, "visibility": {"sql": sql}}


@dataclass(frozen=True)
class PostgresDatabases:
    """Two databases of one PostgreSQL server, reached over TCP: production's shape. `password` is written
    into the server's configuration, a file that only this user can read."""

    host: str
    port: int
    user: str
    password: str
    default: str = "temporal"
    visibility: str = "temporal_visibility"

    history_shards = 4

    def datastores(self) -> dict[str, Any]:
        sql: dict[str, Any] = {
            "pluginName": "postgres12",
            "connectAddr": f"{self.host}:{self.port}",
            "connectProtocol": "tcp",
            "user": self.user,
            "password": self.password,
            "maxConns": 20,
            "maxIdleConns": 20,
            "maxConnLifetime": "1h",
        }
        return {
            "default": {"sql": {**sql, "databaseName": self.default}},
            "visibility": {"sql": {**sql, "databaseName": self.visibility, "maxConns": 5, "maxIdleConns": 5}},
        }


Persistence = SqliteFile | PostgresDatabases

DYNAMIC: dict[str, Any] = {
    # Per-workflow virtual clocks for tests and rehearsals (server 1.32). A workflow must ask for one.
    "frontend.WorkflowTimeSkippingEnabled": True,
    # A fresh namespace and its search attributes are usable after one second, not ten.
    "system.namespaceCacheRefreshInterval": "1s",
    # One process on few cores: every partition more is a hop and four pollers more.
    "matching.numTaskqueueReadPartitions": 1,
    "matching.numTaskqueueWritePartitions": 1,
}
"""Settings that `start-dev` gets too, as flags."""


def write_server_config(folder: Path, ports: TemporalPorts, persistence: Persistence) -> Path:
    """Returns the server's file; the dynamic one is beside it."""
    dynamic = folder / "dynamic.yaml"
    _write(dynamic, {key: [{"value": value}] for key, value in DYNAMIC.items()})
    kept = asdict(ports)
    services = {
        name: {
            "rpc": {
                "grpcPort": kept[name],
                "membershipPort": kept[f"{name}_membership"],
                "bindOnLocalHost": True,
                **({"httpPort": ports.http} if name == "frontend" else {}),
            }
        }
        for name in _SERVICES
    }
    cluster = {
        "enabled": True,
        "initialFailoverVersion": 1,
        "rpcName": "frontend",
        "rpcAddress": f"127.0.0.1:{ports.frontend}",
        "httpAddress": f"127.0.0.1:{ports.http}",
    }
    config = {
        "log": {"stdout": True, "level": "warn"},
        "persistence": {
            "defaultStore": "default",
            "visibilityStore": "visibility",
            "numHistoryShards": persistence.history_shards,
            "datastores": persistence.datastores(),
        },
        "global": {"membership": {"maxJoinDuration": "30s", "broadcastAddress": "127.0.0.1"}},
        "services": services,
        "clusterMetadata": {
            "enableGlobalNamespace": False,
            "failoverVersionIncrement": 10,
            "masterClusterName": "active",
            "currentClusterName": "active",
            "clusterInformation": {"active": cluster},
        },
        "dcRedirectionPolicy": {"policy": "noop"},
        "dynamicConfigClient": {"filepath": str(dynamic), "pollInterval": "60s"},
    }
    return _write(folder / "server.yaml", config)


def write_ui_config(folder: Path, ports: TemporalPorts, namespace: str) -> Path:
    """Returns the file; the UI wants its folder and its name apart."""
    config = {
        "temporalGrpcAddress": f"127.0.0.1:{ports.frontend}",
        "host": "127.0.0.1",
        "port": ports.ui,
        "enableUi": True,
        "defaultNamespace": namespace,
        "disableNewsFetch": True,
        "cors": {"allowOrigins": [f"http://127.0.0.1:{ports.ui}"]},
    }
    return _write(folder / "ui" / "local.yaml", config)


def _write(file: Path, content: dict[str, Any]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)
    file.write_text(json.dumps(content, indent=1))
    return file
