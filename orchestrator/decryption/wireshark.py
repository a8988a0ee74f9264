"""Keys as Wireshark's tables: the files of a configuration folder. Keys in, text out.

The formats are those of Wireshark 4.0's "UAT" files. Its ESP dissector checks the 16 octets of an AEAD's ICV
itself; the names of algorithms must be spelt as it spells them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from orchestrator.decryption.charon_keys import EspKeys, IkeKeys

IKEV1: Final = "ikev1_decryption_table"
IKEV2: Final = "ikev2_decryption_table"
ESP: Final = "esp_sa"
PREFERENCES: Final = "preferences"

_AEAD = re.compile(r"AES_(GCM|CCM)_(8|12|16)_(128|192|256)")
_CBC = re.compile(r"AES_CBC_(128|192|256)")
_INTEGRITY: Final[Mapping[str, tuple[str, str]]] = {
    "HMAC_SHA1_96": ("HMAC_SHA1_96 [RFC2404]", "HMAC-SHA-1-96 [RFC2404]"),
    "HMAC_SHA2_256_128": ("HMAC_SHA2_256_128 [RFC4868]", "HMAC-SHA-256-128 [RFC4868]"),
    "HMAC_SHA2_384_192": ("HMAC_SHA2_384_192 [RFC4868]", "HMAC-SHA-384-192 [RFC4868]"),
    "HMAC_SHA2_512_256": ("HMAC_SHA2_512_256 [RFC4868]", "HMAC-SHA-512-256 [RFC4868]"),
    "": ("NONE [RFC4306]", "NULL"),
}
"""By charon's name: IKEv2's table's, and ESP's."""

_PREFERENCES = """\
# Wireshark's settings for the captures of this run: WIRESHARK_CONFIG_DIR=keys wireshark -r captures/…
esp.enable_encryption_decode: TRUE
esp.enable_authentication_check: TRUE
"""


def tables(keys: Iterable[IkeKeys | EspKeys]) -> dict[str, str]:
    """The files by name; both ends of an SA tell of the same keys, which are there once.

    An SA whose algorithms Wireshark does not know is left out: it stays encrypted.
    """
    rows: dict[str, dict[str, None]] = {IKEV1: {}, IKEV2: {}, ESP: {}}
    for one in keys:
        if isinstance(one, EspKeys):
            row, table = _esp(one), ESP
        elif one.version == 1:
            row, table = f"{one.initiator_spi.hex()},{one.initiator_key.hex()}", IKEV1
        else:
            row, table = _ikev2(one), IKEV2
        if row is not None:
            rows[table][row] = None
    files = {table: "".join(f"{row}\n" for row in found) for table, found in rows.items() if found}
    return files | {PREFERENCES: _PREFERENCES}


def _ikev2(keys: IkeKeys) -> str | None:
    if aead := _AEAD.fullmatch(keys.encryption):
        mode, icv, bits = aead.groups()
        encryption = f"AES-{mode}-{bits} with {icv} octet ICV [RFC5282]"
    elif cbc := _CBC.fullmatch(keys.encryption):
        encryption = f"AES-CBC-{cbc[1]} [RFC3602]"
    else:
        return None
    if keys.integrity not in _INTEGRITY:
        return None
    return (
        f"{keys.initiator_spi.hex()},{keys.responder_spi.hex()},"
        f'{keys.initiator_key.hex()},{keys.responder_key.hex()},"{encryption}",'
        f'{keys.initiator_integrity.hex()},{keys.responder_integrity.hex()},"{_INTEGRITY[keys.integrity][0]}"'
    )


def _esp(keys: EspKeys) -> str | None:
    if (aead := _AEAD.fullmatch(keys.encryption)) and aead[1] == "GCM":
        encryption = f"AES-GCM with {aead[2]} octet ICV [RFC4106]"
    elif _CBC.fullmatch(keys.encryption):
        encryption = "AES-CBC [RFC3602]"
    else:
        return None
    if keys.integrity not in _INTEGRITY:
        return None
    protocol = "IPv6" if ":" in keys.source else "IPv4"
    fields = (
        *(protocol, keys.source, keys.destination, f"0x{keys.spi}"),
        *(encryption, f"0x{keys.key.hex()}"),
        *(_INTEGRITY[keys.integrity][1], f"0x{keys.integrity_key.hex()}" if keys.integrity_key else ""),
    )
    return ",".join(f'"{field}"' for field in fields)
