"""Keys in the evidence: tshark reads the capture decrypted, inner packets and IKE payloads."""

import functools
import os
import re
import shlex
import subprocess

import anyio
import pytest

from nodes.peer.model import Rekey
from orchestrator import tunnel
from orchestrator.decryption.folder import decrypting_command
from orchestrator.events import EventStream
from orchestrator.evidence.read import read_evidence
from orchestrator.scenarios.catalogue import find
from orchestrator.scenarios.runner import Run, run

pytestmark = pytest.mark.anyio

HASH, SA_1, ID_1 = "8", "1", "5"
"""IKEv1's payloads, as RFC 2408, section 3.1, numbers them."""
SA_2, TSI, TSR = "33", "44", "45"


@pytest.fixture
def play(tmp_path, runtime):
    """``await play(SCENARIO, **parameters)`` runs it with its keys kept, and returns the evidence folder."""

    async def play(scenario, *, keys=True, **parameters):
        found = find(scenario)
        out = tmp_path / "evidence"
        asked = Run(
            scenario=found,
            parameters=found.validate(parameters),
            out=out,
            seed=1,
            command=(),
            runtime=runtime,
            keys=keys,
        )
        await run(asked, EventStream())
        return out

    return play


AS_DATA = ["-d", "udp.port==5000-65535,data", "-d", "tcp.port==1-65535,data"]
"""What the probes carry is octets. By a port or a guess tshark takes some for another protocol, and where
they are no such message it leaves off what it says of the ESP around them, the ICV among it."""


def tshark(folder, display_filter, *fields, keys=True):
    """A row of fields for each packet of the bridge's capture."""
    words = [word for field in fields for word in ("-e", field)]
    environment = dict(os.environ)
    if keys:
        environment["WIRESHARK_CONFIG_DIR"] = str(folder / "keys")
    read = subprocess.run(
        [
            *("tshark", "-r", folder / "captures" / "bridge.pcapng"),
            *(*AS_DATA, "-Y", display_filter, "-T", "fields", *words),
        ],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    return [line.split("\t") for line in read.stdout.splitlines()]


def ike_payloads(folder):
    """The payload types of each IKE packet, without SK and what is in a proposal."""
    return [row[0].split(",") for row in tshark(folder, "isakmp", "isakmp.typepayload")]


def check_inner_packets(folder, ends=r":1::[ab]2$", inner_ends=r":[ab]::1$"):
    """Every ESP packet shows an inner packet between the inner prefixes."""
    addresses = tshark(folder, "esp", "ipv6.src", "ipv6.dst")
    assert len(addresses) > 100
    for sources, destinations in addresses:
        for both in (sources, destinations):
            outer, inner = both.split(",")
            assert re.search(ends, outer)
            assert re.search(inner_ends, inner)


async def test_ikev1_with_pfs_is_decrypted(play):
    folder = await play("rekey", ike="1", pfs=True, count=2)
    before = tshark(folder, "esp && tcp", "frame.number", keys=False)
    assert before == []
    check_inner_packets(folder)
    assert tshark(folder, "esp && tcp", "frame.number")
    assert tshark(folder, "esp", "frame.number") == tshark(folder, "esp && udp.port == 4500", "frame.number")
    payloads = ike_payloads(folder)
    assert all(payloads)
    quick = [one for one in payloads if one[0] == HASH and SA_1 in one]
    assert len(quick) == 2 * 3  # the first and the second message of three Quick Modes
    assert all(one.count(ID_1) == 2 for one in quick)


async def test_ikev2_with_aes_gcm_is_decrypted(play):
    folder = await play("rekey", ike="2", pfs=True, count=2)
    check_inner_packets(folder)
    with_selectors = [one for one in ike_payloads(folder) if {SA_2, TSI, TSR} <= set(one)]
    assert len(with_selectors) == 2 * 3  # IKE_AUTH, and two CREATE_CHILD_SA


@pytest.mark.parametrize("ike", ["1", "2"])
async def test_aes_cbc_with_hmac_is_decrypted_and_its_icv_is_right(play, monkeypatch, ike):
    propose(monkeypatch, ike="aes256-sha384-modp2048", esp="aes256-sha256")
    folder = await play("rekey", ike=ike, count=2)
    check_inner_packets(folder)
    assert tshark(folder, "esp.icv_bad == 1", "frame.number") == []
    assert len(tshark(folder, "esp.icv_good == 1", "frame.number")) == len(
        tshark(folder, "esp", "frame.number")
    )


async def test_rekeyed_ike_sas_are_decrypted_whoever_rekeyed(play, monkeypatch):
    from orchestrator.scenarios import rekey

    original = rekey.rekey_once

    async def both(stage, *, by):
        await original(stage, by=by)
        await stage.bed.node(by).peer.rekey(Rekey(connection=tunnel.CONNECTION))

    monkeypatch.setattr(rekey, "rekey_once", both)
    folder = await play("rekey", ike="2", count=2)
    exchanges = tshark(folder, "isakmp.exchangetype == 36", "isakmp.ispi", "isakmp.typepayload")
    assert len({spi for spi, _ in exchanges}) >= 2
    assert all(SA_2 in payloads.split(",") for _, payloads in exchanges)


def propose(monkeypatch, *, ike, esp):
    """Both peers propose these."""
    settings = functools.partial(tunnel.Settings, ike_proposals=(ike,), esp_proposals=(esp,))
    monkeypatch.setattr(tunnel, "Settings", settings)


async def test_the_command_opens_the_capture_decrypted(play):
    """The command for Wireshark, given to tshark, which takes the same words."""
    folder = await play("tunnel", duration=0.3)
    command = decrypting_command(folder).replace("wireshark -r", "tshark -r", 1)
    assert shlex.split(command)[1] == "tshark"
    done = await anyio.run_process(["sh", "-c", command])
    assert re.search(r":a::1 → \S+:b::1 +UDP", done.stdout.decode())
    assert read_evidence(folder).keys


@pytest.mark.parametrize("esp", ["aes128gcm16", "aes128-sha256"])
async def test_what_two_endpoints_say_is_decrypted_and_tshark_has_nothing_to_warn_of(play, monkeypatch, esp):
    propose(monkeypatch, ike="aes128-sha256-modp2048", esp=esp)
    folder = await play("sa-negotiation", initiator="hopbed", pfs=True, count=2, rate=200, interval=0.2)
    check_inner_packets(folder, r":1::(c2|c3)$", r":[cd]::1$")
    payloads = ike_payloads(folder)
    assert all(payloads)
    assert len([one for one in payloads if one[0] == HASH and SA_1 in one]) == 2 * 3
    assert tshark(folder, "isakmp && (_ws.malformed || _ws.expert.severity >= 6291456)", "frame.number") == []
    assert tshark(folder, "esp.icv_bad == 1", "frame.number") == []
    assert list(folder.rglob("ike-keys.jsonl")) == []


async def test_the_shared_secret_is_not_among_the_keys(play, monkeypatch):
    made = []
    original = tunnel.secrets.token_urlsafe
    monkeypatch.setattr(tunnel.secrets, "token_urlsafe", lambda size: made.append(original(size)) or made[-1])
    folder = await play("tunnel", duration=0.2)
    octets = re.sub(r"(..)", r"\1 ", made[0].encode().hex().upper())[:47]
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert made[0].encode() not in content, path
            assert octets.encode() not in content, path
    assert list(folder.rglob("charon-keys.log")) == []


async def test_no_key_is_in_the_evidence_of_a_run_that_did_not_ask(play):
    folder = await play("tunnel", keys=False, duration=0.2)
    assert not (folder / "keys").exists()
    for log in folder.rglob("charon*.log"):
        assert "key =>" not in log.read_text()
        assert "SKEYSEED" not in log.read_text()
