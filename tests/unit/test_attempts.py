"""How often a sender began to negotiate, told from the headers of what it sent."""

import ipaddress

from orchestrator.capture.attempts import attempts, spacings
from orchestrator.capture.ike_messages import IkeMessage

SENDER, RECEIVER = ipaddress.IPv6Address("fd00::a"), ipaddress.IPv6Address("fd00::b")
MAIN, QUICK, INFORMATIONAL, SA_INIT, IKE_AUTH, CREATE_CHILD = 2, 32, 5, 34, 35, 36
RESPONSE = 0x20


class Wire:
    """Messages, one a second."""

    def __init__(self):
        self.messages = []

    def say(self, source, version, exchange, initiator, responder="", message_id=0, *, response=False):
        self.messages.append(
            IkeMessage(
                number=len(self.messages) + 1,
                time_ns=len(self.messages) * 1_000_000_000,
                source=source,
                destination=RECEIVER if source == SENDER else SENDER,
                octets=100,
                initiator_spi=initiator.encode().ljust(8, b"\0"),
                responder_spi=responder.encode().ljust(8, b"\0"),
                version=version,
                exchange=exchange,
                flags=RESPONSE if response else 0,
                message_id=message_id,
            )
        )
        return self

    def main_mode(self, initiator, responder="r", by=SENDER):
        other = RECEIVER if by == SENDER else SENDER
        self.say(by, 1, MAIN, initiator).say(other, 1, MAIN, initiator, responder)
        for source in (by, other, by, other):
            self.say(source, 1, MAIN, initiator, responder)
        return self

    def found(self, of=SENDER):
        return [one.time_ns // 1_000_000_000 for one in attempts(self.messages, of)]


def test_a_message_that_is_sent_again_is_no_new_attempt():
    wire = Wire().say(SENDER, 1, MAIN, "one").say(SENDER, 1, MAIN, "one").say(SENDER, 1, MAIN, "two")
    assert wire.found() == [0, 2]


def test_a_cookie_of_rfc_7296_does_not_begin_anew():
    wire = Wire().say(SENDER, 2, SA_INIT, "one").say(RECEIVER, 2, SA_INIT, "one", response=True)
    wire.say(SENDER, 2, SA_INIT, "one")
    assert wire.found() == [0]


def test_what_the_partner_begins_is_its_own_attempt():
    wire = Wire().main_mode("theirs", by=RECEIVER).main_mode("ours")
    assert wire.found() == [6]
    assert wire.found(RECEIVER) == [0]


def test_the_first_quick_mode_belongs_to_its_main_mode_and_the_next_is_another_attempt():
    wire = Wire().main_mode("one")
    wire.say(SENDER, 1, QUICK, "one", "r", 11).say(RECEIVER, 1, INFORMATIONAL, "one", "r", 5)
    wire.say(SENDER, 1, QUICK, "one", "r", 12).say(SENDER, 1, QUICK, "one", "r", 12)
    assert wire.found() == [0, 8]


def test_a_quick_mode_in_an_ike_sa_of_the_partner_is_an_attempt():
    wire = Wire().main_mode("one", by=RECEIVER).say(SENDER, 1, QUICK, "one", "r", 11)
    assert wire.found() == [6]


def test_a_quick_mode_of_the_partner_is_none_however_we_answer():
    wire = Wire().main_mode("one").say(RECEIVER, 1, QUICK, "one", "r", 11)
    wire.say(SENDER, 1, QUICK, "one", "r", 11)
    assert wire.found() == [0]


def test_each_create_child_sa_is_an_attempt_for_ike_auth_has_the_first_child():
    wire = Wire().say(SENDER, 2, SA_INIT, "one").say(RECEIVER, 2, SA_INIT, "one", "r", response=True)
    wire.say(SENDER, 2, IKE_AUTH, "one", "r", 1).say(RECEIVER, 2, IKE_AUTH, "one", "r", 1, response=True)
    wire.say(SENDER, 2, CREATE_CHILD, "one", "r", 2)
    wire.say(RECEIVER, 2, CREATE_CHILD, "one", "r", 2, response=True)
    wire.say(SENDER, 2, CREATE_CHILD, "one", "r", 3)
    assert wire.found() == [0, 4, 6]


def test_a_damaged_version_or_exchange_is_an_attempt_all_the_same():
    wire = Wire().say(SENDER, 14, MAIN, "one").say(SENDER, 1, 0xFD, "two").say(SENDER, 1, 0xFD, "two")
    assert wire.found() == [0, 1]


def test_spacings_are_from_each_attempt_to_the_next():
    wire = Wire().say(SENDER, 1, MAIN, "one").say(SENDER, 1, MAIN, "one").say(SENDER, 1, MAIN, "two")
    assert spacings(attempts(wire.messages, SENDER)) == [2.0]
    assert spacings([]) == []
