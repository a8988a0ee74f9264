"""The program ``python -m nodes.esp START``; see :mod:`nodes.esp.program`."""

from __future__ import annotations

from nodes.esp.program import main
from nodes.program import run

if __name__ == "__main__":
    run(main)
