"""The short form of ``python -m tests.fuzz.terminal_messages``."""

from __future__ import annotations

from random import Random

import pytest

from tests.fuzz.terminal_messages import Inputs, fuzz_core, fuzz_parsers


@pytest.mark.parametrize("seed", [1, 2])
def test_hostile_octets_are_values_or_format_errors(seed):
    results = fuzz_parsers(Inputs(Random(seed)), 4000)
    assert results["decode: a value"] > 50
    assert results["option_data: a value"] > 50


@pytest.mark.parametrize("seed", [1, 2])
def test_hostile_messages_leave_a_core_bounded_and_its_hops_end(seed):
    results = fuzz_core(Inputs(Random(seed)), 4000)
    assert results["taken"] > 50
    assert results["dropped: wrong MAC"] > 50
