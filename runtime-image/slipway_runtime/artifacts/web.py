"""requests, with a guard: which schemes may be asked, and which addresses may be reached, also after a redirect.

An address is looked at once connected, before a byte is sent: a name that resolves differently the second time, or a
redirect that points inside, gets nothing.
"""

from __future__ import annotations

import io
import ipaddress
import os
import socket
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from slipway_runtime.artifacts.reference import plain

CONNECT_SECONDS, READ_SECONDS = 10.0, 60.0
MOST_ANSWER = 1024**2
BROKEN = (urllib3.exceptions.HTTPError, requests.ConnectionError, requests.Timeout, ConnectionError, TimeoutError)
# Metadata services of clouds that are not link-local: they hand out the machine's credentials.
_METADATA = {ipaddress.ip_address(a) for a in ("fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192")}


class TooLong(requests.RequestException):
    """An answer that goes on where a short one was due."""


class Refused(Exception):
    """A scheme or an address that is not asked; the text is for the person on call."""


class Guard(HTTPAdapter):
    """Sends what is allowed. `home`: the host that the reference names; only it may be on this machine."""

    def __init__(self, home: str, plain_hosts: tuple[str, ...]) -> None:
        self._plain_hosts = plain_hosts
        self._local = _is_local(home)
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        local = self._local

        class Plain(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                return _checked(super()._new_conn(), self.host, local)

        class Secure(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                return _checked(super()._new_conn(), self.host, local)

        class PlainPool(urllib3.HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(urllib3.HTTPSConnectionPool):
            ConnectionCls = Secure

        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}

    def send(self, request: requests.PreparedRequest, *_: Any, **kwargs: Any) -> requests.Response:
        parts = urlsplit(request.url or "")
        if parts.scheme != "https" and not plain(str(parts.netloc), self._plain_hosts):
            raise Refused(f"{parts.netloc} is not asked without TLS: name it in SLIPWAY_PLAIN_HTTP_HOSTS to allow that")
        if (address := _address(parts.hostname or "")) is not None:
            _refuse(address, parts.hostname or "", self._local)
        if not kwargs.get("timeout"):
            kwargs["timeout"] = (CONNECT_SECONDS, READ_SECONDS)
        response = super().send(request, **{**kwargs, "stream": True})
        if not kwargs.get("stream") or response.is_redirect:  # read whole by requests, into memory
            _shorten(response)
        return response


def _shorten(response: requests.Response) -> None:
    """Read an answer that is to be short: a token, a challenge, the page beside a redirect. Raises TooLong."""
    try:
        content = response.raw.read(MOST_ANSWER + 1, decode_content=True)
    finally:
        response.close()
    if len(content) > MOST_ANSWER:
        raise TooLong(f"more than {MOST_ANSWER} bytes where a short answer was due")
    response.raw = io.BytesIO(content)


def guard(session: requests.Session, home: str, plain_hosts: tuple[str, ...]) -> requests.Session:
    """Put the guard into a session, in place."""
    session.max_redirects = 5
    session.headers["User-Agent"] = "slipway"
    session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or True
    for scheme in ("https://", "http://"):
        session.mount(scheme, Guard(home, plain_hosts))
    return session


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _is_local(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _address(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None


def _checked(connected: socket.socket, host: str, local: bool) -> socket.socket:
    try:
        address = _address(connected.getpeername()[0])
        if address is not None:
            _refuse(address, host, local)
    except BaseException:
        connected.close()
        raise
    return connected


def _refuse(address: Address, host: str, local: bool) -> None:
    address = getattr(address, "ipv4_mapped", None) or address
    bad = address.is_link_local or address in _METADATA or address.is_unspecified or address.is_multicast
    if bad or (address.is_loopback and not local):
        raise Refused(f"{host} is at {address}, which is this machine's or its cloud's own: it is not asked")
