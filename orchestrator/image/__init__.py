"""The node image ``hopbed-node:RELEASE``: what it is made of, whether it is current, and how it is built.

:func:`require` is for those who run containers of it, :func:`build` for those who make it
(``make image``, ``python -m orchestrator.image``).
"""

from orchestrator.image.build import State, build, require, state
from orchestrator.image.content import CONTENT_LABEL, RELEASES, REPOSITORY, tag
from orchestrator.image.engine import connect

__all__ = ["CONTENT_LABEL", "RELEASES", "REPOSITORY", "State", "build", "connect", "require", "state", "tag"]
