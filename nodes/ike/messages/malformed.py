"""The one error of the codec, and the notify messages of IKEv1 (RFC 2408, section 3.14.1)."""

from __future__ import annotations

import enum


class NotifyType(enum.IntEnum):
    """The notify messages that we send or act upon; those below 16384 are errors."""

    INVALID_PAYLOAD_TYPE = 1
    DOI_NOT_SUPPORTED = 2
    SITUATION_NOT_SUPPORTED = 3
    INVALID_COOKIE = 4
    INVALID_MAJOR_VERSION = 5
    INVALID_MINOR_VERSION = 6
    INVALID_EXCHANGE_TYPE = 7
    INVALID_FLAGS = 8
    INVALID_MESSAGE_ID = 9
    INVALID_PROTOCOL_ID = 10
    INVALID_SPI = 11
    INVALID_TRANSFORM_ID = 12
    ATTRIBUTES_NOT_SUPPORTED = 13
    NO_PROPOSAL_CHOSEN = 14
    BAD_PROPOSAL_SYNTAX = 15
    PAYLOAD_MALFORMED = 16
    INVALID_KEY_INFORMATION = 17
    INVALID_ID_INFORMATION = 18
    INVALID_HASH_INFORMATION = 23
    AUTHENTICATION_FAILED = 24
    RESPONDER_LIFETIME = 24576
    REPLAY_STATUS = 24577
    INITIAL_CONTACT = 24578
    R_U_THERE = 36136
    R_U_THERE_ACK = 36137


LEAST_STATUS = 16384
"""Notify messages from here on are no errors."""


def notify_name(number: int) -> str:
    """A notify message's name as the RFCs write it, or its number."""
    try:
        return NotifyType(number).name.replace("_", "-")
    except ValueError:
        return f"notify {number}"


class MalformedError(Exception):
    """A message that is no message of IKEv1 as we speak it; ``notify`` is the answer that it deserves."""

    def __init__(self, text: str, notify: NotifyType = NotifyType.PAYLOAD_MALFORMED) -> None:
        super().__init__(text)
        self.notify = notify
