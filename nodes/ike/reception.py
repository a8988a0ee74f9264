"""What an endpoint does with a datagram: which exchange it belongs to, or why it is refused. No I/O."""

from __future__ import annotations

from nodes.abnormality.message import parse as parse_abnormal
from nodes.ike.context import NAT_T_PORT, Context, Path
from nodes.ike.informational import Informed, act_upon, open_informational
from nodes.ike.isakmp_sa import IsakmpSa
from nodes.ike.messages.header import (
    HEADER,
    NO_COOKIE,
    ExchangeType,
    Header,
    encode_header,
    parse_header,
    peek_cookies,
)
from nodes.ike.messages.malformed import MalformedError, NotifyType, notify_name
from nodes.ike.messages.notification import Notification, encode_notification
from nodes.ike.messages.payloads import Payload, PayloadType, encode_chain
from nodes.ike.messages.sa_payload import Protocol
from nodes.ike.phase1 import Phase1
from nodes.ike.phase2 import Phase2
from nodes.ike.rate import Buckets
from nodes.ike.rejections import Rejections

KEEP_ALIVE = b"\xff"
"""What a partner behind a translation sends to keep it open (RFC 3948, section 2.3)."""
MAX_SOURCES = 1024
"""Addresses whose rates are remembered."""
NOTIFIES = 1.0
"""Notifies a second in the clear that an address gets from us, at most."""


class Reception:
    """Takes datagrams.

    Args:
        context: of the endpoint.
        phase1: takes main modes.
        phase2: takes Quick Modes.
        rejections: told of each message that is refused.
        informed: acts upon informational messages.
    """

    def __init__(
        self, context: Context, phase1: Phase1, phase2: Phase2, rejections: Rejections, informed: Informed
    ) -> None:
        self._context = context
        self._phase1 = phase1
        self._phase2 = phase2
        self._rejections = rejections
        self._informed = informed
        options = context.options
        self._firsts = Buckets(options.first_messages, options.first_messages, MAX_SOURCES)
        self._notifies = Buckets(NOTIFIES, 2 * NOTIFIES, MAX_SOURCES)

    def take(self, datagram: bytes, path: Path) -> None:
        """Take a datagram that may be anything; one that cannot be used is counted, and its sender told."""
        if datagram == KEEP_ALIVE:
            return
        said = parse_abnormal(datagram)
        if said is not None:
            self._context.gate.informed(said, path, self._context.now)
            return
        active = self._context.gate.may_negotiate(str(path.remote), "responder", self._context.now)
        try:
            header = parse_header(datagram)
            self._dispatch(header, datagram, path)
        except MalformedError as error:
            self._rejections.reject(path, notify_name(error.notify).lower(), str(error))
            if active:
                self._tell(datagram, path, error.notify)
                self._failed_at_once(datagram, path, str(error))

    def _failed_at_once(self, datagram: bytes, path: Path, reason: str) -> None:
        """A first message that cannot be used is an abnormal negotiation, if a failed one was not said."""
        cookies = peek_cookies(datagram)
        if cookies is not None and cookies[1] == NO_COOKIE and self._phase1.sas.find(cookies) is None:
            self._context.gate.failed(str(path.remote), "responder", cookies, reason, self._context.now)

    def _dispatch(self, header: Header, datagram: bytes, path: Path) -> None:
        sa = self._phase1.sas.find(header.cookies)
        if sa is None:
            if header.responder_cookie == NO_COOKIE and header.exchange == ExchangeType.MAIN_MODE:
                self._first(header, datagram, path)
            else:
                self._rejections.reject(path, "invalid-cookie", "no ISAKMP SA has these cookies")
            return
        if path.remote != sa.path.remote:
            self._rejections.reject(path, "address", "the ISAKMP SA of these cookies has another partner")
            return
        match header.exchange:
            case ExchangeType.MAIN_MODE:
                self._phase1.receive(sa, header, datagram, path)
            case ExchangeType.QUICK_MODE if sa.established:
                self._phase2.receive(sa, header, datagram)
                self._moved(sa, path)
            case ExchangeType.INFORMATIONAL if sa.established:
                payloads = open_informational(sa, header, datagram)
                self._moved(sa, path)
                act_upon(sa, payloads, self._informed)
                self._phase1.heard(sa)
            case ExchangeType.INFORMATIONAL:
                self._phase1.notified_in_clear(sa, header, datagram)
            case ExchangeType.QUICK_MODE:
                self._rejections.reject(path, "too-early", "a Quick Mode before the ISAKMP SA is up")
            case _:
                raise MalformedError(f"exchange type {header.exchange}", NotifyType.INVALID_EXCHANGE_TYPE)

    def _first(self, header: Header, datagram: bytes, path: Path) -> None:
        if not self._firsts.take(path.remote, self._context.now):
            self._rejections.reject(path, "rate", "too many first messages in a second")
            return
        self._phase1.first_message(header, datagram, path)

    def _moved(self, sa: IsakmpSa, path: Path) -> None:
        """An authenticated message came by another port: a translation before the partner has moved it."""
        if sa.path != path and sa.path.local_port == path.local_port == NAT_T_PORT:
            sa.path = path

    def _tell(self, datagram: bytes, path: Path, notify: NotifyType) -> None:
        """Tell the sender of a first message in the clear why it is refused, now and then (RFC 2408, 5)."""
        cookies = peek_cookies(datagram)
        first = cookies is not None and cookies[0] != NO_COOKIE and cookies[1] == NO_COOKIE
        if not first or len(datagram) < HEADER or not self._notifies.take(path.remote, self._context.now):
            return
        assert cookies is not None
        about = Notification(Protocol.ISAKMP, b"".join(cookies), notify)
        payload = Payload(PayloadType.NOTIFICATION, encode_notification(about))
        body = encode_chain([payload])
        message_id = int.from_bytes(self._context.random(4), "big") or 1
        header = Header(*cookies, payload.type, ExchangeType.INFORMATIONAL, 0, message_id)
        self._context.send(path, encode_header(header, len(body)) + body)
