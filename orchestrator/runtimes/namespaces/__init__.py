"""The embedded runtime: each node has its own network, mount, UTS, IPC and PID namespaces.

One supervisor is process 1 of the run's PID namespace, so that the kernel itself takes every process,
interface and mount of a run away when it ends, whatever ends it. No trace of a run is ever written
outside its own mount namespace, save the evidence that the user asked for.
"""
