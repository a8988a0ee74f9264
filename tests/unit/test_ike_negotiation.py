"""Main mode and Quick Mode between two cores: what comes of them, and what a wire that misbehaves costs."""

import pytest
from ike_wire import FOR_EVER, INFO, LOST, MM, QM, TWICE, Wire, fault, late, replayed

from nodes.ike.ipsec_sa import PairState
from nodes.peer.model import Psk


@pytest.mark.parametrize("proposal", ["aes128-sha256-ecp256", "aes256-sha256-modp2048"])
@pytest.mark.parametrize(
    "esp", ["aes128gcm16", "aes256gcm16", "aes128-sha256", "aes256-sha256", "aes128gcm16-esn"]
)
@pytest.mark.parametrize("pfs", [None, "ecp256", "modp2048"])
def test_both_ends_have_the_same_keys(proposal, esp, pfs):
    wire = Wire(connection={"proposals": (proposal,), "child": {"esp_proposals": (esp,), "pfs": pfs}})
    pair = wire.up()
    far = wire.current(wire.b)
    for mine, theirs in ((pair.inbound, far.outbound), (pair.outbound, far.inbound)):
        assert (mine.spi, mine.encryption_key, mine.salt, mine.integrity_key, mine.esn) == (
            theirs.spi, theirs.encryption_key, theirs.salt, theirs.integrity_key, theirs.esn,
        )  # fmt: skip
    assert pair.inbound.encryption_key != pair.outbound.encryption_key
    assert pair.inbound.encap is None


def test_forced_encapsulation_moves_both_ends_to_port_4500():
    wire = Wire(connection={"a": {"encap": True}})
    pair = wire.up()
    assert pair.inbound.encap == wire.current(wire.b).inbound.encap == (4500, 4500)


def test_early_installs_before_the_second_message_leaves():
    wire = Wire(b={"timing": "early"})
    wire.faults.append(fault(QM, 2, LOST, times=FOR_EVER))
    wire.initiate()
    wire.run(0.1)
    assert [pair.state for pair in wire.b.endpoint.lifecycle.pairs] == [PairState.INSTALLED]
    assert len(wire.b.plane.inbound) == 1
    assert not wire.b.plane.outbound


def test_stock_installs_nothing_before_the_third_message():
    wire = Wire(b={"timing": "stock"})
    wire.faults.append(fault(QM, 3, LOST, times=FOR_EVER))
    wire.initiate()
    wire.run(0.1)
    assert not wire.b.plane.inbound
    assert not wire.b.endpoint.lifecycle.pairs


def test_the_second_message_waits_for_the_installation():
    wire = Wire()
    wire.b.plane.refuse.add("install_inbound")
    outcome = wire.initiate()
    wire.run(0.1)
    assert not [m for m in wire.messages if m[1:4] == ("b", QM, 2)]
    assert outcome == [(None, "the partner says NO-PROPOSAL-CHOSEN")]


CASES = {
    "nothing": (list, 0, 0),
    "QM1 lost": (lambda: [fault(QM, 1, LOST)], 0, 0),
    "QM2 lost": (lambda: [fault(QM, 2, LOST)], 0, 0),
    "QM3 lost": (lambda: [fault(QM, 3, LOST)], 2000, 0),
    "QM3 lost for ever": (lambda: [fault(QM, 3, LOST, times=FOR_EVER)], 4500, 0),
    "QM1 late": (lambda: [fault(QM, 1, late(0.5))], 0, 0),
    "QM2 late": (lambda: [fault(QM, 2, late(0.5))], 0, 0),
    "QM3 late": (lambda: [fault(QM, 3, late(0.5))], 250, 0),
    "QM1 twice": (lambda: [fault(QM, 1, TWICE)], 0, 0),
    "QM2 twice": (lambda: [fault(QM, 2, TWICE)], 0, 0),
    "QM3 twice": (lambda: [fault(QM, 3, TWICE)], 0, 0),
    "QM1 replayed": (lambda: [fault(QM, 1, replayed(2))], 0, 0),
    "QM2 replayed": (lambda: [fault(QM, 2, replayed(2))], 0, 0),
    "QM3 replayed": (lambda: [fault(QM, 3, replayed(2))], 0, 0),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("timing", ["early", "stock"])
def test_a_rekey_under_traffic(case, timing):
    """500 packets a second each way: what is lost by stock timing, and nothing by early timing."""
    faults, by_stock, by_early = CASES[case]
    wire = Wire(b={"timing": timing}, a={"retire_after": 1.0, "third_lead": 0})
    wire.up()
    wire.traffic()
    wire.run(0.5)
    wire.faults += faults()
    outcome = wire.rekey()
    wire.run(10 if case != "QM3 lost for ever" else 9)
    wire.quiet()
    wire.run(0.1)
    assert outcome[0][0] is not None
    lost = wire.a.plane.lost, wire.b.plane.lost
    expected = by_early if timing == "early" else by_stock
    assert lost[0] == pytest.approx(expected, abs=8 if expected else 1 if timing == "stock" else 0)
    assert lost[1] == 0


def test_after_a_rekey_the_old_pair_goes_once_it_is_silent():
    wire = Wire()
    wire.up()
    wire.traffic()
    for _ in range(5):
        wire.rekey()
        wire.run(1)
    wire.run(15)
    for side in wire.sides:
        assert [pair.state for pair in side.endpoint.lifecycle.pairs] == [PairState.EFFECTIVE]
        assert len(side.plane.inbound) == len(side.plane.outbound) == 1
        assert (
            side.reasons("child-sa.deleted").count("rekeyed")
            + side.reasons("child-sa.deleted").count("delete")
            == 5
        )
    assert (wire.a.plane.lost, wire.b.plane.lost) == (0, 0)


def test_a_stock_responder_that_is_slow_costs_nothing_as_the_initiator_gives_it_a_lead():
    wire = Wire(a={"third_lead": 0.02}, b={"timing": "stock"})
    wire.up()
    wire.traffic()
    wire.run(0.5)
    wire.faults.append(fault(QM, 3, late(0.015)))
    wire.rekey()
    wire.run(2)
    assert (wire.a.plane.lost, wire.b.plane.lost) == (0, 0)
    assert wire.b.reasons("child-sa.effective") == ["qm3", "qm3"]


def test_without_the_esp_trigger_early_waits_for_the_third_message():
    wire = Wire(connection={"b": {"esp_trigger": False}})
    wire.up()
    wire.traffic()
    wire.run(0.5)
    wire.faults.append(fault(QM, 3, LOST))
    wire.rekey()
    wire.run(2)
    assert [pair.state.name for pair in wire.b.endpoint.lifecycle.pairs] == ["EFFECTIVE", "INSTALLED"]
    wire.run(8)
    assert wire.b.reasons("child-sa.effective") == ["qm3", "qm3"]
    assert (wire.a.plane.lost, wire.b.plane.lost) == (0, 0)


def test_esp_makes_the_pair_effective_when_the_third_message_is_lost():
    wire = Wire()
    wire.up()
    wire.traffic()
    wire.run(0.5)
    wire.faults.append(fault(QM, 3, LOST, times=FOR_EVER))
    wire.rekey()
    wire.run(60)
    assert wire.b.reasons("child-sa.effective") == ["qm3", "esp"]
    assert not wire.b.kinds("negotiation.failed")
    assert (wire.a.plane.lost, wire.b.plane.lost) == (0, 0)


def test_a_new_sa_that_nothing_confirms_is_removed_and_the_old_one_serves_on():
    wire = Wire(connection={"b": {"confirm_timeout": 5}})
    wire.up()
    wire.traffic()
    wire.run(0.5)
    wire.faults.append(fault(QM, 2, LOST, times=FOR_EVER))
    wire.rekey()
    wire.run(5.2)
    assert wire.b.reasons("child-sa.deleted") == ["not-confirmed"]
    assert [pair.state.name for pair in wire.b.endpoint.lifecycle.pairs] == ["EFFECTIVE"]
    wire.run(30)
    assert (wire.a.plane.lost, wire.b.plane.lost) == (0, 0)
    assert len(wire.b.plane.inbound) == 1


def test_a_pair_that_the_responder_gives_up_is_replaced_by_the_one_before_at_the_initiator():
    wire = Wire(connection={"b": {"confirm_timeout": 5, "esp_trigger": False}})
    wire.up()
    wire.traffic()
    wire.run(0.5)
    wire.faults.append(fault(QM, 3, LOST, times=FOR_EVER))
    wire.rekey()
    wire.run(10)
    assert wire.a.reasons("child-sa.effective") == ["qm2", "qm2", "restored"]
    assert wire.b.plane.lost == 0
    assert wire.a.plane.lost <= 2  # those under way when the DELETE came


def test_both_ends_rekey_at_once():
    wire = Wire(connection={"a": {"child": {"rekey_time": 30}}, "b": {"child": {"rekey_time": 30}}})
    wire.up()
    wire.traffic(interval=0.01)
    wire.faults.append(lambda side, exchange, *_: [0.2] if exchange == QM else None)
    for _ in range(3):
        outcomes = [wire.rekey(wire.a), wire.rekey(wire.b)]
        wire.run(20)
        assert all(outcome[0][0] is not None for outcome in outcomes)
    wire.run(20)
    assert (wire.a.plane.lost, wire.b.plane.lost) == (0, 0)
    for side in wire.sides:
        assert len(side.endpoint.lifecycle.pairs) <= 4


def test_a_soft_lifetime_rekeys_and_loses_nothing():
    wire = Wire(connection={"a": {"child": {"rekey_time": 10}}, "b": {"child": {"rekey_time": 10}}})
    wire.up()
    wire.traffic(interval=0.01)
    wire.run(100)
    assert (wire.a.plane.lost, wire.b.plane.lost) == (0, 0)
    assert len(wire.a.kinds("child-sa.rekeyed")) >= 8
    for side in wire.sides:
        assert len(side.endpoint.lifecycle.pairs) <= 4


def test_a_hard_lifetime_with_no_new_sa_ends_the_traffic():
    wire = Wire(connection={"child": {"rekey_time": 0, "life_time": 20}})
    wire.up()
    wire.traffic(interval=0.01)
    wire.run(21)
    for side in wire.sides:
        assert side.reasons("child-sa.deleted") in (["hard-lifetime"], ["delete"])
        assert not side.endpoint.lifecycle.pairs
        assert not side.plane.inbound
        assert not side.plane.outbound
    assert wire.a.plane.lost > 0


def test_a_delete_that_is_lost_leaves_the_partner_to_its_own_lifetime():
    wire = Wire(connection={"child": {"rekey_time": 0, "life_time": 60}})
    pair = wire.up()
    wire.faults.append(fault(INFO, 1, LOST, times=FOR_EVER))
    wire.a.endpoint.terminate_pair(pair, wire.now)
    wire.drain(wire.a)
    wire.run(1)
    assert not wire.a.endpoint.lifecycle.pairs
    assert len(wire.b.endpoint.lifecycle.pairs) == 1
    wire.run(60)
    assert wire.b.reasons("child-sa.deleted") == ["hard-lifetime"]


def test_a_main_mode_beneath_running_sas_leaves_them_alone():
    wire = Wire(connection={"a": {"rekey_time": 30}})
    wire.up()
    wire.traffic(interval=0.01)
    wire.run(110)
    assert (wire.a.plane.lost, wire.b.plane.lost) == (0, 0)
    assert len(wire.a.kinds("ike-sa.established")) == 4
    for side in wire.sides:
        assert len(side.endpoint.phase1.sas) == 2 or len(side.endpoint.phase1.sas) == 1
        assert not side.kinds("child-sa.deleted")
    outcome = wire.rekey()
    wire.run(1)
    assert outcome[0][0] is not None


@pytest.mark.parametrize("number", range(1, 7))
@pytest.mark.parametrize(
    "delays", [LOST, late(0.5), TWICE, replayed(3)], ids=["lost", "late", "twice", "replayed"]
)
def test_a_main_mode_survives(number, delays):
    wire = Wire()
    wire.faults.append(fault(MM, number, delays))
    outcome = wire.initiate()
    wire.run(10)
    assert outcome[0][0] is not None
    assert len(wire.b.endpoint.phase1.sas) == 1
    assert len(wire.b.kinds("ike-sa.established")) == 1


def test_an_initiator_that_restarts_is_an_initial_contact():
    wire = Wire()
    wire.up()
    fresh = Wire()
    wire.a, fresh.a = fresh.a, wire.a
    wire.sides = (wire.a, wire.b)
    outcome = wire.initiate()
    wire.run(1)
    assert outcome[0][0] is not None
    assert wire.b.reasons("child-sa.deleted") == ["initial-contact"]
    assert wire.b.reasons("ike-sa.deleted") == ["initial-contact"]
    assert len(wire.b.endpoint.phase1.sas) == len(wire.b.endpoint.lifecycle.pairs) == 1
    assert len(wire.b.plane.inbound) == len(wire.b.plane.outbound) == 1


def test_a_dead_partner_is_found_and_its_sas_go():
    wire = Wire(connection={"dpd_delay": 5, "dpd_timeout": 20})
    wire.up()
    wire.run(60)
    assert not wire.a.kinds("ike-sa.deleted")
    wire.b.deaf = True
    wire.run(60)
    assert wire.a.reasons("ike-sa.deleted") == ["dpd"]
    assert wire.a.reasons("child-sa.deleted") == ["dpd"]
    assert not wire.a.plane.inbound


def test_traffic_is_as_good_as_an_answer_to_dpd():
    wire = Wire(connection={"dpd_delay": 5})
    wire.up()
    wire.traffic(interval=0.05)
    before = len(wire.messages)
    wire.run(60)
    assert len(wire.messages) == before


def test_different_secrets_fail_and_both_say_so():
    wire = Wire(a={"retransmit_timeout": 0.1, "retransmit_tries": 2})
    wire.load(a={"auth": Psk(secret="other")})
    outcome = wire.initiate()
    wire.run(60)
    assert outcome[0][0] is None
    (told,) = wire.b.kinds("negotiation.failed")
    assert "are the secrets the same?" in told.data["reason"]
    assert not wire.b.endpoint.phase1.sas


def test_no_common_proposal_is_told_at_once():
    wire = Wire(
        connection={
            "a": {"proposals": ("aes256-sha256-modp2048",)},
            "b": {"proposals": ("aes128-sha256-ecp256",)},
        }
    )
    outcome = wire.initiate()
    wire.run(1)
    assert outcome == [(None, "the partner says NO-PROPOSAL-CHOSEN")]


def test_no_common_esp_proposal_is_told_at_once():
    wire = Wire(connection={"a": {"child": {"pfs": "ecp256"}}})
    outcome = wire.initiate()
    wire.run(1)
    assert outcome == [(None, "the partner says NO-PROPOSAL-CHOSEN")]
    assert wire.b.kinds("negotiation.failed")[0].data["exchange"] == "quick-mode"


def test_a_partner_that_does_not_answer_is_given_up_after_the_tries():
    wire = Wire(
        a={"retransmit_timeout": 1, "retransmit_base": 1, "retransmit_tries": 2},
        connection={"keyingtries": 2},
    )
    wire.b.deaf = True
    outcome = wire.initiate()
    wire.run(5.5)
    assert outcome == []
    wire.run(1)
    assert outcome == [(None, "the partner did not answer")]
    assert len([m for m in wire.messages if m[2] == MM]) == 6


def test_many_rekeys_whose_third_message_is_always_lost_leave_nothing_behind():
    wire = Wire(a={"retire_after": 0.2}, b={"retire_after": 0.2})
    wire.up()
    wire.traffic(interval=0.005)
    wire.faults.append(fault(QM, 3, LOST, times=FOR_EVER))
    for _ in range(100):
        outcome = wire.rekey()
        wire.run(0.1)
        assert outcome[0][0] is not None
    wire.run(5)
    for side in wire.sides:
        assert len(side.endpoint.lifecycle.pairs) == len(side.plane.inbound) == len(side.plane.outbound) == 1
        assert len(side.endpoint.context.timers) <= 256
    assert (wire.a.plane.lost, wire.b.plane.lost) == (0, 0)


def test_pairs_that_were_replaced_without_traffic_go_once_there_is_some():
    wire = Wire()
    wire.up()
    for _ in range(5):
        wire.rekey()
        wire.run(0.1)
    wire.run(30)
    assert len(wire.a.endpoint.lifecycle.pairs) == 6  # nothing shows that the partner sends under the new one
    wire.traffic(interval=0.05)
    wire.run(30)
    for side in wire.sides:
        assert len(side.endpoint.lifecycle.pairs) == len(side.plane.inbound) == len(side.plane.outbound) == 1


def test_a_connection_that_is_loaded_again_holds_for_the_next_negotiation():
    wire = Wire()
    wire.up()
    wire.load(child={"esp_proposals": ("aes256-sha256",), "pfs": "modp2048"})
    outcome = wire.rekey()
    wire.run(1)
    assert (outcome[0][0].suite.encryption, outcome[0][0].suite.key_bits) == ("aes-cbc", 256)


def test_farewell_tells_the_partner():
    wire = Wire()
    wire.up()
    wire.a.endpoint.farewell(wire.now)
    wire.drain(wire.a)
    wire.run(0.1)
    assert not wire.b.endpoint.phase1.sas
    assert not wire.b.plane.inbound
    assert not wire.b.plane.outbound


def test_dpd_is_asked_and_answered_without_a_rejection():
    wire = Wire(connection={"dpd_delay": 5})
    wire.up()
    wire.run(60)
    asked = [m for m in wire.messages if m[2] == INFO]
    assert len(asked) >= 20
    assert not wire.a.endpoint.rejections.counts
    assert not wire.b.endpoint.rejections.counts
