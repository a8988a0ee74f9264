"""The MTU inside a tunnel leaves room for what is around a packet."""

import pytest
from esp_packets import esp_sa, inner_packet, sealed

from nodes.esp.outbound import OutboundSa
from nodes.ike.dataplane.userspace import LEAST_MTU, MOST_MTU, inner_mtu

IPV6_AND_UDP = 48


@pytest.mark.parametrize("encryption", ["aes-gcm-16", "aes-cbc"])
@pytest.mark.parametrize("link", range(1384, 1520, 3))
def test_the_largest_packet_fits_the_link(encryption, link):
    largest = inner_packet(bytes(inner_mtu(link) - 40))
    assert len(sealed(OutboundSa(esp_sa(encryption=encryption)), largest)) + IPV6_AND_UDP <= link


def test_the_mtu_stays_within_what_ipv6_and_peers_have():
    assert inner_mtu(1500) == inner_mtu(9000) == MOST_MTU
    assert inner_mtu(1280) == LEAST_MTU
