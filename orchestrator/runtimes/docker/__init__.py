"""The docker runtime: the nodes are containers on a bridge network of Docker's.

Import what you need from its modules: the package itself imports nothing, for the watcher and the leash
start from it and must be quick.
"""
