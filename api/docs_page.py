"""/docs without a network: one page rendered from the OpenAPI document, no script, no CDN."""

from __future__ import annotations

import html
import json
from typing import Any, cast

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --key: #0a7d5a; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
details { border: 1px solid var(--line); border-radius: 8px; margin: .6rem 0; padding: .5rem .9rem; }
summary { cursor: pointer; } code, pre { font: 13px/1.45 ui-monospace, monospace; }
pre { background: var(--soft); padding: .8rem; border-radius: 6px; overflow: auto; }
.verb { display: inline-block; min-width: 3.6rem; font-weight: 700; color: var(--key); }
.what { color: #777; } table { border-collapse: collapse; } td { padding: .15rem .8rem .15rem 0; }
"""
_VERBS = ("get", "post", "put", "patch", "delete")


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    app: FastAPI = request.app
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return HTMLResponse(render(app.openapi()), headers=headers)


def render(document: dict[str, Any]) -> str:
    """The whole page."""
    info = document["info"]
    groups: dict[str, list[str]] = {}
    for path, item in document["paths"].items():
        for verb in _VERBS:
            if verb in item:
                operation = item[verb]
                group = (operation.get("tags") or ["other"])[0]
                groups.setdefault(group, []).append(_operation(document, verb, path, operation))
    parts = [f"<h2>{html.escape(name)}</h2>{''.join(rows)}" for name, rows in groups.items()]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(info['title'])}</title>"
        f"<meta name=viewport content='width=device-width'><style>{_STYLE}</style>"
        f"<h1>{html.escape(info['title'])}</h1><p>{html.escape(info.get('description', ''))}</p>"
        "<p>Send <code>Authorization: Bearer bsk_...</code>. Machine-readable: "
        "<a href='/openapi.json'>openapi.json</a>.</p>" + "".join(parts) + "</html>"
    )


def _operation(document: dict[str, Any], verb: str, path: str, operation: dict[str, Any]) -> str:
    text = html.escape(operation.get("description") or operation.get("summary", ""))
    rows = "".join(
        f"<tr><td><code>{html.escape(p['name'])}</code></td><td class=what>{html.escape(p['in'])}</td>"
        f"<td>{html.escape(p.get('description', ''))}</td></tr>"
        for p in operation.get("parameters", [])
    )
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    sample = f"<p>Body</p><pre>{html.escape(_pretty(example(document, body)))}</pre>" if body else ""
    replies = ", ".join(html.escape(code) for code in operation.get("responses", {}))
    return (
        f"<details><summary><span class=verb>{verb.upper()}</span> <code>{html.escape(path)}</code> "
        f"<span class=what>{text.split('. ')[0]}</span></summary><p>{text}</p><table>{rows}</table>"
        f"{sample}<p class=what>Answers: {replies}</p></details>"
    )


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def example(document: dict[str, Any], schema: dict[str, Any], depth: int = 0) -> Any:
    """An example of a schema: its own where it has one, else made of its required parts."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rsplit("/", 1)[-1]
        return example(document, document["components"]["schemas"][name], depth + 1)
    if schema.get("examples"):
        return schema["examples"][0]
    for key in ("example", "default", "const"):
        if schema.get(key) is not None:
            return schema[key]
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return example(document, schema[key][0], depth + 1)
    if schema.get("type") == "object" and depth < 6:
        fields = cast("dict[str, Any]", schema.get("properties", {}))
        wanted = {k: v for k, v in fields.items() if k in schema.get("required", ()) or v.get("examples")}
        return {key: example(document, value, depth + 1) for key, value in wanted.items()}
    plain: dict[str, Any] = {"string": "text", "integer": 1, "number": 1.0, "boolean": True, "array": []}
    return plain.get(str(schema.get("type")), cast("dict[str, Any]", {}))
