"""One thing that the testbed can need, and whether it is there."""

from __future__ import annotations

import enum

import msgspec

from nodes import errors


class Need(enum.StrEnum):
    """Who needs it."""

    NAMESPACES = "namespaces"
    DOCKER = "docker"
    PEERS = "peers in namespaces"
    OPTIONAL = "optional"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What was found.

    Attributes:
        name: what was looked for.
        purpose: what it is for.
        need: who cannot do without it.
        present: whether it works.
        detail: what was seen, such as a version or an error.
        lost: what is lost without it.
        mend: the command, or the words, that mend it.
        fix: the commands, as words, that ``--fix`` runs after asking; none where no command does it alone.
    """

    name: str
    purpose: str
    need: Need
    present: bool
    detail: str
    lost: str
    mend: str
    fix: tuple[tuple[str, ...], ...] = ()

    def require(self) -> None:
        """Raise what is missing.

        Raises:
            MachineError: it is not present.
        """
        if not self.present:
            raise errors.MachineError(
                f"{self.name}: {self.detail}. It is needed for {self.purpose}. To mend it: {self.mend}"
            )
