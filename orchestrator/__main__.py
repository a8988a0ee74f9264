"""``python -m orchestrator`` is ``hopbed``."""

from orchestrator.cli import main

main()
