"""A peer's strongswan.conf, and which prefixes of a connection are kept home."""

import ipaddress
from pathlib import Path

import pytest

from nodes.peer.config import PLUGINS, plugins, strongswan_conf
from nodes.peer.inner import guarded_prefixes
from nodes.peer.model import Child, Connection, End, Psk
from nodes.peer.options import PeerOptions


def conf(**options):
    dataplane = options.pop("dataplane", "userspace")
    return strongswan_conf(
        PeerOptions(**options),
        dataplane=dataplane,
        available=PLUGINS,
        vici_socket=Path("/run/hopbed/charon.vici"),
        error_socket=Path("/run/hopbed/charon.enfy"),
        log=Path("/run/hopbed/log/charon.log"),
    )


def test_the_userspace_data_plane_asks_libipsec_before_the_kernel():
    wanted = plugins("userspace", PLUGINS)
    assert wanted.index("kernel-libipsec") < wanted.index("kernel-netlink")


def test_the_kernel_data_plane_does_without_libipsec():
    assert "kernel-libipsec" not in plugins("kernel", PLUGINS)
    assert "load = yes" not in conf(dataplane="kernel")


def test_a_plugin_that_this_release_lacks_is_not_asked_for():
    assert "gmp" not in plugins("kernel", set(PLUGINS) - {"gmp"})


def test_sockets_and_log_stand_where_they_are_told_to():
    text = conf()
    assert "socket = unix:///run/hopbed/charon.vici" in text
    assert "socket = unix:///run/hopbed/charon.enfy" in text
    assert "path = /run/hopbed/log/charon.log" in text


def test_retransmission_is_charons_own_unless_it_is_set():
    assert "retransmit" not in conf()
    text = conf(retransmit_timeout=1.0, retransmit_base=1.3, retransmit_tries=4)
    for line in ("retransmit_timeout = 1.0", "retransmit_base = 1.3", "retransmit_tries = 4"):
        assert line in text


def test_every_section_is_closed():
    assert (
        conf().count("{") == conf().count("}") == len([line for line in conf().splitlines() if "{" in line])
    )


def connection(*remote_ts):
    child = Child(name="inner", local_ts=("fd0a::/64",), remote_ts=remote_ts)
    ends = {"local": End(address="fd00::1"), "remote": End(address="fd00::2")}
    return Connection(name="tunnel", auth=Psk(secret="s"), children=(child,), **ends)


def test_the_partners_inner_prefixes_are_guarded():
    prefixes = guarded_prefixes(connection("fd0b::/64", "10.0.0.0/8"))
    assert prefixes == {ipaddress.ip_network("fd0b::/64"), ipaddress.ip_network("10.0.0.0/8")}


@pytest.mark.parametrize("selector", ["fd00::2/128", "fd00::/64", "::/0"])
def test_a_prefix_that_holds_the_partner_itself_is_not_guarded(selector):
    assert guarded_prefixes(connection(selector)) == frozenset()
