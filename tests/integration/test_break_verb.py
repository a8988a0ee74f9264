"""The verb break: an abnormality in a run that is up, seen, refused where it is none, and mended."""

import json
import signal
import subprocess

import pytest
from machine import HOPBED, ROOT, hopbed

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def up():
    """The two peers and a host, left running: the id of the run."""
    nodes = ("peer-a", "peer-b", "host")
    run_id = json.loads(hopbed("up", "--runtime", "namespaces", "--json", *nodes, check=0).stdout)["run"]
    yield run_id
    hopbed("down", "--run", run_id)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["peer-a", "pks"], "no kind of abnormality 'pks'"),
        (["host", "psk"], "host is a host, not a peer; peers are peer-a, peer-b"),
        (["nobody", "psk"], "no node 'nobody' in run"),
        (["peer-a", "psk", "--partner", "peer-a"], "peer-a cannot negotiate with itself"),
        (["peer-a", "psk", "--partner", "host"], "host is a host, not a peer"),
        (["peer-a", "psk", "--ike", "3"], "'3' is not one of '1', '2'"),
        (["peer-a", "psk", "--every", "0"], "0.0 is not in the range"),
    ],
)
def test_what_cannot_be_broken_is_one_error(up, words, told):
    assert told in hopbed("break", "--run", up, *words, check=2).stderr


def test_a_dead_peer_stays_dead_until_the_repair(up):
    said = hopbed("break", "--run", up, "peer-b", "dead-peer", check=0).stderr
    assert "`hopbed break peer-b repair` mends it" in said
    rules = hopbed("exec", "--run", up, "peer-b", "--", "nft", "list", "ruleset", check=0).stdout
    assert "hopbed-deaf" in rules
    assert "agree again" in hopbed("break", "--run", up, "peer-b", "repair", check=0).stdout
    rules = hopbed("exec", "--run", up, "peer-b", "--", "nft", "list", "ruleset", check=0).stdout
    assert "hopbed-deaf" not in rules


def test_every_try_is_told_until_it_is_interrupted(up):
    line = [*HOPBED, "break", "--run", up, "peer-a", "version", "--ike", "2", "--every", "0.3"]
    process = subprocess.Popen(line, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    failures = 0
    for text in process.stderr:
        failures += "retry.failed" in text and "INVALID_MAJOR_VERSION" in text
        if failures == 2:
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert (failures, process.returncode) == (2, 130)
    rules = hopbed("exec", "--run", up, "peer-a", "--", "ip6tables-save", check=0).stdout
    assert "NFQUEUE" not in rules
    assert "agree again" in hopbed("break", "--run", up, "peer-a", "repair", check=0).stdout
