"""Owns a run and says how far it is: ``python docker_owner.py PLAN [--detach]``, the plan as JSON.

It says ``starting``, ``call N`` at its N-th call to the engine, ``up`` when the run is up, and then
waits for the end of its standard input before it takes the run down. With --detach it leaves the run up.
"""

import itertools
import sys

import anyio

from orchestrator.runtimes.docker.engine import Engine
from orchestrator.runtimes.docker.runtime import DockerRuntime
from orchestrator.runtimes.plan_json import plan_from_json

run_a_call = Engine.run
numbers = itertools.count(1)


async def counted(self, call):
    print("call", next(numbers), flush=True)
    return await run_a_call(self, call)


async def main(document: str, detach: bool) -> None:
    Engine.run = counted
    print("starting", flush=True)
    runtime = DockerRuntime(detached=detach)
    try:
        await runtime.bring_up(plan_from_json(document), lambda event: None)
        if detach:
            await runtime.detach()
        print("up", flush=True)
        if not detach:
            await anyio.to_thread.run_sync(sys.stdin.read)
    finally:
        if not detach:
            await runtime.take_down()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], "--detach" in sys.argv)
