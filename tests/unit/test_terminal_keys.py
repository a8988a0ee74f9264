"""Keys, contexts, sequence numbers, cookies and limits of a terminal."""

from __future__ import annotations

import hmac
from ipaddress import IPv6Address
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes import errors
from nodes.terminal.cookies import LIFETIME, Cookies
from nodes.terminal.header import FormatError
from nodes.terminal.keys import Direction, Leg, PairKeys
from nodes.terminal.limits import SourceLimit
from nodes.terminal.message import SEALED_OCTETS
from nodes.terminal.replay import PLACES, Numbering, Window

SECRET = b"a secret of at least sixteen octets"
A, B, C = (IPv6Address(f"fd00::{one}") for one in (1, 2, 3))


def octets(seed: int = 1) -> object:
    return Random(seed).randbytes


def test_a_mac_is_hmac_sha256_128_over_the_addresses_and_the_message():
    root = hmac.digest(b"hopbed address hopping 1", SECRET, "sha256")
    key = hmac.digest(root, b"mac\x01\x01" + (7).to_bytes(8, "big") + b"\x01", "sha256")
    expected = hmac.digest(key, A.packed + B.packed + b"message", "sha256")[:16]
    assert PairKeys(SECRET).context(7).mac(Leg.FIRST, Direction.FORWARD, A, B, b"message") == expected


def test_each_context_leg_direction_pair_of_addresses_and_secret_has_a_mac_of_its_own():
    macs = {
        PairKeys(secret).context(context).mac(leg, direction, *addresses, b"message")
        for secret in (SECRET, SECRET + b"!")
        for context in (1, 2)
        for leg in Leg
        for direction in Direction
        for addresses in ((A, B), (B, A), (A, C))
    }
    assert len(macs) == 2 * 2 * 2 * 2 * 3


def test_both_terminals_derive_the_same():
    one, other = PairKeys(SECRET).context(9), PairKeys(SECRET).context(9)
    assert one.second_number == other.second_number
    assert other.open(one.seal(C, octets())) == C


def test_a_sealed_address_opens_in_its_own_context_alone():
    sealed = PairKeys(SECRET).context(9).seal(C, octets())
    assert len(sealed) == SEALED_OCTETS
    for keys in (PairKeys(SECRET).context(10), PairKeys(SECRET + b"!").context(9)):
        with pytest.raises(FormatError):
            keys.open(sealed)
    for at in range(len(sealed)):
        with pytest.raises(FormatError):
            PairKeys(SECRET).context(9).open(sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :])


def test_nonces_and_contexts_do_not_come_again():
    keys, random = PairKeys(SECRET), octets()
    contexts = [keys.new_context(random) for _ in range(5000)]
    nonces = [keys.context(1).seal(C, random)[:12] for _ in range(5000)]
    assert len(set(contexts)) == len(set(nonces)) == 5000


def test_a_pair_knows_its_own_contexts_and_almost_no_other():
    keys, stranger, random = PairKeys(SECRET), PairKeys(SECRET + b"!"), octets()
    own = [keys.new_context(random) for _ in range(1000)]
    assert all(map(keys.knows, own))
    assert sum(map(stranger.knows, own)) < 5


def test_the_second_legs_number_cannot_be_told_from_the_first_legs():
    keys = PairKeys(SECRET)
    numbers = [keys.context(number).second_number for number in range(1000)]
    assert len(set(numbers)) == 1000
    assert not keys.knows(numbers[0]) or not keys.knows(numbers[1])


@given(st.integers(0, (1 << 64) - 1))
def test_moved_ports_differ_and_are_nobodys_to_take(context):
    keys = PairKeys(SECRET).context(context)
    ports = [keys.moved_port(service) for service in range(1, 60)]
    assert len(set(ports)) == len(ports)
    assert all(1024 <= port <= 65535 for port in ports)


def test_every_service_of_the_largest_hop_has_a_port_of_its_own():
    keys = PairKeys(SECRET).context(5)
    assert len({keys.moved_port(service) for service in range(1024, 9216)}) == 8192


def test_a_short_secret_is_refused():
    with pytest.raises(errors.ParameterError, match="at least 16 octets, not 5"):
        PairKeys(b"short")


# sequence numbers


@given(st.lists(st.integers(0, 300)))
def test_no_number_is_taken_twice(numbers):
    window = Window()
    taken = [number for number in numbers if window.take(number)]
    assert len(set(taken)) == len(taken)
    assert len(window.taken) <= PLACES


def test_numbers_out_of_order_are_taken_within_the_window():
    window = Window()
    assert all(window.take(number) for number in reversed(range(1000, 1000 + PLACES)))


def test_a_number_below_the_window_counts_as_taken():
    window = Window()
    for number in range(100, 100 + PLACES + 1):
        assert window.take(number * 1000)
    assert not window.take(5)


@given(st.lists(st.integers(0, 10**9)))
def test_numbers_given_always_rise_even_if_the_clock_stands(times):
    numbering = Numbering(began=0)
    numbers = [numbering.next(now) for now in times]
    assert numbers == sorted(set(numbers))


def test_an_older_state_goes_on_above_what_was_sent():
    numbering = Numbering(began=1000)
    sent = [numbering.next(1000 + ms * 1_000_000) for ms in (0, 15, 30)]
    older = Numbering(began=1000, last=sent[0])
    assert older.next(1000 + 45 * 1_000_000) > sent[-1]


def test_a_number_tells_when_it_was_given():
    numbering = Numbering(began=10**9)
    number = numbering.next(10**9 + 5_000_000)
    assert numbering.since(number, 10**9 + 45_000_000) == 40_000_000
    assert numbering.since(number + 1, 10**9 + 45_000_000) is None
    assert numbering.since(0, 10**9) is None


# cookies


def test_a_cookie_is_right_for_its_address_context_and_leg_alone():
    cookies = Cookies(octets())
    cookie = cookies.make(Leg.SECOND, 7, A, 0)
    assert cookies.right(cookie, Leg.SECOND, 7, A, 0)
    assert not cookies.right(cookie, Leg.FIRST, 7, A, 0)
    assert not cookies.right(cookie, Leg.SECOND, 8, A, 0)
    assert not cookies.right(cookie, Leg.SECOND, 7, B, 0)
    assert not Cookies(octets(2)).right(cookie, Leg.SECOND, 7, A, 0)


def test_a_cookie_grows_old():
    cookies = Cookies(octets())
    cookie = cookies.make(Leg.SECOND, 7, A, 1)
    assert cookies.right(cookie, Leg.SECOND, 7, A, LIFETIME - 1)
    assert not cookies.right(cookie, Leg.SECOND, 7, A, LIFETIME)


@pytest.mark.parametrize("cookie", [b"", b"\0" * 8, b"\0" * 9])
def test_what_is_no_cookie_is_not_right(cookie):
    assert not Cookies(octets()).right(cookie, Leg.SECOND, 7, A, 0)


# limits


def test_a_source_has_its_burst_and_then_its_rate():
    limit = SourceLimit(rate=10, burst=5, sources=4)
    assert [limit.allows(A, 0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert limit.allows(A, 100_000_000)
    assert not limit.allows(A, 100_000_000)
    assert limit.allows(B, 100_000_000)


def test_sources_are_remembered_up_to_a_bound():
    limit = SourceLimit(rate=1, burst=1, sources=100)
    for number in range(10_000):
        limit.allows(IPv6Address(number), 0)
    assert len(limit) == 100
