"""The reason of a failed negotiation, picked from log lines recorded from strongSwan 5.9.8."""

from nodes.peer.negotiation import failure, reason

PSK_MISMATCH_V2 = [
    "initiating IKE_SA tunnel[1] to fd00::2",
    "generating IKE_AUTH request 1 [ IDi N(INIT_CONTACT) IDr AUTH SA TSi TSr N(EAP_ONLY) ]",
    "sending packet: from fd00::1[4500] to fd00::2[4500] (256 bytes)",
    "parsed IKE_AUTH response 1 [ N(AUTH_FAILED) ]",
    "received AUTHENTICATION_FAILED notify error",
]
MALFORMED = [
    "invalid HASH_V1 payload length, decryption failed?",
    "could not decrypt payloads",
    "message parsing failed",
    "ignore malformed INFORMATIONAL request",
    "INFORMATIONAL_V1 request with message ID 63516973 processing failed",
]
PSK_MISMATCH_V1 = [
    *MALFORMED,
    "sending retransmit 1 of request message ID 0, seq 3",
    *MALFORMED,
    "sending retransmit 2 of request message ID 0, seq 3",
]
TS_MISMATCH = [
    "received TS_UNACCEPTABLE notify, no CHILD_SA built",
    "failed to establish CHILD_SA, keeping IKE_SA",
]


def test_the_notify_is_the_reason_and_the_talk_around_it_is_not():
    assert reason(PSK_MISMATCH_V2) == "received AUTHENTICATION_FAILED notify error"
    assert reason(TS_MISMATCH) == "received TS_UNACCEPTABLE notify, no CHILD_SA built"


def test_lines_that_differ_in_numbers_are_told_once_by_the_last():
    assert reason(PSK_MISMATCH_V1) == (
        "invalid HASH_V1 payload length, decryption failed?; could not decrypt payloads; "
        "sending retransmit 2 of request message ID 0, seq 3"
    )


def test_a_failure_without_a_reason_is_told_as_it_is():
    assert failure("not established after 2000ms", ["initiating IKE_SA"]) == "not established after 2000ms"
    assert failure("it failed", PSK_MISMATCH_V2).startswith("it failed: received AUTHENTICATION_FAILED")
