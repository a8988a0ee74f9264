"""Packs an evidence folder into one file, with this machine's examination and without secrets."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from nodes.errors import UsageError
from nodes.peer.config import KEY_LOG
from orchestrator.bundle.secrets import without_secrets
from orchestrator.doctor.examine import examine
from orchestrator.evidence.folder import RUN, write_whole
from orchestrator.evidence.read import KEYS

BUNDLE = "failure-bundle.tar.gz"
MACHINE = "machine.json"
README = "README.txt"
LARGEST = 64 * 1024 * 1024
"""Octets of a file that is still packed; of a larger one the bundle says that it is left out."""
_TEXT = {".conf", ".html", ".json", ".jsonl", ".log", ".txt", ".xml", ".yaml"}
"""Where secrets are looked for; captures and flow records hold what was on the wire."""

_ABOUT = """\
A Hopbed run, packed to be attached to a bug report.

  report.html        open this first
  run.json           what was run, with which versions, and the command that runs it again
  verdict.json, timeline.jsonl, junit.xml, captures/, nodes/NODE/*.log
  nodes/NODE/state.txt   a node's addresses, routes, xfrm, nft, sockets, processes and SAs when the run failed
  machine.json       what `hopbed doctor` found on the machine

Left out: keys and secrets, and these files for their size:
"""


async def write_bundle(evidence: Path, out: Path | None = None) -> Path:
    """Pack the evidence folder ``evidence`` into ``out``, by default a file within it.

    Raises:
        UsageError: there is no evidence, or the file cannot be written.
    """
    if not (evidence / RUN).is_file():
        raise UsageError(f"{evidence} is no evidence folder: there is no {RUN} in it; name one of a run")
    examination = msgspec.json.format(msgspec.json.encode(await examine()), indent=2)
    out = out or evidence / BUNDLE
    content = io.BytesIO()
    too_large = []
    with tarfile.open(fileobj=content, mode="w:gz", compresslevel=6) as archive:
        for path in _files(evidence):
            name = str(path.relative_to(evidence))
            if path.stat().st_size > LARGEST:
                too_large.append(f"  {name}: {path.stat().st_size:,} octets\n")
                continue
            data = path.read_bytes()
            if path.suffix in _TEXT:
                data = without_secrets(data.decode(errors="replace")).encode()
            _add(archive, evidence.name, name, data)
        _add(archive, evidence.name, MACHINE, examination)
        about = _ABOUT + ("".join(too_large) or "  none\n")
        _add(archive, evidence.name, README, about.encode())
    try:
        write_whole(out, content.getvalue())
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}") from None
    return out


def _files(evidence: Path) -> Iterator[Path]:
    """What goes in: regular files, but keys, other bundles, and files that were being written."""
    for path in sorted(evidence.rglob("*")):
        inside = path.relative_to(evidence)
        hidden = any(part.startswith(".") for part in inside.parts)
        secret = inside.parts[0] == KEYS or path.name == KEY_LOG
        if path.is_file() and not path.is_symlink() and not hidden and not secret and path.name != BUNDLE:
            yield path


def _add(archive: tarfile.TarFile, folder: str, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(f"{folder}/{name}")
    info.size = len(data)
    info.mtime = int(time.time())
    archive.addfile(info, io.BytesIO(data))
