"""The endpoint against an unmodified strongSwan, in every combination, and the table of it in docs/."""

import os
from pathlib import Path

import pytest
from interoperability import COMBINATIONS, ENDS, SETTINGS, STEPS, STRONGSWAN, YES, try_all
from interoperability_table import TABLE, read, section, series, with_section

from orchestrator.image import build, connect
from orchestrator.testbed import Testbed

pytestmark = pytest.mark.anyio

COMPOSE = Path(__file__).parents[2] / "compose.yaml"
WRITE = "HOPBED_WRITE_TABLE"
"""Set by ``make interoperability``: the table is written, not checked."""


async def found_out(file, runtime, log_dir):
    """The version of strongSwan, on what it ran, and what came of every combination."""
    async with Testbed.from_compose(
        file, runtime=runtime, nodes=ENDS, settings=SETTINGS, log_dir=log_dir
    ) as bed:
        status = await bed.node(STRONGSWAN).peer.status()
        results = await try_all(bed)
    plane = f"{bed.runtime.name.capitalize()} runtime, {status.dataplane} data plane"
    return status.version, plane, results


def check(version, setting, results):
    """The results are those of the table; of a strongSwan that it does not know, all went well."""
    assert len(results) == len(COMBINATIONS) == 16
    text = TABLE.read_text() if TABLE.exists() else ""
    if os.environ.get(WRITE) == "1":
        TABLE.write_text(with_section(text, version, section(version, setting, results)))
        return
    everything = {row: dict.fromkeys(STEPS, YES) for row in results}
    assert results == read(text).get(series(version), everything)


async def test_the_table_is_what_comes_of_every_combination_with_the_machines_strongswan(tmp_path):
    check(*await found_out(COMPOSE, "namespaces", tmp_path))


@pytest.fixture
def trixie(tmp_path):
    """A compose file whose strongSwan is Debian trixie's, in an image that is current."""
    client = connect()
    build(client, "trixie", print)
    client.close()
    text = COMPOSE.read_text()
    peer = f"  {STRONGSWAN}:\n    hostname: {STRONGSWAN}\n"
    assert peer in text
    file = tmp_path / "compose.yaml"
    file.write_text(text.replace(peer, f"{peer}    image: hopbed-node:trixie\n"))
    return file


@pytest.mark.docker
@pytest.mark.timeout(900)
async def test_the_table_is_what_comes_of_every_combination_with_the_strongswan_of_trixie(trixie, tmp_path):
    version, setting, results = await found_out(trixie, "docker", tmp_path)
    assert series(version) == "6.0"
    check(version, setting, results)
