"""The keys of an endpoint in a file, where a run asks for them, so that its captures can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from nodes.ike.context import EspKeyMaterial, IkeKeyMaterial

KEY_LOG = "ike-keys.jsonl"
"""Where an endpoint with the option ``keys`` writes its keys: a JSON document a line."""


class LoggedKeys(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The keys of an SA. Octets are hexadecimal digits; of an ISAKMP SA ``spi`` is the initiator's cookie.

    ``encryption`` and ``integrity`` are named as charon names them; a key of AES-GCM has its salt behind it.
    """

    kind: Literal["isakmp", "esp"]
    spi: str
    key: str
    responder_spi: str = ""
    source: str = ""
    destination: str = ""
    encryption: str = ""
    integrity: str = ""
    integrity_key: str = ""

    def __repr__(self) -> str:
        return f"LoggedKeys({self.kind}, {self.spi})"


def logged(material: IkeKeyMaterial | EspKeyMaterial) -> LoggedKeys:
    """Keys as they are written down."""
    if isinstance(material, IkeKeyMaterial):
        initiator, responder = material.cookies
        return LoggedKeys(
            kind="isakmp",
            spi=initiator.hex(),
            responder_spi=responder.hex(),
            key=material.key.hex(),
            encryption=f"AES_CBC_{8 * len(material.key)}",
            integrity="HMAC_SHA2_256_128",
        )
    sa, source, destination = material
    bits = 8 * len(sa.encryption_key)
    return LoggedKeys(
        kind="esp",
        spi=f"{sa.spi:08x}",
        key=(sa.encryption_key + sa.salt).hex(),
        source=str(source),
        destination=str(destination),
        encryption=f"AES_GCM_16_{bits}" if sa.encryption == "aes-gcm-16" else f"AES_CBC_{bits}",
        integrity="" if sa.integrity is None else "HMAC_SHA2_256_128",
        integrity_key=sa.integrity_key.hex(),
    )


class KeyLog:
    """A file that nobody but its owner may read.

    Args:
        path: of the file, which is there already.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, material: IkeKeyMaterial | EspKeyMaterial) -> None:
        """Add keys."""
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(logged(material)) + b"\n")
