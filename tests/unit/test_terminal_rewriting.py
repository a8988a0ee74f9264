"""What the data plane's maps hold, and how one content becomes another."""

import random
import struct
from ipaddress import IPv6Address

from nodes.terminal.actions import ICMPV6, TCP, UDP, Endpoint, Flow, Path, Rewriting
from nodes.terminal.nf_tables import Done, Element, Reply, add_elements, batch, delete_elements, read, text
from nodes.terminal.path_mtu import TooBig, packet_too_big
from nodes.terminal.path_mtu import read as read_too_big
from nodes.terminal.rewriting import (
    CLOSED,
    ERROR_IN,
    ERROR_OUT,
    IN,
    IN_PORTED,
    MAPS,
    OUT,
    OUT_LABELLED,
    OUT_PORTED,
    contents,
    difference,
    flow_of,
)
from nodes.terminal.rewriting_rules import table

A, A2, A3, B, B2 = (IPv6Address(f"fd00::{one}") for one in ("a", "a2", "a3", "b", "b2"))
FLOW = Flow(TCP, Endpoint(A, 5000), Endpoint(B, 80))
OWN = Path(FLOW.local, FLOW.remote)
MOVED = Path(Endpoint(A2, 6000), Endpoint(B2, 8080))


def packed(source, source_port, destination, destination_port, *rest):
    ports = struct.pack("!HH", source_port, destination_port)
    return source.packed + destination.packed + ports + bytes(rest).ljust(4, b"\0")


def test_a_flow_is_rewritten_out_and_back_and_so_are_the_errors_about_it():
    found = contents([Rewriting(flow=FLOW, out=MOVED, accepted=(MOVED,))], {})
    ours = packed(A, 5000, B, 80, TCP)
    wire = packed(A2, 6000, B2, 8080)
    assert found[OUT_PORTED] == {ours: wire}
    assert found[IN_PORTED] == {packed(B2, 8080, A2, 6000, TCP): packed(B, 80, A, 5000)}
    assert found[ERROR_IN] == {packed(A2, 6000, B2, 8080, TCP): packed(A, 5000, B, 80)}
    assert found[ERROR_OUT] == {packed(B, 80, A, 5000, TCP): packed(B2, 8080, A2, 6000)}
    assert found[OUT] == found[OUT_LABELLED] == found[IN] == found[CLOSED] == {}


def test_a_flow_that_keeps_its_ports_is_in_the_maps_of_addresses_alone():
    kept = Path(Endpoint(A2, 5000), Endpoint(B2, 80))
    found = contents([Rewriting(flow=FLOW, out=kept, accepted=(kept, MOVED))], {})
    assert found[OUT] == {packed(A, 5000, B, 80, TCP): packed(A2, 5000, B2, 80)}
    assert found[OUT_PORTED] == {}
    assert found[IN] == {packed(B2, 80, A2, 5000, TCP): packed(B, 80, A, 5000)}
    assert found[IN_PORTED] == {packed(B2, 8080, A2, 6000, TCP): packed(B, 80, A, 5000)}


def test_during_a_hop_both_paths_come_in_and_the_own_path_needs_no_element():
    found = contents([Rewriting(flow=FLOW, out=OWN, accepted=(MOVED,))], {})
    assert found[OUT] == found[OUT_PORTED] == found[ERROR_OUT] == {}
    assert list(found[IN_PORTED]) == [packed(B2, 8080, A2, 6000, TCP)]


def test_the_own_path_is_closed_where_it_is_left():
    found = contents([Rewriting(flow=FLOW, out=MOVED, accepted=(MOVED,), dropped=True)], {})
    assert found[CLOSED] == {packed(B, 80, A, 5000, TCP): b""}


def test_a_flow_label_makes_another_map_of_it():
    found = contents([Rewriting(flow=FLOW, out=MOVED, accepted=(MOVED,), flow_label=0xABCDE)], {})
    assert found[OUT] == found[OUT_PORTED] == {}
    assert found[OUT_LABELLED] == {packed(A, 5000, B, 80, TCP): packed(A2, 6000, B2, 8080, 0xBC, 0xDE)}


def test_an_echo_has_its_identifier_in_the_place_of_the_ports_both_ways():
    flow = Flow(ICMPV6, Endpoint(A, 77), Endpoint(B, 77))
    wire = Path(Endpoint(A2, 77), Endpoint(B, 77))
    found = contents([Rewriting(flow=flow, out=wire, accepted=(wire,))], {})
    assert found[OUT] == {packed(A, 77, B, 0, ICMPV6): packed(A2, 77, B, 0)}
    assert found[IN] == {packed(B, 77, A2, 0, ICMPV6): packed(B, 77, A, 0)}
    assert flow_of(packed(A, 77, B, 0, ICMPV6), local_first=True) == flow
    assert flow_of(packed(B, 77, A, 0, ICMPV6), local_first=False) == flow


def test_whatever_source_the_kernel_chooses_the_packets_of_a_loose_flow_are_alike():
    flow = Flow(UDP, FLOW.local, FLOW.remote)
    rewriting = Rewriting(flow=flow, out=MOVED, accepted=(MOVED,))
    found = contents([rewriting], {flow: frozenset({A, A2, A3})})
    wire = packed(A2, 6000, B2, 8080)
    assert found[OUT_PORTED] == {packed(one, 5000, B, 80, UDP): wire for one in (A, A2, A3)}
    still = contents([Rewriting(flow=flow, out=OWN)], {flow: frozenset({A, A2})})
    assert still[OUT] == {packed(A2, 5000, B, 80, UDP): packed(A, 5000, B, 80)}


def test_a_difference_brings_any_content_to_any_other_and_is_empty_between_equals():
    chance = random.Random(4)

    def some():
        return {
            name: {bytes([chance.randrange(6)] * 40): bytes([chance.randrange(3)] * 40) for _ in range(5)}
            for name in MAPS
        }

    for _ in range(50):
        present, wanted = some(), some()
        model = {name: dict(of) for name, of in present.items()}
        for message in difference(present, wanted):
            apply(model, message)
        assert model == wanted
        assert difference(wanted, wanted) == []


def apply(model, message):
    """As the kernel does: a missing key and one that is there with other data are refused."""
    for name in MAPS:
        everything = [Element(bytes([k] * 40), bytes([d] * 40)) for k in range(6) for d in range(3)]
        for one in everything:
            (added,) = add_elements("hopbed_hop", name, [one])
            if message.kind == added.kind and wraps(message, added, name):
                assert model[name].get(one.key, one.data) == one.data
                model[name][one.key] = one.data
        for one in {one.key for one in everything}:
            (deleted,) = delete_elements("hopbed_hop", name, [one])
            if message.kind == deleted.kind and wraps(message, deleted, name):
                del model[name][one]


def wraps(message, single, name):
    """Whether the message is about this set, and has the element that another has alone."""
    head = len(text(1, "hopbed_hop") + text(2, name))
    of_set, element = single.attributes[:head], single.attributes[head + 4 :]
    return message.attributes[:head] == of_set and element in message.attributes[head:]


def test_more_elements_than_a_message_holds_are_in_several():
    keys = [number.to_bytes(40, "big") for number in range(5_000)]
    data = bytes(40)
    none, all_of_them = {OUT: {}}, {OUT: dict.fromkeys(keys, data)}
    for present, wanted in ((none, all_of_them), (all_of_them, none)):
        messages = difference(present, wanted)
        joined = b"".join(one.attributes for one in messages)
        assert all(key in joined for key in keys)
        assert max(len(one.attributes) for one in messages) < 65_536


def test_what_the_kernel_answers_is_read_and_what_is_cut_short_is_an_error_of_ours():
    ack = struct.pack("=IHHIIi", 20, 2, 0, 7, 0, 0)
    refusal = struct.pack("=IHHIIi", 20, 2, 0, 8, 0, -17)
    end = struct.pack("=IHHIIi", 20, 3, 0, 9, 0, 0)
    assert list(read(ack + refusal + end)) == [Reply(7, 0), Reply(8, 17), Done(0)]
    (dumped,) = add_elements("t", "s", [Element(b"k" * 40, b"d" * 40)])
    body = bytes(4) + dumped.attributes
    message = struct.pack("=IHHII", 16 + len(body), 10 << 8 | 12, 0, 1, 0) + body
    assert list(read(message)) == [Element(b"k" * 40, b"d" * 40)]


def test_a_batch_numbers_its_messages_and_stands_between_begin_and_end():
    octets = batch(table(), first=10)
    numbers, kinds, at = [], [], 0
    while at < len(octets):
        length, kind, _, number = struct.unpack_from("=IHHI", octets, at)
        numbers.append(number)
        kinds.append(kind)
        at += (length + 3) & ~3
    assert numbers == list(range(10, 12 + len(table())))
    assert (kinds[0], kinds[-1]) == (0x10, 0x11)


def test_a_packet_too_big_tells_the_flow_and_the_mtu_and_ours_is_one_too():
    quoted = (
        struct.pack("!IHBB", 6 << 28, 100, UDP, 64) + A.packed + B.packed + struct.pack("!HHHH", 5, 6, 8, 0)
    )
    said = struct.pack("!BBHI", 2, 0, 0, 1300) + quoted
    assert read_too_big(said) == TooBig(Flow(UDP, Endpoint(A, 5), Endpoint(B, 6)), 1300)
    assert read_too_big(said[:55]) is None
    ours = read_too_big(packet_too_big(MOVED, 1400))
    assert ours == TooBig(Flow(ICMPV6, Endpoint(A2, 0), Endpoint(B2, 0)), 1400)
    for _ in range(2000):
        read_too_big(random.randbytes(random.randrange(120)))
