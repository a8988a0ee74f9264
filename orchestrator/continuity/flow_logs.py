"""Reads the logs of :mod:`nodes.traffic.flow_log` as arrays."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nodes import errors
from nodes.traffic.flow_log import HEADER, MAGIC, RECEIVED, SENT, VERSION, LogKind

Integers = npt.NDArray[np.int64]

_SENT = np.dtype([("sequence", "<i8"), ("sent_ns", "<i8"), ("call_us", "<u4"), ("errno", "<u4")])
_RECEIVED = np.dtype([("sequence", "<i8"), ("received_ns", "<i8"), ("sent_ns", "<i8")])
assert _SENT.itemsize == SENT.size
assert _RECEIVED.itemsize == RECEIVED.size


@dataclasses.dataclass(frozen=True, kw_only=True)
class SentLog:
    """What a sender did, one element a probe, in the order of sending.

    Attributes:
        flow_id: the flow's id, 64 bits.
        interval_ns: the nominal time between two probes.
        sequence: the probe's number.
        sent_ns: when the sender handed it over, CLOCK_MONOTONIC.
        returned_ns: when the call that did so was over.
        errno: 0, or why the probe could not be handed over.
    """

    flow_id: int
    interval_ns: int
    sequence: Integers
    sent_ns: Integers
    returned_ns: Integers
    errno: npt.NDArray[np.uint32]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReceivedLog:
    """What a receiver saw, one element an arrival, in the order in which it was read.

    Attributes:
        flow_id: the flow's id, 64 bits.
        sequence: the probe's number.
        received_ns: the kernel's receive time, CLOCK_MONOTONIC.
        sent_ns: the send time that the probe carries.
    """

    flow_id: int
    sequence: Integers
    received_ns: Integers
    sent_ns: Integers


def read_sent(path: Path) -> SentLog:
    """Read a sender's log; a last record that is cut short is left out.

    Raises:
        FlowError: there is no such log, or it is none.
    """
    flow_id, interval_ns, records = _read(path, LogKind.SENT, _SENT)
    sent_ns = _column(records, "sent_ns")
    return SentLog(
        flow_id=flow_id,
        interval_ns=interval_ns,
        sequence=_column(records, "sequence"),
        sent_ns=sent_ns,
        returned_ns=sent_ns + (records["call_us"].astype(np.int64) + 1) * 1000,  # rounded up
        errno=np.ascontiguousarray(records["errno"], dtype=np.uint32),
    )


def read_received(path: Path) -> ReceivedLog:
    """Read a receiver's log; a last record that is cut short is left out.

    Raises:
        FlowError: there is no such log, or it is none.
    """
    flow_id, _, records = _read(path, LogKind.RECEIVED, _RECEIVED)
    return ReceivedLog(
        flow_id=flow_id,
        sequence=_column(records, "sequence"),
        received_ns=_column(records, "received_ns"),
        sent_ns=_column(records, "sent_ns"),
    )


def _column(records: npt.NDArray[np.void], name: str) -> Integers:
    return np.ascontiguousarray(records[name], dtype=np.int64)


def _read(path: Path, kind: LogKind, record: np.dtype[np.void]) -> tuple[int, int, npt.NDArray[np.void]]:
    try:
        octets = path.read_bytes()
    except OSError as error:
        raise errors.FlowError(f"cannot read the flow's log {path}: {error.strerror}") from None
    if len(octets) < HEADER.size or not octets.startswith(MAGIC):
        raise errors.FlowError(f"{path} is no log of a flow")
    _, version, found, size, flow_id, interval_ns = HEADER.unpack_from(octets)
    if version != VERSION:
        raise errors.FlowError(f"{path} has format {version}; this version of Hopbed reads format {VERSION}")
    if found != kind or size != record.itemsize:
        raise errors.FlowError(f"{path} is no log of probes {kind.name.lower()}")
    count = (len(octets) - HEADER.size) // size
    return flow_id, interval_ns, np.frombuffer(octets, dtype=record, count=count, offset=HEADER.size)
