"""Requests made from the OpenAPI document itself: no 5xx, and every answer is what the document says."""

from __future__ import annotations

from collections import Counter
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance
from serve_shop import Shop

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
bounded = settings(max_examples=5, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck), database=None)
SKIPPED = {("DELETE", "/v1/keys/{key}"), ("GET", "/v1/jobs/{job}/stream"), ("POST", "/v1/models"), ("PUT", "/v1/consents")}
"""Ending the key in use, waiting for a job, fitting a model per example, taking everybody's consent away."""


def operations(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(method.upper(), path) for path, methods in document["paths"].items() for method in methods]


def test_the_document_is_whole(shared: Shop) -> None:
    document = shared.get("/openapi.json").json()
    listed = operations(document)
    assert len(listed) > 35
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["description"], (method, path)
            if path.startswith("/v1"):
                assert operation["security"] == [{"key": []}]
                assert "application/problem+json" in operation["responses"]["422"]["content"]
    text = str(document)
    assert "HTTPValidationError" not in text
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


def test_every_operation_keeps_its_word(shared: Shop) -> None:
    document = shared.get("/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    answered: Counter[int] = Counter()

    def check(case: Any) -> None:
        response = case.call(base_url=shared.url, headers={"Authorization": f"Bearer {shared.keys['default']}"})
        case.validate_response(response, checks=CHECKS)
        answered[response.status_code // 100] += 1

    for method, path in operations(document):
        if (method, path) not in SKIPPED:
            bounded(given(case=schema[path][method].as_strategy())(check))()
    assert answered[2] > 25
    assert answered[4] > 25
    assert set(answered) == {2, 4}
