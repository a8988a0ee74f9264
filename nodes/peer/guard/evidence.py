"""What in charon's log says that a negotiation is abnormal. No I/O.

The log is the only complete sign that strongSwan 5.9 gives: VICI's ``alert`` events begin with 6.0.3, and
neither they nor the error-notify socket tell of what the partner refused. The lines here were recorded from
5.9.8 (tests/data/charon-abnormal) and compared with the source of 6.0.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import NamedTuple

from nodes.abnormality.machine import Side
from nodes.abnormality.remembered import remember

MOST_TEXT = 200
"""Characters of a log line that are kept: a partner has a hand in what stands there."""


class Evidence(NamedTuple):
    """A negotiation was abnormal.

    Attributes:
        reason: what was, in the words of :data:`nodes.abnormality.message.REASONS` or ``refused``,
            ``no-answer``.
        side: the part that this node played in the exchange; None where the log has not said: then the one
            that it has in the IKE SA.
        readable: the sender can read charon's own notify, or there is nobody to tell.
        text: charon's words.
        ike_id: the IKE SA in which it was; None where charon made none.
        partner: the partner's address where the line has it.
    """

    reason: str
    side: Side | None
    readable: bool
    text: str
    ike_id: int | None = None
    partner: str | None = None


class _Rule(NamedTuple):
    line: re.Pattern[str]
    reason: str
    side: Side | None = None
    readable: bool = True


def _rule(line: str, reason: str, side: Side | None = None, *, readable: bool = True) -> _Rule:
    return _Rule(re.compile(line), reason, side, readable)


_S, _R = Side.SENDER, Side.RECEIVER

_TELLING = (
    _rule(r"^no IKE config found for .+\.\.\.", "unknown-peer", _R),
    _rule(r"^no proposal found$", "ike-proposal", _R),
    _rule(r"^received proposals unacceptable$", "ike-proposal", _R),
    _rule(r"^no matching proposal found, sending ", "esp-proposal", _R),
    _rule(r"^no acceptable proposal found$", "esp-proposal"),
    _rule(r"^no matching CHILD_SA config found for ", "traffic-selector", _R),
    _rule(r"^traffic selectors .+ unacceptable$", "traffic-selector"),
    _rule(r"^no acceptable traffic selectors found$", "traffic-selector"),
    _rule(r"^no (matching )?peer config found$", "identity", _R),
    _rule(r"^ID[ir]+ '.*' does not match to '.*'$", "identity"),
    _rule(r"^tried \d+ shared keys? for .*, but MAC mismatched$", "psk"),
    _rule(r"^no shared key found for ", "psk"),
    _rule(r"^calculated HASH does not match HASH payload$", "authentication"),
    _rule(r"^signature validation failed", "authentication"),
    _rule(r"^SA payload missing$", "malformed-payload", _R),
    _rule(r"^giving up after \d+ retransmits$", "no-answer", _S),
    _rule(r"^(establishing|rekeying) IKE_SA failed, peer not responding$", "no-answer", _S),
)
_REFUSED = re.compile(
    r"^received (?P<notify>[A-Z][A-Z0-9_]+|\(\d+\)) (error notify|notify error|notify, no CHILD_SA built)$"
)
_NO_REFUSAL = frozenset(
    {"TEMPORARY_FAILURE", "CHILD_SA_NOT_FOUND", "INVALID_KE_PAYLOAD", "NO_ADDITIONAL_SAS"}
)
"""Error notifies that are part of a negotiation or rekey that goes well (RFC 7296 §2.25, §1.3, §1.2)."""
_CERTIFICATE = re.compile(r"^no trusted .+ public key found for ")
_PROCESSING = re.compile(
    r"^(?P<exchange>\w+) (?P<way>request|response) with message ID \d+ processing failed$"
)
_DETAILS = (
    (re.compile(r"^subject certificate invalid \(valid from "), "certificate-expired"),
    (re.compile(r"^(no issuer certificate found for |.*no trusted issuer)"), "certificate-untrusted"),
    (re.compile(r"^could not decrypt payloads$|integrity (check )?failed$"), "undecryptable"),
    (re.compile(r"^found encrypted message, but no keys available$"), "undecryptable"),
    (re.compile(r"^message verification failed$|could not be parsed$"), "malformed-payload"),
)
_VERSION = re.compile(r"^received unsupported IKE version [\d.]+ from (?P<partner>\S+?), sending ")
_HEADER = re.compile(r"^received invalid IKE header from (?P<partner>\S+) - ignored$")
_UNREADABLE = frozenset({"undecryptable"})
_EXCHANGE = re.compile(r"^(?P<done>parsed|generating) (?!INFORMATIONAL)[A-Z0-9_]+ (?P<way>request|response) ")
"""Either end of an IKE SA may begin the exchange for a CHILD_SA."""
_BEGAN = {("generating", "request"), ("parsed", "response")}


class _Context(NamedTuple):
    """What lines of one IKE SA have said so far.

    Attributes:
        detail: the reason that the lines about a message or certificate give.
        failed: the line that charon is through with a message, which came before its reason did.
    """

    detail: str | None = None
    failed: re.Match[str] | None = None


class Recogniser:
    """Reads charon's log, line by line; what a line means may rest on another of the same IKE SA.

    VICI hands lines over in nearly the order in which they were written: either of the two may come first.
    """

    def __init__(self) -> None:
        self._contexts: OrderedDict[int, _Context] = OrderedDict()
        self._sides: OrderedDict[int, Side] = OrderedDict()

    def read(self, text: str, ike_id: int | None) -> Evidence | None:
        """What a line of level 0 or 1 says; ``ike_id`` is the unique id of the IKE SA that it is about."""
        text = text.strip()
        if ike_id is None:
            return self._without_sa(text)
        found = self._of_sa(text, ike_id)
        return None if found is None else found._replace(ike_id=ike_id, text=found.text[:MOST_TEXT])

    def _of_sa(self, text: str, ike_id: int) -> Evidence | None:
        if exchange := _EXCHANGE.match(text):
            began = (exchange["done"], exchange["way"]) in _BEGAN
            remember(self._sides, ike_id, Side.SENDER if began else Side.RECEIVER)
            return None
        context = self._contexts.get(ike_id, _Context())
        for line, reason in _DETAILS:
            if line.search(text):
                return self._through(context._replace(detail=reason), ike_id)
        if failed := _PROCESSING.search(text):
            return self._through(context._replace(failed=failed), ike_id)
        found = _telling(text, context)
        if found is not None:
            self._contexts.pop(ike_id, None)
            found = found._replace(side=found.side or self._sides.get(ike_id))
        return found

    def _through(self, context: _Context, ike_id: int) -> Evidence | None:
        """Charon is through with a message that it could not use, once both lines are there.

        What it could not read of an informational exchange ends no negotiation: anybody may have sent it.
        """
        self._contexts.pop(ike_id, None)
        reason, failed = context
        if reason is None or failed is None:
            remember(self._contexts, ike_id, context)
            return None
        if failed["exchange"].startswith("INFORMATIONAL"):
            return None
        side = Side.RECEIVER if failed["way"] == "request" else Side.SENDER
        return Evidence(reason, side, reason not in _UNREADABLE, failed[0])

    @staticmethod
    def _without_sa(text: str) -> Evidence | None:
        for line, reason in ((_VERSION, "version"), (_HEADER, "malformed-header")):
            if found := line.search(text):
                return Evidence(reason, Side.RECEIVER, False, text[:MOST_TEXT], None, found["partner"])
        return None


def _telling(text: str, context: _Context) -> Evidence | None:
    """What a line says that needs no other."""
    for rule in _TELLING:
        if rule.line.search(text):
            return Evidence(rule.reason, rule.side, rule.readable, text)
    if refused := _REFUSED.search(text):
        return None if refused["notify"] in _NO_REFUSAL else Evidence("refused", None, True, text)
    if _CERTIFICATE.search(text):
        return Evidence(context.detail or "certificate", None, True, text)
    return None
