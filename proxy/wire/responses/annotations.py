"""What a text rests on, as a response says it."""

from proxy.wire.answer import Cited


def annotation_of(cited: Cited, start: int, end: int) -> dict[str, object]:
    """Where nothing says which words rest on it, all from `start` to `end` do."""
    if cited.end is not None:
        end = start + cited.end
    if not cited.url:  # a document of the request
        return {"type": "file_citation", "file_id": "", "filename": cited.title, "index": end}
    return {
        "type": "url_citation",
        "start_index": start + (cited.start or 0),
        "end_index": end,
        "title": cited.title,
        "url": cited.url,
    }
