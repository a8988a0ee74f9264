"""When a rekey that was asked for is over, and how: read from charon's events."""

import pytest
from recorded_vici import CHILD_SECTION, IKE_SECTION

from nodes.peer.messages import listed_sas
from nodes.peer.model import Rekeyed
from nodes.peer.rekeying import KINDS, Failed, Target


def ike(**changes):
    (sa,) = listed_sas({"tunnel": IKE_SECTION | changes | {"child-sas": {"inner-7": CHILD_SECTION}}})
    return sa


def of_child():
    return Target(ike(), ike().children[0])


def spis(unique_id, spi_in, spi_out):
    return {"unique_id": unique_id, "spi_in": spi_in, "spi_out": spi_out}


def ike_fields(unique_id):
    return {"unique_id": unique_id, "initiator_spi": "aa", "responder_spi": "bb", "name": "tunnel"}


def log(text, ike_id=2):
    return {"ike_id": ike_id, "text": text}


def test_the_new_child_sa_ends_the_rekey_with_the_spis_of_both():
    data = {"old": spis(7, "70a9050d", "14e40cd9"), "new": spis(8, "0a", "0b")}
    assert of_child().read("child-sa.rekeyed", data) == Rekeyed(
        kind="child",
        name="inner",
        old_id=7,
        new_id=8,
        old_spis=("70a9050d", "14e40cd9"),
        new_spis=("0a", "0b"),
    )


def test_the_rekey_of_another_child_sa_is_not_ours():
    assert of_child().read("child-sa.rekeyed", {"old": spis(6, "1", "2"), "new": spis(8, "3", "4")}) is None


def test_a_child_sa_that_goes_unreplaced_ends_the_rekey():
    assert of_child().read("child-sa.deleted", spis(7, "70a9050d", "14e40cd9")) == Failed()
    assert of_child().read("child-sa.deleted", spis(6, "1", "2")) is None


@pytest.mark.parametrize(
    "line", ["CHILD_SA rekeying failed, trying again in 13 seconds", "giving up after 5 retransmits"]
)
def test_charon_giving_up_ends_the_rekey(line):
    assert of_child().read("charon.log", log(line)) == Failed()


def test_other_log_lines_of_its_ike_sa_are_kept_for_the_reason():
    assert of_child().read("charon.log", log("received NO_PROPOSAL_CHOSEN notify")) == (
        "received NO_PROPOSAL_CHOSEN notify"
    )
    assert of_child().read("charon.log", log("giving up after 5 retransmits", ike_id=3)) is None


def test_an_ikev2_sa_is_replaced_by_its_rekey_alone():
    target = Target(ike(), None)
    rekeyed = target.read("ike-sa.rekeyed", {"old": ike_fields(2), "new": ike_fields(3)})
    assert isinstance(rekeyed, Rekeyed)
    assert (rekeyed.kind, rekeyed.old_id, rekeyed.new_id, rekeyed.new_spis) == ("ike", 2, 3, ("aa", "bb"))
    assert target.read("ike-sa.established", ike_fields(3)) is None


def test_an_ikev1_sa_is_replaced_by_another_of_its_name():
    target = Target(ike(version="1"), None)
    assert isinstance(target.read("ike-sa.established", ike_fields(3)), Rekeyed)
    assert target.read("ike-sa.established", ike_fields(3) | {"name": "other"}) is None


def test_an_ike_sa_that_goes_ends_the_rekey():
    assert Target(ike(), None).read("ike-sa.deleted", ike_fields(2)) == Failed()


def test_the_target_reads_every_kind_that_it_asks_for():
    data = {"old": spis(1, "", ""), "new": spis(2, "", ""), "unique_id": 9, "name": "x", "text": ""}
    for kind in KINDS:
        assert of_child().read(kind, data) is None
