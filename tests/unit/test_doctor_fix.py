"""The doctor mends what a command can mend, after asking."""

import sys

import anyio
import pytest

from orchestrator.doctor import fix as fixing
from orchestrator.doctor.finding import Finding, Need
from orchestrator.doctor.fix import Step, fix, steps


def finding(name, *fixes, present=False):
    return Finding(
        name=name,
        purpose="",
        need=Need.OPTIONAL,
        present=present,
        detail="",
        lost="",
        mend="",
        fix=fixes,
    )


APT = ("apt-get", "install", "curl")
OURS = (sys.executable, "-m", "orchestrator.image")


def test_a_command_that_mends_two_findings_runs_once():
    found = steps([finding("a", APT), finding("b", APT)], is_root=True, sudo=None)
    assert found == [Step(argv=APT, mends=("a", "b"))]


def test_what_is_present_is_left_alone():
    assert steps([finding("a", APT, present=True)], is_root=True, sudo=None) == []


def test_without_root_the_machines_commands_go_through_sudo_and_ours_do_not():
    found = steps([finding("a", APT), finding("b", OURS)], is_root=False, sudo="/usr/bin/sudo")
    assert [step.argv for step in found] == [("/usr/bin/sudo", *APT), OURS]


def test_without_root_and_sudo_only_ours_is_left():
    found = steps([finding("a", APT), finding("b", OURS)], is_root=False, sudo=None)
    assert [step.argv for step in found] == [OURS]


@pytest.fixture
def root(monkeypatch):
    monkeypatch.setattr(fixing.os, "geteuid", lambda: 0)


def test_nothing_runs_that_the_user_declines(root, tmp_path):
    asked, made = [], tmp_path / "made"

    def no(text):
        asked.append(text)
        return False

    anyio.run(fix, [finding("a file", ("touch", str(made)))], no, print)
    assert asked == [f"for a file: run `touch {made}`?"]
    assert not made.exists()


def test_a_step_that_fails_is_told_and_the_next_is_tried(root, tmp_path):
    said, made = [], tmp_path / "made"
    findings = [
        finding("x", ("false",)),
        finding("y", ("/no/such/command",)),
        finding("z", ("touch", str(made))),
    ]
    anyio.run(fix, findings, lambda _text: True, said.append)
    assert said == [
        "false ended with status 1: x is not mended",
        "/no/such/command: No such file or directory",
    ]
    assert made.exists()


def test_a_healthy_machine_is_told_so(root):
    said = []
    anyio.run(fix, [finding("a", APT, present=True)], lambda _text: True, said.append)
    assert said == ["nothing that a command could mend is missing"]
