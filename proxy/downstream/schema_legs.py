"""What a stream's legs are, in words, for the OpenAPI document. The types stand in `describe`."""

from proxy.stream import EVENT_ID_MAX


def leg_details() -> dict[str, dict[str, object]]:
    """Of `LegView`, what its types do not say."""
    return {
        "provider": {"description": "By the name in the configuration."},
        "model": {"description": "By the provider's own name."},
        "dialect": {"description": "The wire language in which it was asked."},
        "began_at": {"format": "date-time", "description": "When it was asked first."},
        "after": {
            "minimum": 0,
            "maximum": EVENT_ID_MAX,
            "description": "The id of the event after which its part of the answer begins.",
        },
        "tries": {"minimum": 0, "description": "How often it was asked."},
        "waited_s": {"minimum": 0, "description": "Seconds of waiting before its tries."},
        "resumes": {
            "minimum": 0,
            "description": "How often the rest was had from it after the line to it was cut.",
        },
        "is_taken_over": {
            "description": "Whether it was asked by a worker that took the stream over from a "
            "dead one."
        },
        "failure": {
            "description": "The `code` for which it was given up; null of the one that answers, "
            "or has answered."
        },
        "usage": {"description": "Of its part alone; null if it did nothing, or not yet."},
        "cost_usd": {
            "minimum": 0,
            "description": "What that costs; null without usage, or without a price.",
        },
    }
