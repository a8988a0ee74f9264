"""The short form of the kill matrix (``make kill-matrix``): a cell for each victim but the orchestrator.

What a killed or interrupted orchestrator leaves is in ``test_cli.py``, at every moment of a run.
"""

import signal

import pytest
from kill import kill
from kill_matrix import Cell, Results, table_of
from victims import PHASES, VICTIMS

DOCKER = pytest.mark.docker


def victim(name, number=signal.SIGKILL):
    return next(one for one in VICTIMS if (one.name, one.number) == (name, number))


@pytest.mark.parametrize(
    ("runtime", "name", "phase"),
    [
        ("namespaces", "supervisor", "network"),
        ("namespaces", "agent", "tunnel"),
        ("namespaces", "charon", "scenario"),
        ("namespaces", "guard", "scenario"),
        ("namespaces", "hop daemon", "scenario"),
        pytest.param("docker", "watcher", "capture stop", marks=DOCKER),
        pytest.param("docker", "agent", "scenario", marks=DOCKER),
        pytest.param("docker", "charon", "nodes", marks=DOCKER),
    ],
)
def test_a_killed_part_of_a_run_leaves_nothing_and_the_exit_status_says_so(runtime, name, phase):
    killed = kill(victim(name), phase, runtime)
    assert killed.problems == ()
    assert killed.was_there


def test_a_victim_that_should_be_there_and_is_not_is_a_finding():
    nobody = victim("charon")._replace(words=("no such program",))
    killed = kill(nobody, "scenario", "namespaces")
    assert killed.problems == ("nobody to kill",)
    assert not killed.was_there


def test_a_wrong_exit_status_and_what_is_left_are_findings(tmp_path, monkeypatch):
    monkeypatch.setattr("kill.GONE_WITHIN", 0.0)
    monkeypatch.setattr("kill.traces", lambda _run, docker: {"mount somewhere"})
    killed = kill(victim("supervisor")._replace(statuses=frozenset({77})), "network", "namespaces")
    assert "left: mount somewhere" in killed.problems
    assert any(problem.startswith("exit status 4") for problem in killed.problems)


def test_every_victim_has_a_row_and_is_killed_at_every_phase(tmp_path):
    cells = [Cell("docker", one, phase) for one in VICTIMS for phase in PHASES if "docker" in one.runtimes]
    results = Results(tmp_path / "results")
    results.add(cells[0], problems=[], was_there=True, seconds=1.0)
    results.add(cells[0], problems=["left: a mount"], was_there=True, seconds=1.0)
    results.add(cells[1], problems=[], was_there=False, seconds=1.0)
    assert Results(tmp_path / "results").runs == results.runs  # it goes on where it was ended
    assert [results.missing(cell, 5) for cell in cells[:3]] == [3, 0, 5]
    head, _, first, *others = table_of("docker", cells, results).splitlines()
    assert head == "| docker | images | network | nodes | tunnel | scenario | capture stop | report |"
    assert first.startswith("| orchestrator, SIGINT | 1/2 | – |  |")
    assert [row.split(" | ")[0].strip("| ") for row in others][-1] == "dockerd, SIGKILL"
