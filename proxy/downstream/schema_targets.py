"""What a target that rests is, in words, for the OpenAPI document. The types stand in `resting`."""


def target_details() -> dict[str, dict[str, object]]:
    """Of `RestingTarget`, what its types do not say, be it in a list or in a picture."""
    return {
        "model": {"description": "By the provider's own name."},
        "reason": {"description": "The code of its last failure, and the provider's status."},
        "since": {"format": "date-time"},
        "failed_at": {"format": "date-time"},
        "probe_at": {
            "format": "date-time",
            "description": "From then on one request may try it. It is past while nobody asks.",
        },
        "probing": {"description": "Whether one does just now, or was not heard of again."},
    }
