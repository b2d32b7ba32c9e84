"""How a provider is reached: what every request to it carries, through whom, whom it trusts.

Pure: certificates are read by whoever is given to read files. What surprises: the certificates
themselves are part of the config, and not only where they are, so that a changed file is noticed
as any other change.
"""

import math
import re
import ssl
from collections.abc import Callable
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from proxy.config.lines import Path
from proxy.config.problems import Problems
from proxy.config.secret import Secret

MODEL = "{model}"
"""What stands for the model in the address of a provider that is asked for each at another."""
PEM_CHARS_MAX = 1024 * 1024
"""Chosen: four times the certificates of all public authorities."""
_BODY_BYTES_MAX = 64 * 1024
_MEMBERS_MAX = 50
"""Of a query, and of a body. Chosen: several times what anybody sets."""
_CHARS_MAX = 1000
_NAME = re.compile(r"[A-Za-z0-9_.$-]{1,100}")
_PROXY = re.compile(r"https?://[!-~]+")
_REFUSED_FIELDS = frozenset(
    {
        "background",
        "conversation",
        "input",
        "max_completion_tokens",
        "max_output_tokens",
        "max_tokens",
        "messages",
        "model",
        "n",
        "n_predict",
        "previous_response_id",
        "prompt",
        "stream",
        "stream_options",
    }
)
"""Who is asked, for what, how it is answered, and the most that it may use."""

ProxyUrl = Annotated[Secret | None, Meta(description="an http or https address")]
"""It may stand in the file, unless there is a password in it."""


class Certificates(msgspec.Struct, frozen=True):
    """The authorities that a provider's certificate may come from."""

    path: str
    pem: str

    def __repr__(self) -> str:
        return f"Certificates({self.path})"


def read_certificates(
    value: object, path: Path, read_file: Callable[[str], str], problems: Problems
) -> Certificates | None:
    """Those of a PEM file; None, and a problem, if there are none in it."""
    if not isinstance(value, str) or not value:
        problems.add(path, "must be the path of a PEM file")
        return None
    try:
        pem = read_file(value)
        if len(pem) > PEM_CHARS_MAX:
            problems.add(path, f"its file has more than {PEM_CHARS_MAX} characters")
            return None
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
    except ssl.SSLError:
        problems.add(path, "its file holds no certificates in PEM")
    except OSError as error:
        problems.add(path, f"its file cannot be read: {error.strerror or 'there is none'}")
    except ValueError:  # not UTF-8, a NUL in the path, or an empty file
        problems.add(path, "its file holds no certificates in PEM")
    else:
        return Certificates(value, pem)
    return None


def check_proxy(proxy: Secret, path: Path, problems: Problems) -> None:
    """It is an address, and holds no password if it stands in the file."""
    url = proxy.reveal()
    try:
        parts = urlsplit(url)
        is_whole = bool(parts.hostname) and parts.port != 0 and parts.path in {"", "/"}
        is_whole = is_whole and not (parts.query or parts.fragment)
    except ValueError:
        is_whole = False
    if not is_whole or not _PROXY.fullmatch(url):
        problems.add(path, "must be like http://host:3128 or https://host:3128, without a path")
    elif not proxy.source and "@" in url:
        what = "holds credentials, which must not stand in the file: put the whole address into a "
        problems.add(path, f'{what}variable and write "env:NAME"')


def read_query(value: object, path: Path, problems: Problems) -> dict[str, str]:
    """Names and values, not encoded yet."""
    query: dict[str, str] = {}
    if not isinstance(value, dict) or len(value) > _MEMBERS_MAX:
        what = f"must be a table of at most {_MEMBERS_MAX} strings"
        problems.add(path, f'{what}, such as {{api-version = "2024-10-21"}}')
        return query
    for name, said in value.items():
        if not _NAME.fullmatch(name):
            problems.add((*path, name), "its name must be of letters, digits and any of _ . $ -")
        elif not isinstance(said, str) or not said.isprintable() or len(said) > _CHARS_MAX:
            what = f"must be a string of at most {_CHARS_MAX} printable characters"
            problems.add((*path, name), what)
        else:
            query[name] = said
    return query


def read_fields(value: object, path: Path, problems: Problems) -> dict[str, msgspec.Raw]:
    """The fields of a body, as JSON."""
    fields: dict[str, msgspec.Raw] = {}
    if not isinstance(value, dict) or len(value) > _MEMBERS_MAX:
        what = f"must be a table of at most {_MEMBERS_MAX} fields, such as {{store = false}}"
        problems.add(path, what)
        return fields
    for name, said in value.items():
        if not _NAME.fullmatch(name):
            problems.add((*path, name), "its name must be of letters, digits and any of _ . $ -")
        elif name.casefold() in _REFUSED_FIELDS:
            problems.add((*path, name), "is for the client and the proxy to say")
        elif not _is_json(said):
            problems.add((*path, name), "must be JSON: no times, and no infinity")
        else:
            fields[name] = msgspec.Raw(msgspec.json.encode(said))
    if sum(map(len, fields.values())) > _BODY_BYTES_MAX:
        problems.add(path, f"must be of at most {_BODY_BYTES_MAX} bytes")
    return fields


def _is_json(value: object) -> bool:
    match value:
        case dict():
            return all(_is_json(each) for each in value.values())
        case list():
            return all(_is_json(each) for each in value)
        case float():
            return math.isfinite(value)
        case int():
            return -(2**63) <= value < 2**63
        case _:
            return isinstance(value, str)
