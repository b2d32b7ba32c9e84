"""What OpenAI's two dialects write alike: pictures, documents, efforts, and who a user is.

Owns data URLs. What surprises: what is base64 is not looked into. It is long, and the provider's
to judge.
"""

import hashlib
from typing import NamedTuple

from proxy.wire.conversation import Conversation, File, Image, Thinking
from proxy.wire.efforts import effort_of
from proxy.wire.given import Given

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
VERBOSITIES = ("low", "medium", "high")
_BASE64 = ";base64"
_DETAILS = ("auto", "low", "high", "original")
_MARK = "data:"
_NAMES = {"application/pdf": "document.pdf"}
"""For a document that has none: OpenAI wants one."""
_USER_CHARS = 64
"""Documented: what OpenAI takes. A SHA-256 in hexadecimal is as long."""


class _Media(NamedTuple):
    media_type: str | None
    data: str


def read_image(given: Given, name: str, path: str) -> Image:
    """The picture whose URL stands in the field `name`."""
    detail = given.choice("detail", _DETAILS)
    url = given.need_text(name)
    if not _is_data_url(url):
        return Image(url=url, detail=detail, path=path)
    media = _split(given, name, url)
    return Image(data=media.data, media_type=media.media_type, detail=detail, path=path)


def read_file(given: Given, path: str) -> File:
    """The document in `file_data`: base64, as a data URL that says its type or without one."""
    name = given.text("filename")
    data = given.need_text("file_data")
    if not _is_data_url(data):
        return File(name=name, data=data, path=path)
    media = _split(given, "file_data", data)
    return File(name=name, data=media.data, media_type=media.media_type, path=path)


def url_of(image: Image) -> str:
    """As it is written into a request: its own, or one that holds it."""
    if image.url is not None:
        return image.url
    assert image.data is not None, "a picture has a URL or data"
    return _joined(image.media_type, image.data)


def file_fields(file: File) -> dict[str, str]:
    """The name and the data of a document that has some."""
    assert file.data is not None, "asked of data alone"
    name = file.name or _NAMES.get(file.media_type or "", "document")
    return {"filename": name, "file_data": _joined(file.media_type, file.data)}


def text_of(file: File) -> str | None:
    """What is to be read in a document of plain text; None if it is none."""
    if file.text is None:
        return None
    return f"{file.name}\n\n{file.text}" if file.name else file.text


def effort_said(thinking: Thinking | None) -> str | None:
    """How much is to be reasoned, in OpenAI's words; None leaves it to the model."""
    if thinking is None:
        return None
    if not thinking.is_on:
        return "none"
    if thinking.budget_tokens is not None:
        return effort_of(thinking.budget_tokens)
    return thinking.effort


def user_said(conversation: Conversation) -> str | None:
    """Who the user is; of a name that is too long, what stands for it always."""
    user = conversation.user
    if user is None or len(user) <= _USER_CHARS:
        return user
    return hashlib.sha256(user.encode()).hexdigest()


def _is_data_url(url: str) -> bool:
    return url[: len(_MARK)].lower() == _MARK


def _split(given: Given, name: str, url: str) -> _Media:
    head, found, data = url.partition(",")
    media_type = head[len(_MARK) : -len(_BASE64)]
    if not found or not head.lower().endswith(_BASE64) or "/" not in media_type:
        raise given.wrong(name, "a URL; if a data: URL, then with a media type and in base64")
    return _Media(media_type, data)


def _joined(media_type: str | None, data: str) -> str:
    return data if media_type is None else f"{_MARK}{media_type}{_BASE64},{data}"
