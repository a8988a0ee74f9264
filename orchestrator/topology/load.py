"""Reads a compose file into a topology, or says in one line what is wrong with it, with file and line."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from nodes import errors
from orchestrator.runtimes.base import BRIDGE
from orchestrator.topology.compose import ComposeFile, Service
from orchestrator.topology.plan import TUNNEL_ROLES, NodePlan, RoleName

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?")

Location = tuple[int | str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Topology:
    """What a compose file describes, with its static addresses."""

    file: Path
    network: ipaddress.IPv6Network
    nodes: tuple[NodePlan, ...]


def load(path: Path) -> Topology:
    """Read and check the compose file at ``path``.

    Raises:
        TopologyError: it is no testbed; the text is ``file:line: where: what``.
    """
    document = _read(path)
    try:
        compose = ComposeFile.model_validate(_plain(document))
    except ValidationError as error:
        first = min(error.errors(), key=lambda found: _line(document, found["loc"]))
        raise _error(path, document, first["loc"], _explain(first)) from None
    return _Checked(path, document, compose).topology()


def _read(path: Path) -> CommentedMap:
    try:
        document = YAML(typ="rt").load(path.read_text())
    except OSError as error:
        raise errors.TopologyError(f"{path}: {error.strerror}; name a compose file with --file") from error
    except UnicodeDecodeError:
        raise errors.TopologyError(f"{path}: not a text file") from None
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        what = re.match(r'found duplicate key "([^"]*)"', error.problem or "")
        name = f"the name {what[1]!r}" if what else "a name"
        raise errors.TopologyError(f"{path}:{line}: {name} stands here twice; give each its own") from None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise errors.TopologyError(f"{path}:{line}: not YAML: {error.problem}") from None
    except YAMLError as error:
        raise errors.TopologyError(f"{path}: not YAML: {error}") from None
    if not isinstance(document, CommentedMap):
        raise errors.TopologyError(
            f"{path}:1: not a compose file: a mapping with services and networks is wanted"
        )
    return document


def _plain(value: Any) -> Any:
    if isinstance(value, CommentedMap):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, CommentedSeq):
        return [_plain(item) for item in value]
    return value


def _line(document: Any, location: Location) -> int:
    """The line of the deepest part of ``location`` that stands in the document; merged keys too."""
    line, here = 1, document
    for part in location:
        if isinstance(here, CommentedMap):
            holder = (
                next((held for held in (here, *_merged(here)) if part in held.lc.data), None)
                if here.lc.data
                else None
            )
            if holder is None:
                break
            line = holder.lc.key(part)[0] + 1
            here = here[part]
        elif isinstance(here, CommentedSeq) and isinstance(part, int) and part < len(here):
            line = here.lc.item(part)[0] + 1
            here = here[part]
        else:
            break
    return line


def _merged(mapping: CommentedMap) -> Sequence[CommentedMap]:
    return [merged[1] if isinstance(merged, tuple) else merged for merged in mapping.merge or ()]


def _known_keys(location: Location) -> list[str]:
    model: Any = ComposeFile
    for part in location[:-1]:
        if isinstance(part, int) or not (isinstance(model, type) and issubclass(model, BaseModel)):
            continue
        field = next((f for n, f in model.model_fields.items() if part in (n, f.alias)), None)
        if field is None:
            continue
        found = [a for a in _arguments(field.annotation) if isinstance(a, type) and issubclass(a, BaseModel)]
        model = found[0] if found else None
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return []
    return sorted(field.alias or name for name, field in model.model_fields.items())


def _arguments(annotation: Any) -> list[Any]:
    inner = getattr(annotation, "__args__", ())
    return [annotation, *(found for argument in inner for found in _arguments(argument))]


def _explain(found: Any) -> str:
    kind, value = found["type"], found.get("input")
    if kind == "extra_forbidden":
        known = _known_keys(found["loc"])
        return f"unknown key; Hopbed understands {', '.join(known)}" if known else "unknown key"
    if kind == "missing":
        return "is missing"
    if kind == "enum":
        return f"{value!r} is no role; the roles are {', '.join(RoleName)}"
    if kind in ("ip_v6_network", "ip_v6_address"):
        noun = "prefix" if kind == "ip_v6_network" else "address"
        reason = ""
        try:
            (ipaddress.IPv6Network if noun == "prefix" else ipaddress.IPv6Address)(str(value))
        except ValueError as error:
            reason = f" ({error})"
        return f"{value!r} is no IPv6 {noun}{reason}"
    message = str(found["msg"]).removeprefix("Value error, ")
    return f"{message[:1].lower()}{message[1:]}"


def _error(path: Path, document: CommentedMap, location: Location, what: str) -> errors.TopologyError:
    where = ".".join(str(part) for part in location if part not in ("[key]", "list[str]", "str"))
    return errors.TopologyError(f"{path}:{_line(document, location)}: {where}: {what}")


class _Checked:
    """The rules that hold between the parts of a file."""

    def __init__(self, path: Path, document: CommentedMap, compose: ComposeFile) -> None:
        self._path = path
        self._document = document
        self._compose = compose
        self._network_name, network = next(iter(compose.networks.items()))
        self._prefix = network.ipam.config[0].subnet
        self._site = ipaddress.IPv6Network((self._prefix.network_address, 48), strict=False)
        self._inner: dict[ipaddress.IPv6Network, str] = {self._prefix: f"the network {self._network_name}"}
        self._addresses: dict[ipaddress.IPv6Address, str] = {
            self._prefix.network_address: "the routers' anycast address",
            self._prefix.network_address + 1: "the bridge itself",
        }

    def _fail(self, location: Location, what: str) -> errors.TopologyError:
        return _error(self._path, self._document, location, what)

    def topology(self) -> Topology:
        subnet = ("networks", self._network_name, "ipam", "config", 0, "subnet")
        if self._prefix.prefixlen != 64:
            raise self._fail(subnet, f"{self._prefix} is no /64, which interface identifiers need (RFC 4291)")
        nodes = tuple(self._node(name, service) for name, service in self._compose.services.items())
        return Topology(file=self._path, network=self._prefix, nodes=nodes)

    def _node(self, name: str, service: Service) -> NodePlan:
        here: Location = ("services", name)
        if not _NAME.fullmatch(name) or name == BRIDGE:
            rule = (
                "a node's name has 1 to 15 lower-case letters, digits and inner hyphens, and is not 'bridge'"
            )
            raise self._fail(here, rule)
        role = service.hopbed.role
        command = [service.command] if isinstance(service.command, str) else service.command
        if command is not None and command != [role.value]:
            raise self._fail(
                (*here, "command"), f"must be [{role}], for x-hopbed says that the role is {role}"
            )
        if service.hostname not in (None, name):
            raise self._fail((*here, "hostname"), f"must be {name}, for that is what the other nodes call it")
        return NodePlan(
            name=name,
            role=role,
            address=self._address(here, service),
            inner=self._inner_prefix(here, role, service.hopbed.inner),
            image=service.image,
            cap_add=tuple(service.cap_add),
            devices=tuple(service.devices),
            sysctls=service.sysctls,
            init=service.init,
        )

    def _address(self, here: Location, service: Service) -> ipaddress.IPv6Interface:
        if list(service.networks) != [self._network_name]:
            raise self._fail((*here, "networks"), f"must name just the network {self._network_name}")
        where = (*here, "networks", self._network_name, "ipv6_address")
        address = service.networks[self._network_name].ipv6_address
        if address not in self._prefix:
            raise self._fail(where, f"{address} is not in {self._prefix}")
        if address in self._addresses:
            raise self._fail(where, f"{address} is already that of {self._addresses[address]}")
        self._addresses[address] = str(here[-1])
        return ipaddress.IPv6Interface((address, self._prefix.prefixlen))

    def _inner_prefix(
        self, here: Location, role: RoleName, inner: ipaddress.IPv6Network | None
    ) -> ipaddress.IPv6Network | None:
        where = (*here, "x-hopbed", "inner")
        if role not in TUNNEL_ROLES:
            if inner is not None:
                raise self._fail(
                    where, f"a {role} is no tunnel's end; inner is for {', '.join(TUNNEL_ROLES)}"
                )
            return None
        if inner is None:
            raise self._fail(here, f"x-hopbed.inner is missing: a {role} needs the prefix behind its tunnel")
        if not inner.subnet_of(self._site):
            raise self._fail(
                where, f"{inner} is not in {self._site}, which each run replaces with its own prefix"
            )
        for other, whose in self._inner.items():
            if inner.overlaps(other):
                raise self._fail(where, f"{inner} overlaps {other} of {whose}")
        self._inner[inner] = str(here[-1])
        return inner
