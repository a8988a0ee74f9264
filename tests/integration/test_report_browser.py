"""The report in a real headless Chromium."""

import re
import shlex
import subprocess

import pytest
from headless_chromium import headless_page
from machine import hopbed
from report_examples import EVENTS, FRAMES, event, write_evidence

from orchestrator.evidence.read import read_evidence
from orchestrator.report import render, render_comparison

HOSTILE = """</script><script>document.title='owned'</script><img src=x onerror="document.title='owned'">"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with headless_page(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture
def desktop(page):
    """The page at a desktop's size, with what went wrong forgotten."""
    page.emulate()
    page.errors.clear()
    page.requests.clear()
    return page


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The evidence of a real run."""
    out = tmp_path_factory.mktemp("run") / "evidence"
    words = ("-p", "ike=1", "-p", "pfs=true", "-p", "count=2", "--runtime", "namespaces", "--out", str(out))
    hopbed("run", "rekey", *words, check=0)
    (out / "page.html").write_bytes(render(read_evidence(out)))
    return out


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """A small folder with a fault, a retransmission and an interruption."""
    return rendered(write_evidence(tmp_path_factory.mktemp("example") / "evidence"))


@pytest.fixture(scope="module")
def hopping(tmp_path_factory):
    """A small folder with three hops of an end of its flow, the last of which came to nothing."""
    events = [*EVENTS]
    for number in (1, 2):
        start = 400 * number
        events.append(event(start, "peer-a", "hop.started", hop=number, first="fd00::1", second="fd00::2"))
        phases = {"asked": 2, "prepared": 20.5, "switched": 30, "closed": 90}
        closed = {"first": "fd00::1", "second": "fd00::2", "phases_ms": phases, "outcomes": {"hopped": 1}}
        events.append(event(start + 90, "peer-a", "hop.closed", hop=number, **closed))
    events.append(event(1300, "peer-a", "hop.started", hop=3, first="fd00::2", second="fd00::3"))
    events.append(event(1320, "peer-a", "hop.failed", hop=3, first="fd00::2", reason="fd00::3 is in use"))
    return rendered(write_evidence(tmp_path_factory.mktemp("hopping") / "evidence", events=events))


def rendered(folder):
    (folder / "page.html").write_bytes(render(read_evidence(folder)))
    return folder


def window(page):
    """The time that the first timeline shows, in seconds."""
    text = page.text(".window")
    start, end = re.match(r"([-\d.]+) s to ([-\d.]+) s", text).groups()
    return float(start), float(end)


def isakmp(run):
    """The numbers of the IKE packets on the bridge, as tshark has them."""
    words = ["-Y", "isakmp", "-T", "fields", "-e", "frame.number"]
    read = subprocess.run(
        ["tshark", "-r", run / "captures" / "bridge.pcapng", *words],
        capture_output=True,
        text=True,
        check=True,
    )
    return read.stdout.split()


def test_it_opens_without_an_error_and_asks_for_nothing(desktop, run):
    desktop.open(run / "page.html")
    assert desktop.errors == []
    assert desktop.requests == [(run / "page.html").as_uri()]
    assert desktop.value("document.documentElement.dataset.ready") == "true"
    assert "pass" in desktop.text("h1")


def test_the_ladder_shows_the_exchange_packet_by_packet(desktop, run):
    desktop.open(run / "page.html")
    quick = [f"Quick Mode {number}" for number in (1, 2, 3)]
    expected = [f"Main Mode {number}" for number in range(1, 7)] + quick * 3
    assert desktop.texts(".message .says b") == expected
    assert desktop.texts(".message .which a") == [f"#{number}" for number in isakmp(run)]
    assert desktop.texts(".lanes b") == ["peer-a", "peer-b"]


def test_a_message_opens_to_its_fields(desktop, run):
    desktop.open(run / "page.html")
    desktop.click(".message .says b")
    cookie = desktop.value("document.querySelector('.message[open] dl code').textContent")
    with_it = subprocess.run(
        ["tshark", "-r", run / "captures" / "bridge.pcapng", "-Y", f"isakmp.ispi == {cookie}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(with_it.stdout.splitlines()) == len(isakmp(run))


def test_the_command_that_a_packet_names_shows_that_packet(desktop, run):
    desktop.open(run / "page.html")
    desktop.click(".message .which a")
    assert desktop.value("document.getElementById('inspector').open")
    command = desktop.texts("#inspector code")[2]
    number = isakmp(run)[0]
    assert shlex.split(command)[-3:] == ["-Y", f"frame.number == {number}", "-V"]
    shown = subprocess.run(shlex.split(command), cwd=run, capture_output=True, text=True, check=True)
    assert shown.stdout.startswith(f"Frame {number}:")
    assert "Internet Security Association" in shown.stdout


@pytest.mark.parametrize(("key", "factor"), [("+", 0.5), ("-", 2)])
def test_the_keyboard_magnifies(desktop, run, key, factor):
    desktop.open(run / "page.html")
    desktop.click("button[aria-label='Magnify']")  # so that there is room on both sides
    desktop.value("document.querySelector('.chart').focus()")
    start, end = window(desktop)
    desktop.press(key)
    new_start, new_end = window(desktop)
    assert new_end - new_start == pytest.approx((end - start) * factor, rel=0.05)
    desktop.press("0")
    assert window(desktop)[1] - window(desktop)[0] > end - start


def test_the_arrow_keys_move(desktop, run):
    desktop.open(run / "page.html")
    desktop.click("button[aria-label='Magnify']")
    desktop.value("document.querySelector('.chart').focus()")
    start, end = window(desktop)
    desktop.press("ArrowRight")
    new_start, new_end = window(desktop)
    assert new_start > start
    assert new_end - new_start == pytest.approx(end - start, rel=0.05)


def test_the_wheel_with_ctrl_magnifies_and_a_drag_moves(desktop, run):
    desktop.open(run / "page.html")
    box = desktop.box(".chart")
    x, y = box["x"] + box["width"] / 2, box["y"] + 60
    start, end = window(desktop)
    desktop.mouse("mouseWheel", x, y, deltaX=0, deltaY=-120, modifiers=2)
    desktop.settle()
    near_start, near_end = window(desktop)
    assert near_end - near_start < (end - start) * 0.9
    desktop.drag((x, y), (x - 150, y))
    moved_start, moved_end = window(desktop)
    assert moved_start > near_start
    assert moved_end - moved_start == pytest.approx(near_end - near_start, rel=0.05)


def test_a_plain_wheel_scrolls_the_page(desktop, run):
    desktop.open(run / "page.html")
    box = desktop.box(".chart")
    before = window(desktop)
    desktop.mouse("mouseWheel", box["x"] + 200, box["y"] + 60, deltaX=0, deltaY=120)
    desktop.settle()
    assert window(desktop) == before


def test_shift_and_drag_show_what_was_selected(desktop, run):
    desktop.open(run / "page.html")
    box = desktop.box(".chart")
    start, end = window(desktop)
    left, y = box["x"] + box["width"] * 0.4, box["y"] + 60
    desktop.drag((left, y), (left + box["width"] * 0.2, y), modifiers=8)
    new_start, new_end = window(desktop)
    assert start < new_start < new_end < end
    assert new_end - new_start == pytest.approx((end - start) * 0.2, rel=0.15)


def test_an_interruption_is_shown_on_request_with_its_loss(desktop, example):
    desktop.open(example / "page.html")
    desktop.click("button[data-zoom]")
    start, end = window(desktop)
    assert 1.2 < start < 1.40025 < 1.60025 < end < 1.8
    assert desktop.texts("[data-interruption] title") == ["100 probes lost in 200 ms\nafter fault.applied"]
    assert desktop.texts("svg .tell") == ["100 lost · 200 ms"]


def test_faults_and_retransmissions_stand_in_their_place(desktop, example):
    desktop.open(example / "page.html")
    rows = desktop.texts(".ladder [role=listitem]")
    fault = next(index for index, row in enumerate(rows) if "✕ drop quick-mode 3" in row and "#" not in row)
    again = next(index for index, row in enumerate(rows) if "repeats #5 after 4.00 s" in row)
    third = next(index for index, row in enumerate(rows) if "Quick Mode 3" in row)
    assert third < fault < again
    assert "✕ drop" in desktop.texts(".message .badge")[0]


def test_hops_stand_on_the_timeline_with_their_phases_and_on_the_flows_as_marks(desktop, hopping):
    desktop.open(hopping / "page.html")
    desktop.click("button[title='Show the whole run']")
    assert desktop.errors == []
    first, _, last = desktop.value(
        "[...document.querySelectorAll('[data-hop] title')].map(e => e.textContent)"
    )
    assert first.startswith("Hop 1 of peer-a")
    for told in ("fd00::1 → fd00::2", "prepared after 20.5 ms", "switched after 30.0 ms", "1 service hopped"):
        assert told in first
    assert "came to nothing: fd00::3 is in use" in last
    assert desktop.value("document.querySelectorAll('.hop-mark').length") == 2


def test_events_are_filtered_by_words_and_kinds(desktop, example):
    desktop.open(example / "page.html")
    assert len(desktop.texts(".event")) == len(EVENTS)
    desktop.click(".filters input")
    for letter in "rekeyed":
        desktop.press(letter)
    assert desktop.texts(".event .kind") == ["child-sa.rekeyed"]
    desktop.value("document.querySelector('.filters input').value = ''")
    desktop.value("document.querySelector('.filters input').dispatchEvent(new Event('input'))")
    desktop.value(
        "[...document.querySelectorAll('.filters button')].find(b => b.textContent == 'fault').click()"
    )
    assert desktop.texts(".event .kind") == ["fault.applied"]


def test_the_flows_show_delay_or_rate(desktop, example):
    desktop.open(example / "page.html")
    drawn = (
        "document.querySelectorAll('svg .area').length + ' ' + document.querySelectorAll('svg .rate').length"
    )
    assert desktop.value(drawn) == "1 0"
    desktop.click("button[data-what=rate]")
    assert desktop.value(drawn) == "0 1"


def test_it_is_light_or_dark_as_the_system_is_and_as_one_chooses(desktop, run):
    colour = "getComputedStyle(document.body).backgroundColor"
    found = {}
    for scheme in ("light", "dark"):
        desktop.emulate(scheme=scheme)
        desktop.open(run / "page.html")
        found[scheme] = desktop.value(colour)
    assert found["light"] != found["dark"]
    desktop.click("#theme")
    assert desktop.value(colour) == found["light"]


@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("which", ["run", "example", "hopping"])
def test_nothing_is_wider_than_the_window(desktop, which, width, request):
    folder = request.getfixturevalue(which)
    desktop.emulate(width=width, height=740, touch=width < 700)
    desktop.open(folder / "page.html")
    assert desktop.value("document.documentElement.scrollWidth") <= width
    assert desktop.value("document.querySelector('.chart svg').getBoundingClientRect().right") <= width


def test_two_runs_stand_beside_each_other_and_are_magnified_together(desktop, run, example, tmp_path):
    labels, bases = ("ike=1", "example"), ("../a/", "../b/")
    compared = render_comparison(read_evidence(run), read_evidence(example), labels=labels, bases=bases)
    (tmp_path / "page.html").write_bytes(compared)
    desktop.open(tmp_path / "page.html")
    assert desktop.errors == []
    widths = "[...document.querySelectorAll('.window')].map(e => e.textContent.match(/\\((.*)\\)/)[1])"
    before = desktop.value(widths)
    desktop.click("button[aria-label='Magnify']")
    after = desktop.value(widths)
    assert before[0] == before[1] != after[0] == after[1]
    left, right = (desktop.box(f"#timeline-{side}") for side in (0, 1))
    assert left["x"] + left["width"] <= right["x"]
    desktop.emulate(width=360, height=740, touch=True)
    desktop.open(tmp_path / "page.html")
    assert desktop.value("document.documentElement.scrollWidth") <= 360


def test_hostile_evidence_runs_nothing(desktop, tmp_path):
    events = [
        *EVENTS,
        event(40, HOSTILE, "fault.applied", rule=HOSTILE, action=HOSTILE),
        event(41, "peer-a", f"child-sa.{HOSTILE}", name=HOSTILE, unique_id=HOSTILE, spi_in=HOSTILE),
        event(42, HOSTILE, "address.added", address=HOSTILE),
    ]
    folder = write_evidence(
        tmp_path / "evidence", events=events, scenario=HOSTILE, versions={HOSTILE: HOSTILE}
    )
    desktop.open(rendered(folder) / "page.html")
    assert desktop.value("document.title") != "owned"
    assert desktop.value("document.querySelectorAll('img').length") == 0
    assert desktop.errors == []
    assert any(HOSTILE in row for row in desktop.texts(".ladder [role=listitem]"))


def test_a_page_that_gained_a_script_does_not_run_it(desktop, example):
    """The second line of defence: the page's policy names its own script by its digest."""
    text = (example / "page.html").read_text()
    gained = text.replace("<main>", "<main><script>document.title='owned'</script>")
    assert gained != text
    (example / "gained.html").write_text(gained)
    desktop.open(example / "gained.html")
    assert desktop.value("document.title") != "owned"
    assert any("Content Security Policy" in error for error in desktop.errors)


def test_every_part_of_the_timeline_has_words_for_it(desktop, example):
    desktop.open(example / "page.html")
    told = desktop.value("document.querySelector('.chart svg').getAttribute('aria-label')")
    assert "udp-a-b: 100 of 1,000 lost, 1 interruption" in told
    headings = desktop.texts("h1, h2")
    assert headings[1:] == ["Checks", "Flows", "Timeline", "IKE ladder", "SAs", "Events", "What was run"]
    nameless = "[...document.querySelectorAll('button')].filter(b => !b.textContent && !b.ariaLabel).length"
    assert desktop.value(nameless) == 0


def test_the_capture_of_the_example_is_one_that_tshark_reads(example):
    """What the other tests show are packets to others too."""
    read = subprocess.run(
        ["tshark", "-r", example / "captures" / "bridge.pcapng"], capture_output=True, text=True, check=True
    )
    assert len(read.stdout.splitlines()) == len(FRAMES)
