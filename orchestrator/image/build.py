"""Says whether the node image is there and current, and builds it."""

from __future__ import annotations

import collections
import contextlib
import enum
import fcntl
import io
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
from docker.errors import APIError, DockerException, ImageNotFound

from nodes import errors
from orchestrator.image.base import Say, base_image
from orchestrator.image.content import (
    CONTENT_LABEL,
    DOCKERFILE,
    RELEASES,
    REPOSITORY,
    ROOT,
    build_context,
    content_hash,
    sources,
    tag,
    tag_of_content,
)
from orchestrator.image.wheels import wheels

LAST_LINES = 30
"""Lines of a failed build that its error holds."""
KEPT = 8
"""Node images of a release that stay, the newest; they share all layers but that of the sources."""


class State(enum.StrEnum):
    """How an image stands to the sources that it is built from."""

    ABSENT = "absent"
    STALE = "stale"
    CURRENT = "current"


def state(client: docker.DockerClient, release: str, root: Path = ROOT) -> State:
    """Whether the engine has the node image for ``release``, built from the sources as they are now."""
    for name, found in (
        (tag_of_content(release, content_hash(sources(root))), State.CURRENT),
        (tag(release), State.STALE),
    ):
        with contextlib.suppress(ImageNotFound):
            client.images.get(name)
            return found
    return State.ABSENT


def require(client: docker.DockerClient, name: str, root: Path = ROOT) -> str:
    """The name to run the image ``name`` by, which the engine has; a node image of ours is current.

    Raises:
        MachineError: it has not; the text holds the command that mends it.
    """
    repository, _, release = name.partition(":")
    if repository == REPOSITORY and release in RELEASES:
        found = state(client, release, root)
        why = "is not built" if found is State.ABSENT else "was built from other sources than these"
        if found is not State.CURRENT:
            raise errors.MachineError(f"the node image {name} {why}: run `make image RELEASE={release}`")
        return tag_of_content(release, content_hash(sources(root)))
    try:
        client.images.get(name)
    except ImageNotFound:
        raise errors.MachineError(f"the engine has no image {name}: pull or build it first") from None
    return name


def build(
    client: docker.DockerClient, release: str, say: Say, *, fresh: bool = False, root: Path = ROOT
) -> str:
    """Build the node image for ``release`` unless it is current; returns its name.

    ``fresh`` builds in any case, from a base and packages as Debian serves them now; ``say`` hears each step.

    Raises:
        ParameterError: the image cannot be made of this release.
        MachineError: the machine lacks something; the text says what and how to mend it.
    """
    name = tag(release)
    if fresh or state(client, release, root) is not State.CURRENT:
        with _turn(say):
            # the turn before may have built it
            if fresh or state(client, release, root) is not State.CURRENT:
                _build(client, release, say, fresh=fresh, root=root)
                say(f"{name} is built")
                return name
    say(f"{name} is current")
    return name


def _build(client: docker.DockerClient, release: str, say: Say, *, fresh: bool, root: Path) -> None:
    name = tag(release)
    base = base_image(client, release, say, fresh=fresh)
    content = sources(root)
    of_content = tag_of_content(release, content_hash(content))
    say(f"building {name} from {base}")
    needed = wheels(release, client.version()["Arch"], root)
    stream = client.api.build(
        fileobj=io.BytesIO(build_context([*content, *needed])),
        custom_context=True,
        dockerfile=DOCKERFILE,
        tag=of_content,
        buildargs={"BASE": base, "RELEASE": release},
        labels={CONTENT_LABEL: content_hash(content)},
        nocache=fresh,
        rm=True,
        forcerm=True,
        decode=True,
    )
    _follow(stream, name, say)
    client.images.get(of_content).tag(REPOSITORY, release)
    _remove_superseded(client, release)


@contextmanager
def _turn(say: Say) -> Iterator[None]:
    """Builds of this machine's users take turns: what one removes another may be building upon."""
    common = os.open(tempfile.gettempdir(), os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(common, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another build of this machine to end")
            fcntl.flock(common, fcntl.LOCK_EX)
        yield
    finally:
        os.close(common)


def _follow(stream: Iterable[dict[str, str]], name: str, say: Say) -> None:
    last: collections.deque[str] = collections.deque(maxlen=LAST_LINES)
    try:
        for said in stream:
            if "error" in said:
                raise errors.MachineError(f"building {name} failed: {said['error']}\n{''.join(last)}")
            line = said.get("stream", "")
            last.append(line)
            if line.startswith("Step "):
                say(line.strip())
    except (DockerException, OSError) as error:
        raise errors.MachineError(f"building {name} failed: {error}") from error


def _remove_superseded(client: docker.DockerClient, release: str) -> None:
    """Remove all but the newest node images: checkouts beside each other each have their own."""
    images = [
        image
        for image in client.images.list(name=REPOSITORY, filters={"label": CONTENT_LABEL})
        if any(name.startswith(tag(release)) for name in image.tags)
    ]
    images.sort(key=lambda image: str(image.attrs["Created"]), reverse=True)
    dangling = client.images.list(filters={"dangling": True, "label": CONTENT_LABEL})
    names = [name for image in images[KEPT:] for name in image.tags]
    for name in [*names, *(str(image.id) for image in dangling)]:
        with contextlib.suppress(APIError):  # a container still runs it: the next build removes it
            client.images.remove(name)
