"""What the config says of an account over HTTP, in the form in which it is used.

Owns which header has the key, whom TLS trusts, and what must not come back in an error.
"""

import ssl
from urllib.parse import unquote, urlsplit

import httpx2

from proxy import config
from proxy.observe import Peer

_SECRET_CHARS_MIN = 8
"""Chosen: shorter values are placeholders, and would be found in any text."""


def credential(settings: config.RemoteProvider) -> dict[str, str]:
    """The header that has the key. The SDKs are given none, and so send none of their own."""
    if settings.api_key is None:
        return {}
    key = settings.api_key.reveal()
    return {"authorization": f"Bearer {key}"} if settings.auth == "bearer" else {settings.auth: key}


def ssl_context(settings: config.RemoteProvider, proxy: str | None) -> ssl.SSLContext | None:
    """Whom it trusts; None where there is no TLS."""
    if not any(url and url.startswith("https:") for url in (settings.base_url, proxy)):
        return None
    if settings.ca_file is None:
        return httpx2.create_ssl_context()
    return ssl.create_default_context(cadata=settings.ca_file.pem)


def peer(settings: config.RemoteProvider) -> Peer:
    """Who answers."""
    url = urlsplit(settings.base_url)
    try:
        port = url.port or (443 if url.scheme == "https" else 80)
    except ValueError:  # beyond 65535: nothing will ever answer there
        port = 0
    return Peer(settings.kind, url.hostname or "", port)


def secrets(settings: config.RemoteProvider) -> list[str]:
    """What must not come back to a client in an error."""
    values = [settings.api_key] if settings.api_key else []
    values += [value for value in settings.headers.values() if value.source]
    words = [word for value in values for word in value.reveal().split()]
    if settings.proxy is not None:
        words.append(unquote(urlsplit(settings.proxy.reveal()).password or ""))
    return [word for word in words if len(word) >= _SECRET_CHARS_MIN]
