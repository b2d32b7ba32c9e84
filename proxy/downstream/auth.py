"""Who is asking, and whether open access may be used from where they are.

Keys are taken from headers alone, never from a URL. With no key configured everybody on this
machine is the operator, but nobody from the web: a page of another site, or a name that was
rebound to this address, is refused before anything is looked at.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from proxy.downstream.desk import Desk
from proxy.errors import NotAuthenticated, NotPermitted, StreamNotFound
from proxy.policy.keys import Principal
from proxy.relay.cursor import Cursor
from proxy.stream import State

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def authenticate(desk: Desk, headers: Mapping[str, str]) -> Principal:
    """The principal of a request. Raises `NotAuthenticated`, or `NotPermitted` for the web."""
    if desk.keyring.is_open:
        refuse_the_web(headers)
    return identify(desk, read_credential(headers))


def identify(desk: Desk, credential: str) -> Principal:
    """Whom a credential speaks for now; with open access, any or none. Else `NotAuthenticated`."""
    if desk.keyring.is_open:
        return desk.keyring.open_principal
    if not credential:
        raise NotAuthenticated(
            "A key is needed: send it as 'Authorization: Bearer KEY' or as 'x-api-key: KEY'."
        )
    principal = desk.keyring.find(credential, desk.switchboard.clock.now())
    if principal is None:
        raise NotAuthenticated("This key is not known here, or it has expired.")
    return principal


def read_credential(headers: Mapping[str, str]) -> str:
    """The key that the headers carry, or an empty string."""
    key = headers.get("x-api-key", "").strip()
    if key:
        return key
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    return bearer.strip() if scheme.lower() == "bearer" else ""


def refuse_the_web(headers: Mapping[str, str]) -> None:
    """Raise `NotPermitted` unless the request comes from a program on this machine."""
    host = headers.get("host", "")
    if _host_name(host) not in _LOOPBACK_NAMES:
        raise NotPermitted(
            "Without keys this proxy answers only to a loopback name, such as localhost."
        )
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != host:
        raise NotPermitted("Without keys this proxy does not answer pages of other origins.")
    if headers.get("sec-fetch-site") in {"cross-site", "same-site"}:
        raise NotPermitted("Without keys this proxy does not answer other sites.")


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def must_be_operator(desk: Desk, headers: Mapping[str, str]) -> None:
    """Raise `NotAuthenticated` or `NotPermitted` for everybody else."""
    if not authenticate(desk, headers).is_operator:
        raise NotPermitted("Only an operator's key may ask for this.")


def must_own(principal: Principal, state: State) -> None:
    """Raise the same `StreamNotFound` for another owner's stream as for an unknown one."""
    if not may_read(principal, state):
        raise StreamNotFound


def may_read(principal: Principal, state: State) -> bool:
    """Whether the stream is its own, or it sees everybody's."""
    return state.birth.owner == principal.owner or principal.is_operator


def must_not_be_revoked(cursor: Cursor) -> None:
    """Raise `NotAuthenticated` if the cursor was closed because its reader's key is gone."""
    if cursor.is_revoked:
        raise NotAuthenticated("This key was taken away, or it has expired, while it was reading.")
