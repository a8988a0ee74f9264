"""``pytest --stock-kernel``: a run in which something was not tried does not pass."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
CONFTEST = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
import stock_kernel
from orchestrator.doctor.finding import Finding, Need

async def tried(present):
    return Finding(name="", purpose="", need=Need.OPTIONAL, present=present, detail="tried", lost="", mend="")

stock_kernel.FEATURES = {{"there": lambda: tried(True), "lacking": lambda: tried(False)}}

def pytest_configure(config):
    config.addinivalue_line("markers", "stock_kernel(*features)")
    config.addinivalue_line("markers", "docker")
    config.pluginmanager.register(stock_kernel.StockKernel())
"""


@pytest.fixture
def outcome(tmp_path):
    """Run a module of tests with the plugin: the status, and what passed, failed and was skipped."""
    (tmp_path / "conftest.py").write_text(CONFTEST)

    def outcome(module):
        (tmp_path / "test_it.py").write_text(f"import pytest\nstock = pytest.mark.stock_kernel\n{module}")
        line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
        said = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
        last = said.stdout.splitlines()[-1]
        counts = {
            word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|error|skipped)", last)
        }
        return said.returncode, counts, said.stdout

    return outcome


def test_what_a_marker_names_is_there_and_the_test_passes(outcome):
    assert outcome('@stock("there")\ndef test_it(): pass')[:2] == (0, {"passed": 1})


def test_what_a_marker_names_is_lacking_and_the_test_fails(outcome):
    status, counts, said = outcome('@stock("there", "lacking")\ndef test_it(): pass')
    assert (status, counts) == (1, {"error": 1})
    assert "this kernel has no lacking: tried" in said


@pytest.mark.parametrize(
    ("skipping", "how"),
    [
        ('def test_it(): pytest.skip("why")', "failed"),
        ('@pytest.mark.skip("why")\ndef test_it(): pass', "error"),
    ],
)
def test_a_test_that_is_skipped_fails(outcome, skipping, how):
    status, counts, said = outcome(f"@stock()\n{skipping}")
    assert (status, counts) == (1, {how: 1})
    assert "may not be skipped here: why" in said


def test_others_and_those_that_need_an_engine_are_left_out(outcome):
    others = "def test_another(): pass\n@pytest.mark.docker\n@stock()\ndef test_docker(): pass"
    assert outcome(f"@stock()\ndef test_it(): pass\n{others}")[:2] == (0, {"passed": 1})


def test_where_no_test_is_marked_the_run_fails(outcome):
    assert outcome("def test_another(): pass")[0] == pytest.ExitCode.NO_TESTS_COLLECTED
