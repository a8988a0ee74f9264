"""Method 2: after an abnormal negotiation both sides fall silent for a set time (docs/ike-abnormality.md).

A pure core: no socket and no clock of its own. The guard beside charon (:mod:`nodes.peer.guard`) and the
IKEv1 endpoint (:mod:`nodes.ike`) put it into effect.
"""
