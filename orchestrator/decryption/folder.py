"""Puts the tables into an evidence folder."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from nodes.events import Event
from nodes.ike.key_log import KEY_LOG as ENDPOINT_KEY_LOG
from nodes.peer.config import KEY_LOG
from orchestrator.decryption.charon_keys import EspKeys, IkeKeys, read_keys
from orchestrator.decryption.endpoint_keys import read_endpoint_keys
from orchestrator.decryption.wireshark import tables
from orchestrator.evidence.folder import CAPTURES, NODES
from orchestrator.evidence.read import KEYS


def write_keys(evidence: Path, events: Iterable[Event]) -> bool:
    """Make the folder ``keys`` from the key logs of the tunnels' ends; False where none wrote one.

    The logs are removed once that is done: a peer's also holds the secret that the peers share.

    Args:
        evidence: the evidence folder; its nodes are done.
        events: of the run.

    Raises:
        OSError: a log cannot be read, or a table written.
    """
    logs = [
        log for name in (KEY_LOG, ENDPOINT_KEY_LOG) for log in sorted((evidence / NODES).glob(f"*/{name}"))
    ]
    if not logs:
        return False
    told = list(events)
    found = [one for log in logs for one in _keys(log, told)]
    folder = evidence / KEYS
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, content in tables(found).items():
        path = folder / name
        path.touch(mode=0o600)
        path.write_text(content)
    for log in logs:
        log.unlink()
    return True


def decrypting_command(evidence: Path, capture: str = f"{CAPTURES}/bridge.pcapng") -> str:
    """The command that opens a capture of the folder decrypted."""
    folder, file = (shlex.quote(str(evidence / name)) for name in (KEYS, capture))
    return f"WIRESHARK_CONFIG_DIR={folder} wireshark -r {file}"


def _keys(log: Path, events: Iterable[Event]) -> Iterator[IkeKeys | EspKeys]:
    if log.name == ENDPOINT_KEY_LOG:
        return read_endpoint_keys(log.read_text(errors="replace"))
    node = log.parent.name
    rekeyed = [event.data["new"] for event in events if (event.node, event.kind) == (node, "ike-sa.rekeyed")]
    spis = [
        (str(new["unique_id"]), bytes.fromhex(new["initiator_spi"]), bytes.fromhex(new["responder_spi"]))
        for new in rekeyed
    ]
    return read_keys(log.read_text(errors="replace"), spis)
