"""The instrument is calibrated: it finds what was injected within one probe interval, and nothing else.

What was injected is known without the instrument: by the numbers of the probes, by the kernel's counters, and
by the kernel's time stamps in the captures. ``pytest -rP`` shows the table of ``docs/continuity.md``.
"""

import random

import pytest
from calibration import DESTINATION, INTERVAL_MS, RATE, SOURCE, Bench, undisturbed

from orchestrator.evidence.verdict import Outcome
from orchestrator.pytest_plugin import on_testbed

pytestmark = [pytest.mark.alone, pytest.mark.anyio, on_testbed(nodes=(SOURCE, DESTINATION))]

GAPS = {1: 300, 5: 600, 20: 900, 100: 1300, 1000: 1700}
"""The first probe of each gap, by its length in probes, which at 1 kHz is its length in ms."""


@pytest.fixture
def bench(testbed, tmp_path):
    return Bench(testbed, tmp_path)


async def test_gaps_of_known_probes_are_found_within_one_interval(bench, runtime):
    await bench.drop(", ".join(f"{first}-{first + lost - 1}" for lost, first in GAPS.items()))
    found = (await bench.run([bench.spec("gaps", count=3000)]))["gaps"]

    assert found.lost == sum(GAPS) == await bench.dropped()
    assert [one.lost for one in found.interruptions] == list(GAPS)
    for one, (lost, first) in zip(found.interruptions, GAPS.items(), strict=True):
        injected = bench.injected_ms(first, first + lost - 1)
        measured = one.end_ms - one.start_ms
        print(f"| {runtime} | {lost} | {injected:.3f} | {measured:.3f} | {measured - injected:+.3f} |")
        assert abs(measured - injected) <= INTERVAL_MS


async def test_scattered_losses_are_each_an_interruption_of_its_own(bench):
    lost = sorted(random.Random(7).sample(range(10, 1990, 2), 60))
    await bench.drop(", ".join(map(str, lost)))
    found = (await bench.run([bench.spec("scattered", count=2000)]))["scattered"]

    assert found.lost == len(lost) == await bench.dropped()
    assert [one.lost for one in found.interruptions] == [1] * len(lost)
    for one, number in zip(found.interruptions, lost, strict=True):
        assert abs(one.end_ms - one.start_ms - bench.injected_ms(number, number)) <= INTERVAL_MS


async def test_what_the_destination_drops_after_the_capture_saw_it_is_a_disagreement(bench):
    await bench.drop("300-304")
    await bench.run([bench.spec("seen", count=1000)])
    check = bench.agreement()["seen"]
    assert check.outcome is Outcome.INCONCLUSIVE
    assert check.measured["delivered"] == 995
    assert check.measured["seen arriving, not received"]["probes"] == 5
    assert check.measured["seen arriving, not received"]["first"] == [300, 301, 302]


@pytest.mark.parametrize("seconds", [0.1, 1])
async def test_an_outage_of_the_link_is_found_within_one_interval(bench, runtime, seconds):
    said = {}

    async def take_down():
        said.update(await bench.link_down(seconds))

    found = (await bench.run([bench.spec("link", count=RATE * 5)], take_down))["link"]

    assert said["tx_down"] == said["tx_up"]  # the kernel sent nothing while the link was down
    down = [one for one in found.interruptions if one.end_ms >= said["up_ns"] / 1e6 >= one.start_ms]
    due = bench.next_departure_ms(said["down_ns"])
    assert [one.start_ms <= due + INTERVAL_MS for one in down] == [True]
    holes = bench.holes()
    losses = [one for one in found.interruptions if one.lost]
    assert [one.lost for one in losses] == [last - first + 1 for first, last in holes]
    for one, (first, last) in zip(losses, holes, strict=True):
        injected = bench.injected_ms(first, last)
        measured = one.end_ms - one.start_ms
        print(f"| {runtime}, link down for {seconds} s | {one.lost} | {injected:.3f} | {measured:.3f} |")
        assert abs(measured - injected) <= INTERVAL_MS
    assert bench.agreement()["link"].outcome is Outcome.PASS


async def test_a_minute_of_undisturbed_traffic_has_no_interruption(bench, runtime):
    found = await bench.run(undisturbed(bench, seconds=60))
    for name, flow in found.items():
        print(f"| {runtime} | {name} | {flow.sent} | {flow.longest_gap_ms:.3f} | {flow.delay_max_ms:.3f} |")
    assert {name: flow.lost for name, flow in found.items()} == dict.fromkeys(found, 0)
    # MPTCP's records that waited together have the time of the last one, and no capture puts that right as it
    # does for TCP: a machine that keeps the reader waiting shows.
    exact = {name: flow.interruptions for name, flow in found.items() if not name.startswith("mptcp")}
    assert exact == dict.fromkeys(exact, ())
    assert {check.outcome for check in bench.agreement().values()} == {Outcome.PASS}
