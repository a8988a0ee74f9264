"""What the node image is made of: its sources, a hash of them, and the build context that holds just them."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from nodes import errors

REPOSITORY = "hopbed-node"
CONTENT_LABEL = "io.hopbed.image-content"
"""The image's label with the :func:`content_hash` of what it was built from."""

RELEASES = {"bookworm": "3.11", "trixie": "3.13"}
"""The Debian releases that the image can be made of, each with the version of its Python."""

ROOT = Path(__file__).resolve().parents[2]
"""The checkout that this file is part of; the image is built from it."""

DOCKERFILE = "images/Dockerfile"
LOCK = "images/requirements.lock"
_FILES = (DOCKERFILE, LOCK, "images/hopbed-node", "images/install-packages.sh")
_FOLDER = "nodes"
_SHORT_HASH = 12


@dataclasses.dataclass(frozen=True)
class Source:
    """A file that goes into the image; ``path`` is relative to the checkout."""

    path: str
    content: bytes
    executable: bool = False


def tag(release: str) -> str:
    """The image's name for a Debian release.

    Raises:
        ParameterError: the image cannot be made of this release.
    """
    if release not in RELEASES:
        raise errors.ParameterError(f"no node image for Debian {release!r}; there are {', '.join(RELEASES)}")
    return f"{REPOSITORY}:{release}"


def tag_of_content(release: str, content: str) -> str:
    """The image's name for a Debian release and the :func:`content_hash` of what it is built from.

    What runs is named so: the name without a hash follows whichever checkout of the machine built last.

    Raises:
        ParameterError: the image cannot be made of this release.
    """
    return f"{tag(release)}-{content[:_SHORT_HASH]}"


def sources(root: Path = ROOT) -> list[Source]:
    """The image's sources in the checkout at ``root``.

    Raises:
        MachineError: they are not there, as in an installation without a checkout.
    """
    try:
        return [_read(root, path) for path in (*_FILES, *_node_files(root))]
    except OSError as error:
        raise errors.MachineError(
            f"the node image is built from a checkout of Hopbed, and {root} is none ({error})"
        ) from error


def _node_files(root: Path) -> Iterator[str]:
    for path in sorted((root / _FOLDER).rglob("*")):
        relative = path.relative_to(root)
        cached = "__pycache__" in relative.parts or path.suffix == ".pyc"
        scratch = path.name.startswith(".") or path.name.endswith("~")  # what editors leave
        if path.is_file() and not cached and not scratch:
            yield relative.as_posix()


def _read(root: Path, path: str) -> Source:
    file = root / path
    return Source(path, file.read_bytes(), executable=bool(file.stat().st_mode & 0o100))


def content_hash(of: Iterable[Source]) -> str:
    """SHA-256, in hexadecimal, of the sources: their paths, contents and executable bits, in any order."""
    digest = hashlib.sha256()
    for source in sorted(of, key=lambda source: source.path):
        head = f"{source.path}\0{int(source.executable)}\0{len(source.content)}\0"
        digest.update(head.encode() + source.content)
    return digest.hexdigest()


def build_context(of: Iterable[Source]) -> bytes:
    """The sources as a tar archive for the engine; the same sources give the same octets."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for source in sorted(of, key=lambda source: source.path):
            entry = tarfile.TarInfo(source.path)
            entry.size = len(source.content)
            entry.mode = 0o755 if source.executable else 0o644
            archive.addfile(entry, io.BytesIO(source.content))
    return buffer.getvalue()
