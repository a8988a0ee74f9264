"""What nftables is told of the cleartext that policies keep out."""

from ipaddress import IPv6Address, IPv6Network

from nodes.esp.sa import Policy
from nodes.ike.dataplane.cleartext import ruleset


def policy(reqid):
    return Policy(
        reqid=reqid,
        local=IPv6Address("fd00::a"),
        remote=IPv6Address("fd00::b"),
        local_ts=IPv6Network(f"fd00:a{reqid}::/64"),
        remote_ts=IPv6Network(f"fd00:b{reqid}::/64"),
    )


def test_what_a_policy_protects_is_dropped_unless_it_comes_by_the_device_or_from_the_node_itself():
    rule = 'iifname != { "esp", "lo" } ip6 saddr fd00:b7::/64 ip6 daddr fd00:a7::/64 drop\n'
    assert rule in ruleset({7: policy(7)}, "esp")


def test_every_transaction_replaces_what_was_there():
    script = ruleset({7: policy(7), 8: policy(8)}, "esp")
    assert script.startswith("table ip6 hopbed_cleartext\ndelete table ip6 hopbed_cleartext\n")
    assert script.count(" drop\n") == 2


def test_without_a_policy_there_is_no_table():
    assert ruleset({}, "esp") == "table ip6 hopbed_cleartext\ndelete table ip6 hopbed_cleartext\n"
