"""Which runtime a run takes: the one that was named, or Docker where an engine answers, else namespaces."""

from __future__ import annotations

from nodes import errors
from orchestrator.runtimes.base import RunRecord, Runtime
from orchestrator.runtimes.docker.listening import engine_answers

AUTO = "auto"
NAMES = ("namespaces", "docker")


def runtime_type(name: str) -> type[Runtime]:
    """The runtime called ``name``; each is imported only when it is used, for Docker's SDK is slow to load.

    Raises:
        UsageError: there is none of that name.
    """
    if name == "namespaces":
        from orchestrator.runtimes.namespaces.runtime import NamespacesRuntime

        return NamespacesRuntime
    if name == "docker":
        from orchestrator.runtimes.docker.runtime import DockerRuntime

        return DockerRuntime
    raise errors.UsageError(f"no runtime {name!r}; there are {AUTO}, {', '.join(NAMES)}")


async def choose(name: str) -> type[Runtime]:
    """The runtime called ``name``, where ``auto`` is Docker if an engine answers.

    Raises:
        UsageError: there is none of that name.
    """
    if name == AUTO:
        name = "docker" if await engine_answers() else "namespaces"
    return runtime_type(name)


async def all_runs() -> list[RunRecord]:
    """The runs of this user that are up, in every runtime that this machine has."""
    found = await runtime_type("namespaces").runs()
    if await engine_answers():
        found += await runtime_type("docker").runs()
    return found


async def find_run(run_id: str | None) -> RunRecord:
    """The run whose id begins with ``run_id``; without one, the only run that was left up.

    Raises:
        UsageError: there is none, or more than one.
    """
    runs = [run for run in await all_runs() if run.run_id.startswith(run_id or "")]
    if not run_id:  # a scenario that runs elsewhere is not meant
        runs = [run for run in runs if run.detached] or runs
    if len(runs) == 1:
        return runs[0]
    which = f"whose id begins with {run_id}" if run_id else "at all"
    if not runs:
        raise errors.UsageError(f"no run {which} is up; `hopbed up` starts one")
    ids = ", ".join(run.run_id for run in runs)
    raise errors.UsageError(f"{len(runs)} runs are up ({ids}); say which with --run")
