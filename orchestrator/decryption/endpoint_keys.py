"""The keys that an IKEv1 endpoint of ours has written down (:mod:`nodes.ike.key_log`). Text in, keys out."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from nodes.ike.key_log import LoggedKeys
from orchestrator.decryption.charon_keys import EspKeys, IkeKeys


def read_endpoint_keys(log: str) -> Iterator[IkeKeys | EspKeys]:
    """The keys that a log holds, in its order; a last line that is cut short is passed over."""
    for line in log.splitlines():
        try:
            yield _keys(msgspec.json.decode(line, type=LoggedKeys))
        except (msgspec.DecodeError, ValueError):
            continue


def _keys(logged: LoggedKeys) -> IkeKeys | EspKeys:
    if logged.kind == "isakmp":
        return IkeKeys(
            version=1,
            initiator_spi=bytes.fromhex(logged.spi),
            responder_spi=bytes.fromhex(logged.responder_spi),
            encryption=logged.encryption,
            integrity=logged.integrity,
            initiator_key=bytes.fromhex(logged.key),
        )
    return EspKeys(
        spi=logged.spi,
        source=logged.source,
        destination=logged.destination,
        encryption=logged.encryption,
        integrity=logged.integrity,
        key=bytes.fromhex(logged.key),
        integrity_key=bytes.fromhex(logged.integrity_key),
    )
