"""From the words of a command line to a run, and back to the command that runs it again."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Sequence
from pathlib import Path

from orchestrator.scenarios.catalogue import find
from orchestrator.scenarios.runner import Run
from orchestrator.topology.plan import Dad, Dataplane


@dataclasses.dataclass(frozen=True, kw_only=True)
class Words:
    """What the options of ``run`` and ``ab`` say."""

    given: Sequence[str]
    faults: Sequence[str]
    impairments: Sequence[str]
    seed: int | None
    file: Path
    runtime: str
    dad: str
    dataplane: str
    keys: bool

    def run(self, scenario: str, out: Path, *more: str) -> Run:
        """The run of a scenario with these words, and ``more`` parameters.

        Raises:
            UsageError: there is no such scenario.
            ParameterError: a parameter is wrong.
        """
        found = find(scenario)
        given = [*self.given, *more]
        seed = secrets.randbits(32) if self.seed is None else self.seed
        return Run(
            scenario=found,
            parameters=found.parse(given),
            out=out,
            seed=seed,
            command=self._command(scenario, given, seed),
            faults=tuple(self.faults),
            impairments=tuple(self.impairments),
            file=self.file,
            runtime=self.runtime,
            dad=Dad(self.dad),
            dataplane=Dataplane(self.dataplane),
            keys=self.keys,
        )

    def _command(self, scenario: str, given: Sequence[str], seed: int) -> tuple[str, ...]:
        words = ["hopbed", "run", scenario]
        for word in given:
            words += ["-p", word]
        for rule in self.faults:
            words += ["--fault", rule]
        for impairment in self.impairments:
            words += ["--impair", impairment]
        words += ["--seed", str(seed), "--file", str(self.file), "--runtime", self.runtime]
        words += ["--dad", self.dad, "--dataplane", self.dataplane]
        return (*words, "--keys") if self.keys else tuple(words)
