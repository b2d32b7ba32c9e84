"""When a provider that refuses wants to be asked again. Pure."""

import email.utils
import math
from collections.abc import Mapping

_RETRY_AFTER_S_MAX = 86_400.0
"""Chosen: nobody plans a retry further ahead than a day."""


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """When the provider wants to be asked again, in seconds from its answer; None if unsaid.

    A date is compared with the provider's own ``Date``, so that no clock of ours takes part.
    """
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit_s
        except ValueError:
            continue
        if not math.isnan(seconds):
            return _bounded(seconds)
    until, now = _seconds(headers.get("retry-after")), _seconds(headers.get("date"))
    return None if until is None or now is None else _bounded(until - now)


def _seconds(date: str | None) -> float | None:
    parsed = email.utils.parsedate_tz(date) if date else None
    try:
        return float(email.utils.mktime_tz(parsed)) if parsed else None
    except (ValueError, OverflowError):
        return None


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), _RETRY_AFTER_S_MAX)
