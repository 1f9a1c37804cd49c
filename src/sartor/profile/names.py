"""What may be a name of a tenant, a person, a record or an item."""

from __future__ import annotations

from typing import Any

from sartor.errors import BadValue


class _EveryTenant(str):
    """Told from a tenant's name by what it is, not by how it is spelt."""

    __slots__ = ()


EVERY_TENANT = _EveryTenant("*")
"""For upkeep over all tenants (`schema.ACROSS_TENANTS`); no tenant may be called so."""


def check_name(name: Any, what: str) -> str:
    """An id as text: whole numbers become their digits. Raises `BadValue`."""
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    if not isinstance(name, str) or not name or len(name) > 500 or "\0" in name:
        raise BadValue(f"the {what} is not an id", fix="give text of 1 to 500 characters, or a whole number")
    try:
        name.encode()
    except UnicodeEncodeError as cause:
        raise BadValue(f"the {what} is not an id", fix="give whole Unicode characters") from cause
    return name


def check_tenant(name: Any) -> str:
    """A tenant's name. Raises `BadValue`."""
    name = check_name(name, "tenant")
    if name == EVERY_TENANT:
        raise BadValue("no tenant can have this name", fix="choose another one")
    return name


def check_scope(tenant: str) -> str:
    """A tenant's name, or `EVERY_TENANT` itself."""
    return tenant if tenant is EVERY_TENANT else check_tenant(tenant)
