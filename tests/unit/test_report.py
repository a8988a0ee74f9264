"""The page: one file that holds everything, and in which nothing of the evidence becomes markup."""

import base64
import hashlib
import html
import html.parser
import itertools
import json
import re
import shlex

import pytest
from report_examples import EVENTS, MS, ORIGIN, event, write_evidence
from test_report_tracks import logs

from orchestrator.evidence.read import ReadEvidence, read_evidence
from orchestrator.evidence.verdict import Check, Outcome
from orchestrator.report import Figure, render, render_comparison
from orchestrator.report.markup import Markup, tag
from orchestrator.report.sampling import fitting, near
from orchestrator.report.side import EVENT_OCTETS, MOST_MESSAGES, side

HOSTILE = """</script><script>alert(1)</script><img src=x onerror=alert(2)>&"'"""


class Document(html.parser.HTMLParser):
    """What a browser would make of the page: its elements with their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.texts = {}
        self._open = []
        self.feed(text)

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        self._open.append(name)

    def handle_endtag(self, name):
        while self._open and self._open.pop() != name:
            pass

    def handle_data(self, data):
        if self._open:
            self.texts.setdefault(self._open[-1], []).append(data)

    def all(self, name):
        return [attributes for element, attributes in self.elements if element == name]


def page(folder, **changes):
    return render(read_evidence(write_evidence(folder, **changes))).decode()


def data(text):
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(block[1])


def test_the_verdict_its_checks_and_the_interruptions_are_there_without_a_script(tmp_path):
    text = page(tmp_path / "e")
    plain = re.sub(r"<[^>]+>", " ", text.partition("<script")[0])
    for words in ("lost on udp-a-b", "ESP was seen", "100 of 1,000 probes lost", "200.0 ms", "fault.applied"):
        assert words in plain


def test_a_check_links_its_packets_by_number(tmp_path):
    links = [one for one in Document(page(tmp_path / "e")).all("a") if one.get("class") == "packet"]
    assert {"6", "7"} <= {one["data-packet"] for one in links}
    assert {one["href"] for one in links} == {"captures/bridge.pcapng"}


def test_packets_that_a_check_saw_at_a_node_link_to_the_nodes_capture(tmp_path):
    folder = write_evidence(
        tmp_path / "e",
        checks=(
            Check(
                name="agree",
                expected="all",
                measured={"leaving bridge": {"packets": 1, "first": [3], "file": "captures/other.pcapng"}},
                outcome=Outcome.PASS,
            ),
        ),
    )
    links = Document(render(read_evidence(folder)).decode()).all("a")
    assert "captures/other.pcapng" in {one.get("data-file") for one in links}


def test_an_interruption_names_the_packets_meanwhile(tmp_path):
    (interruption,) = data(page(tmp_path / "e"))["sides"][0]["flows"][0]["interruptions"]
    assert (interruption["lost"], interruption["cause"]) == (100, "fault.applied")
    assert interruption["packets"] is None  # no frame of the example falls into it


def test_the_page_loads_nothing_from_elsewhere(tmp_path):
    document = Document(page(tmp_path / "e"))
    named = [
        attributes[name]
        for _, attributes in document.elements
        for name in ("src", "href", "srcset", "action", "data", "poster")
        if name in attributes
    ]
    assert all(re.match(r"#|data:,$|captures/", one) for one in named), named
    style = "".join(document.texts["style"])
    assert "url(" not in style
    assert "@import" not in style


def test_only_the_pages_own_style_and_script_may_run(tmp_path):
    text = page(tmp_path / "e")
    policies = [one for one in Document(text).all("meta") if "http-equiv" in one]
    policy = policies[0]["content"]
    script = text.rpartition("<script>")[2].partition("</script>")[0]
    style = text.partition("<style>")[2].partition("</style>")[0]
    for name, content in (("script-src", script), ("style-src", style)):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{name} 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_hostile_text_stays_text_wherever_it_stands(tmp_path):
    events = [
        *EVENTS,
        event(30, HOSTILE, "fault.applied", rule=HOSTILE),
        event(31, "peer-a", HOSTILE, text=HOSTILE),
    ]
    folder = write_evidence(
        tmp_path / "e",
        events=events,
        scenario=HOSTILE,
        parameters={HOSTILE: HOSTILE},
        checks=(Check(name=HOSTILE, expected=HOSTILE, measured={HOSTILE: HOSTILE}, outcome=Outcome.FAIL),),
        versions={HOSTILE: HOSTILE},
    )
    harmless = Document(page(tmp_path / "other"))
    text = render(read_evidence(folder)).decode()
    document = Document(text)
    assert len(document.all("script")) == len(harmless.all("script")) == 2
    assert document.all("img") == []
    told = [one for one in data(text)["sides"][0]["events"]["shown"] if one["kind"] == HOSTILE]
    assert told[0]["data"] == {"text": HOSTILE}


def test_a_path_stays_a_path_whatever_is_in_it(tmp_path):
    evidence = read_evidence(write_evidence(tmp_path / "e"))
    (evidence.path / "keys").mkdir()
    text = render(read_evidence(evidence.path), base="a b#1?/javascript:alert(1)/").decode()
    links = {one["href"] for one in Document(text).all("a") if one["href"].endswith("pcapng")}
    assert links == {"a%20b%231%3F/javascript%3Aalert%281%29/captures/bridge.pcapng"}
    command = next(line for line in re.findall(r"<code>(.*?)</code>", text) if "wireshark" in line)
    folder = "a b#1?/javascript:alert(1)"
    assert shlex.split(html.unescape(command)) == [
        f"WIRESHARK_CONFIG_DIR={folder}/keys",
        "wireshark",
        "-r",
        f"{folder}/captures/bridge.pcapng",
    ]


def test_markup_escapes_text_and_attributes():
    assert tag("b", "<&", title='"') == '<b title="&quot;">&lt;&amp;</b>'
    assert tag("b", Markup("<i>")) == "<b><i></b>"


def test_a_killed_run_has_a_page_that_says_so(tmp_path):
    text = page(tmp_path / "e", verdict_too=False)
    assert "no verdict" in text
    assert "there is no verdict.json" in text
    (flow,) = data(text)["sides"][0]["flows"]
    assert (flow["sent"], flow["lostTotal"]) == (1000, 100)
    assert len(flow["interruptions"]) == 1


def test_a_run_without_capture_flows_and_events_has_a_page(tmp_path):
    folder = write_evidence(tmp_path / "e", events=[], flow_too=False, flows=())
    (folder / "captures" / "bridge.pcapng").unlink()
    text = render(read_evidence(folder)).decode()
    assert "The evidence is not whole" in text
    assert data(text)["sides"][0]["span"] == [0.0, 1.0]


def test_the_decrypting_command_is_there_where_there_are_keys(tmp_path):
    folder = write_evidence(tmp_path / "e")
    assert "WIRESHARK_CONFIG_DIR" not in render(read_evidence(folder)).decode().partition("<script")[0]
    (folder / "keys").mkdir()
    command = "WIRESHARK_CONFIG_DIR=keys wireshark -r captures/bridge.pcapng"
    assert command in render(read_evidence(folder)).decode()


def test_two_runs_stand_beside_each_other_with_their_difference(tmp_path):
    a = read_evidence(write_evidence(tmp_path / "a"))
    b = read_evidence(write_evidence(tmp_path / "b", outcome=Outcome.PASS, flows=()))
    figures = [Figure(name="median lost", a=100, b=0), Figure(name="median gap", a=1.5, b=3.25, unit=" ms")]
    text = render_comparison(a, b, labels=("stock", "early"), bases=("a/", "b/"), figures=figures).decode()
    plain = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text.partition("<script")[0]))
    assert "median lost 100 0 −100" in plain
    assert "median gap 1.50 ms 3.25 ms +1.75 ms" in plain
    assert [one["label"] for one in data(text)["sides"]] == ["stock", "early"]
    files = {one["data-file"] for one in Document(text).all("a") if "data-file" in one}
    assert files == {"a/captures/bridge.pcapng", "b/captures/bridge.pcapng"}


@pytest.fixture
def an_hour(tmp_path):
    """An hour at 500 probes/s both ways, with a loss every minute, and 14,400 rekeys."""
    small = read_evidence(write_evidence(tmp_path / "e"))
    lost = [number for minute in range(60) for number in range(minute * 30_000, minute * 30_000 + 700)]
    flows = {name: logs(1_800_000, lost=lost) for name in ("udp-a-b", "udp-b-a")}
    sa = {"name": "inner", "spi_in": "c0000000", "spi_out": "c1000000", "local_ts": ["fd00::/64"] * 2}
    events = [
        event(
            number * 250,
            node,
            "child-sa.rekeyed",
            old=sa | {"unique_id": number},
            new=sa | {"unique_id": number + 1},
        )
        for number in range(14_400)
        for node in ("peer-a", "peer-b")
    ]
    values = {name: getattr(small, name) for name in ("path", "run", "capture", "keys", "gaps")}
    return ReadEvidence(verdict=None, flows=flows, events=tuple(events), **values)


def test_the_page_of_an_hour_stays_below_two_megabytes(an_hour):
    assert len(render(an_hour)) < 2_000_000


def test_what_is_left_out_is_counted(an_hour):
    values = side(an_hour, label="an hour")
    assert values["events"]["total"] == 28_800
    assert len(json.dumps(values["events"]["shown"])) <= EVENT_OCTETS
    times = [one["t"] for one in values["events"]["shown"]]
    assert (times[0], times[-1]) == (0.0, 14_399 * 250.0)
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) < 120_000
    assert values["sas"]["total"] > len(values["sas"]["lines"])


def test_what_is_near_an_interruption_or_rare_is_shown_before_other_things():
    events = [{"t": float(t), "kind": "common", "data": "x" * 50} for t in range(0, 1_000_000, 500)]
    events.insert(1000, {"t": 499_999.0, "kind": "rare", "data": ""})
    shown = fitting(events, near([(100_000.0, 102_000.0)]), 20_000)
    assert "rare" in {one["kind"] for one in shown}
    assert [one["t"] for one in shown if 99_000 <= one["t"] <= 103_000] == list(range(99_000, 103_001, 500))
    assert len(json.dumps(shown)) < 22_000
    assert shown == sorted(shown, key=lambda one: one["t"])


def test_of_too_many_messages_the_repeated_ones_stay(tmp_path):
    from report_examples import A, B, capture_bytes, ike, udp

    frames = [
        (number, udp(A, B, ike(32, number + 1, flags=1, first=8, body=b"x" * 8)))
        for number in range(MOST_MESSAGES * 2)
    ]
    frames.insert(1000, (1000, frames[999][1]))
    evidence = read_evidence(write_evidence(tmp_path / "e", capture=capture_bytes(frames)))
    ladder = side(evidence, label="")["ladder"]
    assert ladder["total"] == MOST_MESSAGES * 2 + 1
    assert len(ladder["messages"]) <= MOST_MESSAGES
    assert [one["again"] for one in ladder["messages"] if "again" in one] == [1000]


def test_times_are_milliseconds_since_the_run_began(tmp_path):
    values = side(read_evidence(write_evidence(tmp_path / "e")), label="")
    assert values["ladder"]["messages"][0]["t"] == 10.0
    assert values["events"]["shown"][-1]["t"] == 4025.0
    assert values["traffic"][0] == (ORIGIN + 1000 * MS - ORIGIN) / MS
