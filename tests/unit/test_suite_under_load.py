"""What runs of the suite under load came to, as its tool reads and shows it."""

from under_load import SuiteRun, read_report, table_of

REPORT = """<?xml version="1.0"?>
<testsuites><testsuite>
<testcase classname="tests.integration.test_a" name="test_good" />
<testcase classname="tests.integration.test_a" name="test_bad[docker]"><failure message="no" /></testcase>
<testcase classname="tests.integration.test_a" name="test_bad[docker]"><error message="nor" /></testcase>
<testcase classname="tests.integration.docker.test_b" name="test_broken"><error message="no" /></testcase>
<testcase classname="tests.integration.test_a" name="test_elsewhere"><skipped message="no ESP" /></testcase>
</testsuite></testsuites>"""

BAD = "tests/integration/test_a.py::test_bad[docker]"


def test_failures_and_errors_of_a_report_are_named_once():
    assert read_report(REPORT) == (1, 1, ["tests/integration/docker/test_b.py::test_broken", BAD])


def test_the_table_has_every_run_and_how_often_each_test_failed():
    runs = [SuiteRun("abc", 600, 4.2, 10, 1, [BAD]), SuiteRun("abc", 660, 5.0, 11, 1, [])]
    assert table_of(runs).splitlines()[2:] == [
        "| 1 | abc | 10 | 4 | 10 | 1 | 1 |",
        "| 2 | abc | 11 | 5 | 11 | 1 | 0 |",
        "",
        "| test | failed, of 2 runs |",
        "|---|---|",
        f"| `{BAD}` | 1 |",
    ]


def test_without_a_failure_there_is_no_table_of_them():
    assert "failed, of" not in table_of([SuiteRun("abc", 600, 4.2, 10, 1, [])])
