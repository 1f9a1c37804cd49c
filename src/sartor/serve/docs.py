"""`/docs`: the OpenAPI document as one plain page. No script, nothing from elsewhere, so it works without a network."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8882}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem}
code,.method{font:14px/1.4 ui-monospace,monospace}
h2{border-bottom:1px solid var(--line);margin-top:2.5rem}h3{margin-bottom:.25rem}
nav a{margin-right:.75rem}.method{font-weight:700}.scope{font-size:.75rem;border:1px solid var(--line);border-radius:1rem;padding:.1rem .5rem}
table{border-collapse:collapse;margin:.5rem 0;display:block;overflow-x:auto}
th,td{text-align:left;padding:.2rem .75rem .2rem 0;border-bottom:1px solid var(--soft);vertical-align:top}
.shape{font-size:.9rem}:focus-visible{outline:3px solid #2563eb;outline-offset:2px}
"""

CSP = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


def page(document: dict[str, Any]) -> str:
    """HTML of an OpenAPI document."""
    from jinja2 import Environment

    template = Environment(autoescape=True, trim_blocks=True).from_string((Path(__file__).parent / "docs.html.j2").read_text())
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, methods in document["paths"].items():
        for method, given in methods.items():
            groups.setdefault(given.get("tags", ["other"])[0], []).append(_route(path, method, given))
    schemas = {name: _fields(schema) for name, schema in sorted(document["components"]["schemas"].items())}
    # The style is not escaped: its hash is in the policy, and it is ours.
    from markupsafe import Markup

    return template.render(info=document["info"], groups=groups, schemas=schemas, style=Markup(STYLE))


def _route(path: str, method: str, given: dict[str, Any]) -> dict[str, Any]:
    status, answer = next((status, one) for status, one in given["responses"].items() if status.startswith("2"))
    content = answer.get("content", {})
    parameters = [{**one, "type": _type(one["schema"]), "default": one["schema"].get("default", "")} for one in given.get("parameters", [])]
    body = given.get("requestBody", {}).get("content", {})
    return {
        "path": path,
        "method": method.upper(),
        "text": given.get("description", given.get("summary", "")),
        "scope": given.get("x-scope"),
        "parameters": parameters,
        "body": [name for one in body.values() if (name := _name(one.get("schema", {})))],
        "status": status,
        "gives": [name for one in content.values() if (name := _name(one.get("schema", {})))],
        "media": ", ".join(content) or "nothing",
    }


def _fields(schema: dict[str, Any]) -> list[dict[str, Any]]:
    required = schema.get("required", [])
    return [{"name": name, "type": _type(one), "required": name in required} for name, one in schema.get("properties", {}).items()]


def _name(schema: dict[str, Any]) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return _name(schema)
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(_type(one) for one in schema[several]))
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    limits = [f"{sign} {schema[name]}" for name, sign in (("minimum", "≥"), ("maximum", "≤"), ("maxLength", "up to")) if name in schema]
    kind = schema.get("format") or schema.get("type", "anything")
    return f"{kind} ({', '.join(limits)})" if limits else str(kind)
