"""The subset of the Compose format that is a testbed, as strict models.

https://github.com/compose-spec/compose-spec/blob/main/spec.md; whatever is not named here is an error, so
that nobody believes that a setting was heeded. Extension fields (``x-``) are free, but ``x-hopbed`` is ours.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from orchestrator.topology.plan import RoleName


def _without_extensions(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: item for key, item in value.items() if key == "x-hopbed" or not str(key).startswith("x-")
        }
    return value


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_extensions(cls, value: Any) -> Any:
        return _without_extensions(value)


class HopbedFields(_Strict):
    """``x-hopbed`` of a service: its role, and the prefix behind a tunnel's end."""

    role: RoleName
    inner: ipaddress.IPv6Network | None = None


class Attachment(_Strict):
    """A service's place on a network."""

    ipv6_address: ipaddress.IPv6Address


def _sysctls(value: Any) -> Any:
    """Compose takes a mapping, or a list of ``name=value``."""
    if isinstance(value, list):
        value = dict(str(item).split("=", 1) for item in value if "=" in str(item))
    if isinstance(value, dict):
        return {str(key): str(item) for key, item in value.items()}
    return value


class Service(_Strict):
    """One node."""

    hopbed: HopbedFields = Field(alias="x-hopbed")
    image: str
    networks: dict[str, Attachment]
    hostname: str | None = None
    command: list[str] | str | None = None
    init: bool = False
    cap_add: list[str] = []
    devices: list[str] = []
    sysctls: Annotated[dict[str, str], BeforeValidator(_sysctls)] = {}


class Subnet(_Strict):
    """One entry of a network's ``ipam.config``."""

    subnet: ipaddress.IPv6Network


class Ipam(_Strict):
    """A network's address management: one IPv6 prefix."""

    config: Annotated[list[Subnet], Field(min_length=1, max_length=1)]


class Network(_Strict):
    """The bridge."""

    ipam: Ipam
    enable_ipv6: Literal[True]
    driver: Literal["bridge"] = "bridge"


class ComposeFile(_Strict):
    """A whole compose file."""

    services: Annotated[dict[str, Service], Field(min_length=1)]
    networks: Annotated[dict[str, Network], Field(min_length=1, max_length=1)]
    name: str | None = None
    version: str | None = None
