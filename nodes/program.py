"""The contract between a program that runs inside a node and whoever started it.

A program says what happens as events, one JSON document a line, on its standard output. Its first event
is ``ready``, or ``failed`` with the error's type and text. Whoever started it ends it by closing its
standard input; it then says ``done`` with its results and ends. The agent of a node says ``ready`` and
``failed`` the same way, but goes on without a standard input, as a container's process does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

import msgspec

from nodes import errors
from nodes.control.messages import ErrorObject, error_from, error_object
from nodes.events import Event, event

READY = "ready"
FAILED = "failed"
DONE = "done"


def say(said: Event) -> None:
    """Write one event as a line; a reader that went away is no error."""
    with contextlib.suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), msgspec.json.encode(said) + b"\n")


def failed_event(error: BaseException, *, node: str = "") -> Event:
    """The event that tells of an error that ended a program."""
    object_ = error_object(error)
    return event(FAILED, node=node, type=object_.data, text=object_.message)


def error_of(failed: Event) -> errors.HopbedError:
    """The error that a ``failed`` event tells of, as the type it was raised as."""
    return error_from(ErrorObject(code=0, message=str(failed.data["text"]), data=failed.data["type"]))


def run(main: Callable[[], None]) -> NoReturn:
    """Run a program's ``main`` under the contract; an error becomes ``failed`` and an exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for whoever started us
    try:
        main()
    except errors.HopbedError as error:
        say(failed_event(error))
        sys.exit(error.exit_status)
    except OSError as error:
        say(failed_event(errors.NodeError(str(error))))
        sys.exit(errors.NodeError.exit_status)
    sys.exit(0)
