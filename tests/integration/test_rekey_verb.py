"""The verb rekey: SAs of a run that is up, by hand, and what it refuses."""

import json

import pytest
from machine import hopbed

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def up():
    """Two peers, an endpoint and a host, left running: the id of the run."""
    nodes = ("peer-a", "peer-b", "endpoint-b", "host")
    run_id = json.loads(hopbed("up", "--runtime", "namespaces", "--json", *nodes, check=0).stdout)["run"]
    yield run_id
    hopbed("down", "--run", run_id)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["peer-b"], "`hopbed rekey peer-b --with PEER` negotiates a tunnel first"),
        (["peer-b", "--connection", "none"], "no SA of none is up at peer-b"),
        (["host"], "host is a host"),
        (["nobody"], "no node 'nobody' in run"),
        (["peer-b", "--with", "nobody"], "no node 'nobody' in run"),
        (["peer-b", "--with", "host"], "host"),
        (["peer-b", "--with", "peer-b"], "peer-b cannot have a tunnel to itself"),
    ],
)
def test_what_cannot_be_rekeyed_is_one_error(up, words, told):
    assert told in hopbed("rekey", "--run", up, *words, check=2).stderr


@pytest.mark.parametrize("words", [["--with", "peer-b"], ["--with", "endpoint-b", "--ike", "1", "--pfs"]])
def test_a_first_call_negotiates_and_each_call_replaces_the_spis(up, words):
    first, second = (
        json.loads(hopbed("rekey", "peer-a", "--run", up, "--json", *words, check=0).stdout) for _ in range(2)
    )
    assert len(first) == len(second) == 1
    assert second[-1]["old_spis"] == first[-1]["new_spis"]
    assert second[-1]["new_spis"] != second[-1]["old_spis"]


def test_an_ike_sa_is_rekeyed_too(up):
    said = hopbed("rekey", "peer-a", "--run", up, "--with", "peer-b", "--ike-sa", check=0).stdout
    assert said.startswith("peer-a: ike ")
