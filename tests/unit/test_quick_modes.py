"""The Quick Modes of a capture, by whose message is whose."""

from orchestrator.report.ike_payloads import Chain
from orchestrator.report.ladder import IkeMessage
from orchestrator.report.quick_modes import quick_modes

MS = 1_000_000
A, B = "peer-a", "peer-b"


def message(packet, source, *, key=1, number=1, repeats=None, exchange="Quick Mode", version=1):
    return IkeMessage(
        packet=packet,
        time_ns=packet * MS,
        source=source,
        destination=B if source == A else A,
        source_port=500,
        destination_port=500,
        version=version,
        exchange=exchange,
        number=number,
        initiator_spi="0" * 16,
        responder_spi="0" * 16,
        message_id=key,
        octets=100,
        content=Chain(payloads=("encrypted",), notifies=(), problem=""),
        repeats=repeats,
        repeats_after_ns=0,
        key=(key,),
    )


def test_the_three_messages_of_a_quick_mode_are_told_by_their_senders():
    (found,) = quick_modes([message(1, A), message(2, B), message(3, A)], A)
    assert (found.first.packet, found.second.packet, found.third.packet) == (1, 2, 3)
    assert found.third_after_ms == 1.0


def test_a_third_message_that_was_lost_shows_by_its_retransmission():
    seen = [message(1, A), message(2, B), message(4000, B, repeats=2), message(4001, A)]
    (found,) = quick_modes(seen, A)
    assert found.second.packet == 2
    assert found.third_after_ms == 3999.0


def test_a_third_message_that_never_came_by_is_none():
    (found,) = quick_modes([message(1, A), message(2, B), message(3, B, repeats=2)], A)
    assert found.third is None
    assert found.third_after_ms is None


def test_a_first_message_that_is_sent_again_is_no_third():
    (found,) = quick_modes([message(1, A), message(2, A, repeats=1), message(3, B)], A)
    assert found.third is None


def test_exchanges_are_told_apart_and_those_of_the_other_side_are_left_out():
    seen = [
        message(1, A, key=1),
        message(2, B, key=2),
        message(3, B, key=1),
        message(4, A, key=2),
        message(5, A, key=3, exchange="Informational"),
        message(6, A, key=1),
    ]
    assert [one.message_id for one in quick_modes(seen, A)] == [1]
    assert [one.message_id for one in quick_modes(seen, B)] == [2]
