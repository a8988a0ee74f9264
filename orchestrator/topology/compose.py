"""The subset of the Compose format that is a testbed, as strict models.

https://github.com/compose-spec/compose-spec/blob/main/spec.md; whatever is not named here is an error, so
that nobody believes that a setting was heeded. Extension fields (``x-``) are free, but ``x-hopbed`` is ours.

A compose file may come from somebody else, so it is not trusted with the machine: of what Compose can do, it
may name the TUN device, the capabilities that nodes need, sysctls of the node's network, and the node image
(docs/decisions/0015-what-is-trusted.md). Whoever starts the run may trust other images, by HOPBED_IMAGES; the
file itself cannot.
"""

from __future__ import annotations

import ipaddress
import os
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from orchestrator.topology.plan import RoleName

NODE_IMAGE = "hopbed-node"
"""The repository of the images that ``make image`` builds."""
TRUSTED_IMAGES = "HOPBED_IMAGES"
"""The environment variable that names other images to be trusted, with commas between them."""


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


def _network_only(sysctls: dict[str, str]) -> dict[str, str]:
    for name in sysctls:
        if not name.startswith("net."):
            raise ValueError(f"{name} is no sysctl of a node's own network; only net.* may be set")
    return sysctls


def _trusted(image: str) -> str:
    others = [name.strip() for name in os.environ.get(TRUSTED_IMAGES, "").split(",")]
    if image.partition(":")[0] != NODE_IMAGE and image not in others:
        raise ValueError(
            f"{image!r} is not the node image, and a compose file alone is not trusted to run it; "
            f"name {NODE_IMAGE}, or set {TRUSTED_IMAGES}={image} if you trust it"
        )
    return image


Capability = Literal[
    "CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_ADMIN", "NET_BIND_SERVICE", "NET_RAW",
    "SETGID", "SETUID", "SYS_CHROOT", "SYS_NICE",
]  # fmt: skip
"""Those that nodes need; :data:`orchestrator.runtimes.docker.spec.CAPABILITIES` says what for."""


class Service(_Strict):
    """One node."""

    hopbed: HopbedFields = Field(alias="x-hopbed")
    image: Annotated[str, AfterValidator(_trusted)]
    networks: dict[str, Attachment]
    hostname: str | None = None
    command: list[str] | str | None = None
    init: bool = False
    cap_add: list[Capability] = []
    cap_drop: list[Literal["ALL"]] = []
    security_opt: list[Literal["no-new-privileges:true"]] = []
    devices: list[Literal["/dev/net/tun"]] = []
    sysctls: Annotated[dict[str, str], BeforeValidator(_sysctls), AfterValidator(_network_only)] = {}


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
