"""``pytest --stock-kernel``: the tests marked ``stock_kernel``, on a kernel that has what they are to prove.

Such a test is skipped where the kernel lacks something, or takes another way. So here none may be skipped,
and each fails where the kernel lacks what its marker names.
"""

import anyio
import pytest

from orchestrator.doctor import probes

FEATURES = {"kernel ESP": probes.kernel_esp, "netem": probes.netem, "nft queue": probes.nft_queue}
"""What a marker may name, and how it is tried."""


class StockKernel:
    """The plugin that the option registers."""

    def __init__(self):
        self._found = {}

    def pytest_collection_modifyitems(self, config, items):
        marked = [item for item in items if item.get_closest_marker("stock_kernel")]
        marked = [item for item in marked if not item.get_closest_marker("docker")]  # no engine runs there
        config.hook.pytest_deselected(items=[item for item in items if item not in marked])
        items[:] = marked

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item):
        for name in {name for marker in item.iter_markers("stock_kernel") for name in marker.args}:
            if name not in self._found:
                self._found[name] = anyio.run(FEATURES[name])
            if not self._found[name].present:
                pytest.fail(f"this kernel has no {name}: {self._found[name].detail}", pytrace=False)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = yield
        if report.skipped and not hasattr(report, "wasxfail"):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} may not be skipped here: {call.excinfo.value}"
        return report
