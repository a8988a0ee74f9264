"""What passes between the ESP program and the agent comes out as it went in."""

import json
import subprocess
import sys

import msgspec
import pytest
from esp_packets import OUR_INNER, OUR_TS, OURS, THEIR_INNER, THEIR_TS, THEIRS, esp_sa
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.esp.orders import (
    Answer,
    InstallInbound,
    InstallOutbound,
    InstallPolicy,
    Ordered,
    Remove,
    RemovePolicy,
    TellUsage,
    Told,
    Totals,
    UsageOfSa,
    decoded_message,
    decoded_order,
    encoded,
    ike_packet,
    ike_parts,
)
from nodes.esp.sa import FirstPacket, LimitReached, Limits, NoSa, Policy, Usage

POLICY = Policy(reqid=1, local=OURS, remote=THEIRS, local_ts=OUR_TS, remote_ts=THEIR_TS)
SA = esp_sa(0x1000, encryption="aes-cbc", encap=(4500, 4501), esn=True, limits=Limits(soft_packets=3))
TOTALS = Totals(unprotected=1, unknown_spi=2, lost=3, unsent=4, undelivered=5)


@pytest.mark.parametrize(
    "order",
    [
        InstallPolicy(POLICY),
        RemovePolicy(1),
        InstallInbound(SA),
        InstallOutbound(SA),
        Remove("in", 0x1000),
        TellUsage(),
    ],
)
def test_an_order_arrives_as_it_was_given(order):
    assert decoded_order(encoded(Ordered(7, order))) == Ordered(7, order)


@pytest.mark.parametrize(
    "message",
    [
        Answer(7),
        Answer(7, refusal="no"),
        Answer(7, usage=(UsageOfSa("out", 0x1000, Usage(packets=3)),), totals=TOTALS),
        Told.of(FirstPacket(0x1000, 5)),
        Told.of(LimitReached(0x1000, "in", "octets", "hard", 5)),
        Told.of(NoSa(1, OUR_INNER, THEIR_INNER, 5)),
    ],
)
def test_an_answer_or_an_event_arrives_as_it_was_said(message):
    assert decoded_message(encoded(message)) == message


def test_an_event_comes_out_of_its_message():
    event = NoSa(1, OUR_INNER, THEIR_INNER, 5)
    assert decoded_message(encoded(Told.of(event))).event == event


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_what_is_no_order_is_refused(octets):
    for decode in (decoded_order, decoded_message):
        try:
            decode(octets)
        except (msgspec.DecodeError, ValueError):
            continue


def test_an_sa_that_cannot_be_is_no_order():
    packed = encoded(Ordered(1, InstallInbound(SA)))
    with pytest.raises(msgspec.ValidationError, match="an SPI is between"):
        decoded_order(packed.replace(b"\xa3spi\xcd\x10\x00", b"\xa3spi\xcd\x00\x07"))


def test_an_ike_message_keeps_its_addresses():
    packet = ike_packet(OURS.packed, THEIRS.packed, 4500, b"message")
    assert ike_parts(packet) == (OURS.packed, THEIRS.packed, 4500, b"message")
    with pytest.raises(ValueError, match="shorter than its header"):
        ike_parts(packet[:33])


@pytest.mark.parametrize(
    "start", [[], ["{}"], ["nonsense"], ['{"orders":3,"ike":4,"device":"../x","mtu":1400}']]
)
def test_the_program_refuses_what_is_no_start(start):
    done = subprocess.run(
        [sys.executable, "-m", "nodes.esp", *start],
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    said = json.loads(done.stdout)
    assert (said["kind"], said["data"]["type"], done.returncode) == ("failed", "ParameterError", 2)
    assert said["data"]["text"].startswith("esp: not a start: ")
