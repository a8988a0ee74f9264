"""Unmodified applications on a live testbed, undisturbed: that they run, and that harm is found."""

import re
import time
from contextlib import AsyncExitStack

import anyio
import pytest

from nodes import errors
from orchestrator.applications import curl, iperf3, ping, ssh
from orchestrator.applications.application import Ends, check_program
from orchestrator.pytest_plugin import on_testbed

pytestmark = [pytest.mark.anyio, on_testbed("compose.yaml", nodes=("terminal-a", "terminal-b"))]


KILL_THE_SERVER = (
    "for one in /proc/[0-9]*; do grep -q '[d]ownload_server' $one/cmdline && kill ${one#/proc/}; done; true"
)


def ends(bed):
    client, server = bed.node("terminal-a"), bed.node("terminal-b")
    return Ends(runtime=bed.runtime, client=client, server=server, address=server.address)


async def ended(running, *, tell=True):
    """What is found once the application, under way, ended; ``tell``: because it was told to."""
    async with running as application:
        await application.begun()
        if tell:
            application.finish()
        with anyio.fail_after(30):
            return await application.wait()


async def test_curl_gets_a_file_as_it_was(testbed):
    found = await ended(curl.running(ends(testbed), octets=30_000_000, seconds=3))
    assert found.passed, found
    assert found.figures["octets"] == 30_000_000


async def test_iperf3_reports_what_it_sent_again(testbed):
    running = iperf3.running(ends(testbed), bits_per_second=50_000_000, congestion="reno")
    found = await ended(running)
    assert found.passed, found
    assert found.figures["congestion"] == "reno"
    assert found.figures["retransmitted"] >= 0


async def test_iperf3_that_is_given_a_time_ends_by_itself(testbed):
    found = await ended(iperf3.running(ends(testbed), seconds=1), tell=False)
    assert found.passed, found


async def test_each_line_of_an_ssh_session_comes_back(testbed):
    found = await ended(ssh.running(ends(testbed), interval=0.01))
    assert found.passed, found
    assert found.figures["lines"] > 0


async def test_each_echo_request_is_answered(testbed):
    found = await ended(ping.running(ends(testbed)))
    assert found.passed, found
    assert found.figures["answered"] > 0


async def test_an_application_goes_on_until_it_is_told_to_end(testbed):
    """Longer than the download would take at its first rate, and data flow all the time."""
    async with AsyncExitStack() as stack:
        applications = [
            await stack.enter_async_context(running)
            for running in (
                curl.running(ends(testbed), octets=1_000_000, seconds=0.2),
                iperf3.running(ends(testbed), bits_per_second=1_000_000),
                ssh.running(ends(testbed)),
                ping.running(ends(testbed)),
            )
        ]
        for application in applications:
            await application.begun()
        await anyio.sleep(1)
        assert not any(application.ended.is_set() for application in applications)
        told_ns = time.monotonic_ns()
        for application in applications:
            application.finish()
        with anyio.fail_after(30):
            findings = [await application.wait() for application in applications]
    assert all(found.passed for found in findings), findings
    assert all(found.start_ns < told_ns < found.end_ns for found in findings)


async def test_all_of_them_run_side_by_side_and_leave_nothing_in_the_nodes(testbed):
    async with AsyncExitStack() as stack:
        applications = [
            await stack.enter_async_context(running)
            for running in (
                curl.running(ends(testbed), octets=1_000_000, seconds=0.5),
                iperf3.running(ends(testbed), bits_per_second=1_000_000),
                ssh.running(ends(testbed)),
                ping.running(ends(testbed)),
            )
        ]
        for application in applications:
            await application.begun()
            application.finish()
        with anyio.fail_after(30):
            findings = [await application.wait() for application in applications]
    assert [found.passed for found in findings] == [True] * 4, findings
    for node in ("terminal-a", "terminal-b"):
        shown = (await testbed.node(node).exec(["sh", "-c", "cat /proc/[0-9]*/cmdline"])).stdout
        assert not re.search(rb"download_server|sshd|iperf3|ping", shown), shown


async def test_a_connection_that_breaks_is_found(testbed):
    running = curl.running(ends(testbed), octets=20_000_000, seconds=4)
    async with running as application:
        await application.begun()
        await testbed.node("terminal-b").exec(["sh", "-c", KILL_THE_SERVER])
        with anyio.fail_after(30):
            found = await application.wait()
    assert not found.passed
    assert "curl ended with status 18" in found.measured


async def test_a_program_that_is_missing_is_a_clear_error(testbed):
    with pytest.raises(errors.MachineError, match="no-such-program is not there.*apt-get install nothing"):
        await check_program(testbed.node("terminal-a"), "no-such-program", "nothing")
