"""The errors of Hopbed, as one tree shared by both sides of the control channel.

::

    HopbedError
    ├── UsageError               what the user wrote is wrong             exit status 2
    │   ├── TopologyError        a compose file, with file and line
    │   └── ParameterError       a scenario's or a method's parameter
    ├── MachineError             this machine lacks something             exit status 3
    ├── NodeError                a node failed                            exit status 4
    │   ├── DaemonError          a daemon in a node died or did not start
    │   ├── NegotiationError     an IKE negotiation did not end as asked
    │   │   └── InactiveError    none was begun: the partner is inactive (method 2)
    │   ├── FlowError            a probe flow could not run
    │   ├── CaptureError         a capture could not run
    │   ├── ControlClosedError   the control channel ended early
    │   └── RemoteError          an error of no known type from a node
    ├── ProtocolError            a control message that breaks the protocol   exit status 4
    └── CleanupError             something was left behind                exit status 5

An error crosses the control channel with its type's name and its text, and is raised
on the other side as the same type (:func:`nodes.control.messages.error_object`).
"""

from __future__ import annotations


class HopbedError(Exception):
    """The root of every error that Hopbed raises on purpose."""

    exit_status = 4


class UsageError(HopbedError):
    """What the user asked for is wrong; nothing was started."""

    exit_status = 2


class TopologyError(UsageError):
    """A compose file that is not a testbed; the text begins with ``file:line:``."""


class ParameterError(UsageError):
    """A parameter that does not exist or is out of its range."""


class MachineError(HopbedError):
    """The machine lacks something that the run needs; the text says how to mend it."""

    exit_status = 3


class NodeError(HopbedError):
    """A node failed while the testbed was coming up or running."""


class DaemonError(NodeError):
    """A daemon inside a node died or did not start."""


class NegotiationError(NodeError):
    """An IKE negotiation did not end as it was asked to."""


class InactiveError(NegotiationError):
    """No negotiation was begun: the sender is inactive towards this partner; the text says until when."""


class FlowError(NodeError):
    """A probe flow could not be started or did not report."""


class CaptureError(NodeError):
    """A capture could not be started or did not report."""


class ControlClosedError(NodeError):
    """The control channel ended before the answer came."""


class RemoteError(NodeError):
    """An error in a node whose type is not part of this tree."""


class ProtocolError(HopbedError):
    """A message on the control channel that is no JSON-RPC 2.0, too large, or ill-typed."""


class CleanupError(HopbedError):
    """Something of a run could not be removed; the text names it."""

    exit_status = 5


def _tree(root: type[HopbedError]) -> dict[str, type[HopbedError]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found


def error_types() -> dict[str, type[HopbedError]]:
    """Every error type of the tree by its name."""
    return _tree(HopbedError)
