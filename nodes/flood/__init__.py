"""A flood of forged first messages of IKE, from source addresses that are nobody's.

``python -m nodes.flood START`` runs in a node that is no end of the negotiation and is a program under the
contract of :mod:`nodes.program`; START is :class:`nodes.flood.start.Start` as JSON. It sends ``count``
messages at ``rate``, each of an IKE SA and from an address of its own, says ``done`` with how many it
sent, and ends. Each message is well-formed and proposes what our peers accept, so that a receiver has to
take it seriously; nobody ever answers what the receiver sends back.
"""
