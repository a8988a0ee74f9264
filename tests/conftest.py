"""What every test shares."""

import tempfile
from pathlib import Path

import pytest
from alone import Place
from stock_kernel import StockKernel

_PLACES = "places"
_FOLDER = pytest.StashKey[str]()
_PLACE = pytest.StashKey[Place]()


@pytest.fixture
def anyio_backend():
    return "asyncio"


def pytest_addoption(parser):
    parser.addoption(
        "--stock-kernel",
        action="store_true",
        help="only the tests marked stock_kernel, none of which may be skipped (make test-kernel)",
    )


def pytest_configure(config):
    """Who starts workers makes the folder in which they agree on who runs."""
    if config.getoption("stock_kernel"):
        config.pluginmanager.register(StockKernel())
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        folder = tempfile.TemporaryDirectory(prefix="hopbed-tests-")
        config.add_cleanup(folder.cleanup)
        config.stash[_FOLDER] = folder.name
    if _PLACES in getattr(config, "workerinput", {}):
        config.stash[_PLACE] = place = Place(Path(config.workerinput[_PLACES]))
        config.add_cleanup(place.close)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    node.workerinput[_PLACES] = node.config.stash[_FOLDER]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    """Wait for this test's place; outside its time limit, for how long depends on others."""
    place = item.config.stash.get(_PLACE, None)
    if place is None:
        return (yield)
    place.take(alone=_alone(item))
    try:
        return (yield)
    finally:
        place.leave(keep=_alone(item) and _alone(nextitem))


def _alone(item):
    return item is not None and item.get_closest_marker("alone") is not None
