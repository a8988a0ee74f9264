import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st
from verdict_examples import check, some_verdict

from orchestrator.evidence.junit import junit
from orchestrator.evidence.verdict import Check, Outcome

PASS, FAIL, INCONCLUSIVE, ERROR = Outcome


def test_junit_has_one_case_a_check():
    checks = (check(PASS, "p"), check(FAIL, "f"), check(INCONCLUSIVE, "i"), check(ERROR, "e"))
    text = junit(some_verdict(checks=checks), started="2026-01-01T00:00:00.000+00:00", duration_s=12.5)
    suite = ET.fromstring(text).find("testsuite")
    assert {key: suite.get(key) for key in ("name", "tests", "failures", "errors", "skipped", "time")} == {
        "name": "hopbed.rekey",
        "tests": "4",
        "failures": "1",
        "errors": "2",
        "skipped": "0",
        "time": "12.500",
    }
    cases = {case.get("name"): [child.tag for child in case] for case in suite.findall("testcase")}
    assert cases == {"p": [], "f": ["failure"], "i": ["error"], "e": ["error"]}
    assert suite.find("testcase/failure").get("message") == "expected 0, measured 1"
    assert suite.find("testcase/error").get("type") == "inconclusive"
    assert suite.find("properties/property[@name='seed']").get("value") == "7"
    assert suite.find("properties/property[@name='parameter.pfs']").get("value") == "true"


@given(name=st.text(), measured=st.recursive(st.text() | st.none(), lambda v: st.dictionaries(st.text(), v)))
def test_junit_is_xml_whatever_a_check_says(name, measured):
    said = Check(name=name, expected="x", measured=measured, outcome=FAIL)
    text = junit(some_verdict(checks=(said,)), started="", duration_s=0)
    assert len(ET.fromstring(text).findall("testsuite/testcase/failure")) == 1
