"""What a process holds, how it becomes a series, and whether a series is flat."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from nodes.events import Event
from nodes.resources import SAMPLE, Occupied, nft_figures, program_of, programs
from orchestrator.evidence.verdict import Outcome
from orchestrator.report.resource_curves import resource_curves
from orchestrator.resources.flatness import flatness, slope
from orchestrator.resources.series import Key, Series, series_of

RULESET = """\
table ip6 t { # handle 4
	flags owner
	set gone { # handle 2
		type ipv6_addr
		timeout 1m
		elements = { fd00::1 expires 10s, fd00::2 expires 20s,
			fd00::3 expires 30s }
	}

	map out { # handle 3
		type ipv6_addr : ipv6_addr
		elements = { fd00::1 : fd00::2 }
	}

	chain o { # handle 1
		type route hook output priority -310; policy accept;
		ip6 daddr @gone drop # handle 5
	}
}
"""


def series(values, *, seconds=1800.0, figure="descriptors", program="charon"):
    times = np.linspace(0, seconds, len(values))
    return Series(Key("peer-a", program, figure), times, np.array(values, dtype=float))


def flat(*all_series):
    [check] = flatness(all_series)
    return check.outcome is Outcome.PASS


def test_a_program_is_called_by_its_module_or_its_file():
    assert program_of(["/usr/bin/python3", "-m", "nodes.agent", "peer"]) == "nodes.agent"
    assert program_of(["/usr/lib/ipsec/charon", "--debug-dmn"]) == "charon"
    assert program_of([]) == ""


def test_descriptors_threads_and_memory_of_this_process_are_counted():
    before = Occupied().and_of(Path("/proc/self"))
    files = [os.open("/dev/null", os.O_RDONLY) for _ in range(5)]
    after = Occupied().and_of(Path("/proc/self"))
    for file in files:
        os.close(file)
    assert after.descriptors == before.descriptors + 5
    assert (after.processes, after.threads >= 1, after.memory_kib > 1000) == (1, True, True)


def test_programs_of_one_name_are_counted_together_and_a_zombie_not_at_all():
    name = f"echo-{os.getpid()}"  # nobody else's on this machine
    pipe = subprocess.PIPE

    def echo():
        running = subprocess.Popen([name], executable="/bin/cat", stdin=pipe, stdout=pipe, bufsize=0)
        running.stdin.write(b"?")
        assert running.stdout.read(1) == b"?"  # Popen returns while the kernel still replaces the program
        return running

    with echo() as one, echo():
        assert programs()[name].processes == 2
        one.kill()
        os.waitid(os.P_PID, one.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has asked for it
        assert programs()[name].processes == 1


def test_elements_and_objects_of_nft_are_counted():
    assert nft_figures(RULESET) == {"nft objects": 5, "nft elements": 4}
    assert nft_figures("") == {"nft objects": 0, "nft elements": 0}


def test_the_slope_is_that_of_a_line_although_a_quarter_of_its_points_are_off():
    rng = np.random.default_rng(7)
    seconds = np.arange(100.0)
    values = 3 + 0.5 * seconds
    values[rng.choice(100, 25, replace=False)] += 1e6
    assert slope(seconds, values) == pytest.approx(0.5, abs=0.2)


def test_a_count_that_grows_by_one_in_the_second_half_is_not_flat():
    assert flat(series([20] * 100))
    assert not flat(series(np.linspace(20, 22.2, 100)))


def test_what_grows_in_the_first_half_alone_is_flat():
    assert flat(series([*range(50), *[50] * 50]))


def test_what_comes_and_goes_is_flat():
    assert flat(series([20, 21, 20, 23] * 25))


def test_few_samples_of_what_goes_up_and_down_do_not_pass_for_growth():
    counts = [2, 3, 2, 4, 2, 3, 2, 2, 3, 2, *(2, 3, 2, 2, 4, 3, 3, 4, 3, 4)]
    assert slope(np.arange(10.0), np.array(counts[10:], dtype=float)) * 9 > 1
    assert flat(series(counts, figure="CHILD_SAs", program="", seconds=12))
    assert not flat(series(np.arange(20), figure="CHILD_SAs", program="", seconds=12))


def test_a_leak_is_found_below_what_comes_and_goes():
    noise = np.tile([0, 1, 0, 3], 25)
    assert not flat(series(20 + noise + np.arange(100) // 10))


def test_memory_is_judged_only_in_a_run_that_is_long_enough():
    leak = np.linspace(30_000, 40_000, 100)
    assert not flat(series(leak, figure="memory_kib"))
    assert flat(series(leak, figure="memory_kib", seconds=60))


def test_elements_with_timeouts_are_judged_only_when_they_can_have_run_out():
    grown = np.arange(100)
    assert flat(series(grown, figure="nft elements", program="", seconds=60))
    assert not flat(series(grown, figure="nft elements", program="", seconds=600))


def test_few_samples_are_reported_and_not_judged():
    assert flat(series([1, 5, 9, 13]))


def test_a_check_names_who_grew():
    [check] = flatness([series([20] * 100), series(np.arange(100), program="nodes.agent")])
    assert [one.split(":")[0] for one in check.measured["grown"]] == ["peer-a nodes.agent"]


def sample(seconds, node="peer-a", kernel=None, **programs):
    held = {name.replace("_", "."): {"descriptors": number} for name, number in programs.items()}
    data = {"kernel": kernel or {}, "programs": held}
    return Event(time_ns=int(seconds * 1e9), node=node, kind=SAMPLE, data=data)


def test_a_program_that_a_sample_does_not_have_holds_nothing_then():
    events = [sample(1, charon=9, ip=3), sample(2, charon=9), sample(3, charon=9, ip=3)]
    found = {str(one.key): list(one.values) for one in series_of(events)}
    assert found == {"peer-a charon": [9, 9, 9], "peer-a ip": [3, 0, 3]}


def test_samples_of_sas_do_not_pass_for_samples_of_programs():
    events = [sample(1, charon=9), sample(1.1, kernel={"CHILD_SAs": 2}), sample(2, charon=9)]
    assert {one.key.figure: len(one.values) for one in series_of(events)} == {
        "descriptors": 2,
        "CHILD_SAs": 1,
    }


def test_the_orchestrators_memory_is_judged_by_what_an_event_costs():
    def run(kib_an_event):
        times = np.linspace(0, 1800, 100)
        kept = np.linspace(0, 50_000, 100)
        return flatness(
            [
                Series(Key("", "", "events kept"), times, kept),
                Series(Key("", "orchestrator", "memory_kib"), times, 70_000 + kept * kib_an_event),
            ]
        )

    assert [check.outcome for check in run(2)] == [Outcome.PASS]
    assert [check.outcome for check in run(5)] == [Outcome.FAIL]


def test_the_page_draws_what_moved_and_counts_what_did_not():
    events = [sample(second, charon=second, ip=3) for second in range(1, 20)]
    drawn = resource_curves(events)
    assert drawn.count("<polyline") == 1
    assert "2 series, 1 of them the same at every look" in drawn


def test_a_run_without_samples_has_no_curves():
    assert resource_curves([]) == ""
