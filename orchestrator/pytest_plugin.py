"""Fixtures: a user's own scenario is an ordinary pytest test.

::

    import pytest
    from orchestrator.pytest_plugin import on_testbed

    pytestmark = pytest.mark.anyio

    @on_testbed("compose.yaml", nodes=("peer-a", "peer-b"))
    async def test_it_carries(testbed):
        await testbed.node("peer-a").exec(["ping", "-c", "1", "peer-b"])

    async def test_stock_rekeys_lose_nothing(play):
        verdict = await play("rekey", ike="2", count=3)
        assert verdict.outcome == "pass"

``--hopbed-runtime`` chooses the runtime (``auto``, ``namespaces``, ``docker``); evidence goes to the test's
``tmp_path``.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from orchestrator.evidence.verdict import Verdict
    from orchestrator.testbed import Testbed

_MARK = "hopbed_testbed"


def on_testbed(file: str | Path = "compose.yaml", **settings: Any) -> pytest.MarkDecorator:
    """Which testbed the fixture :func:`testbed` brings up; ``settings`` as of ``Testbed.from_compose``."""
    mark: pytest.MarkDecorator = getattr(pytest.mark, _MARK)(file, **settings)
    return mark


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--hopbed-runtime``."""
    parser.getgroup("hopbed").addoption(
        "--hopbed-runtime",
        default="auto",
        choices=("auto", "namespaces", "docker"),
        help="where testbeds run (default: auto)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark of :func:`on_testbed` known."""
    config.addinivalue_line("markers", f"{_MARK}(file, **settings): which testbed the fixture brings up")


@pytest.fixture
def hopbed_runtime(request: pytest.FixtureRequest) -> str:
    """The runtime that ``--hopbed-runtime`` names; override it to choose another way."""
    return str(request.config.getoption("--hopbed-runtime"))


@pytest.fixture
async def testbed(
    request: pytest.FixtureRequest, hopbed_runtime: str, tmp_path: Path
) -> AsyncIterator[Testbed]:
    """A testbed that is up for the test, by default the one of ``compose.yaml``; see :func:`on_testbed`."""
    from orchestrator.testbed import Testbed

    mark = request.node.get_closest_marker(_MARK)
    file, settings = (mark.args[0], dict(mark.kwargs)) if mark else ("compose.yaml", {})
    settings.setdefault("log_dir", tmp_path)
    async with Testbed.from_compose(file, runtime=hopbed_runtime, **settings) as bed:
        yield bed


Play = Callable[..., Awaitable["Verdict"]]


@pytest.fixture
def play(hopbed_runtime: str, tmp_path: Path) -> Play:
    """``await play(SCENARIO, **parameters)`` runs a scenario and returns its verdict.

    Its evidence is in ``tmp_path / SCENARIO``, or in ``out``; ``file`` names another compose file.
    """
    from orchestrator.events import EventStream
    from orchestrator.scenarios.catalogue import find
    from orchestrator.scenarios.runner import Run, run

    async def play(
        scenario: str, *, out: Path | None = None, file: str | Path = "compose.yaml", **parameters: Any
    ) -> Verdict:
        found = find(scenario)
        asked = Run(
            scenario=found,
            parameters=found.validate(parameters),
            out=out or tmp_path / scenario,
            seed=secrets.randbits(32),
            command=(),
            file=Path(file),
            runtime=hopbed_runtime,
        )
        return await run(asked, EventStream())

    return play
