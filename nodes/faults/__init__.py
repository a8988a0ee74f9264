"""The fault engine of one node: ``python -m nodes.faults``.

What decides is without I/O: :mod:`~nodes.faults.messages` reads IKE headers, :mod:`~nodes.faults.exchanges`
numbers the messages of an exchange, :mod:`~nodes.faults.grammar` reads rules, :mod:`~nodes.faults.matching`
finds the rule for a message and :mod:`~nodes.faults.engine` says what becomes of the packet. Around them,
:mod:`~nodes.faults.detour` leads IKE packets, and only these, into a queue of the kernel, which
:mod:`~nodes.faults.queue` serves.
"""
