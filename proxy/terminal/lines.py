"""The registry of lines: every way of reading a stream, the best first."""

from collections.abc import Mapping
from typing import Final

from proxy.terminal.heard import Line
from proxy.terminal.over_http import over_poll, over_sse
from proxy.terminal.over_ws import over_ws

LINES: Final[Mapping[str, Line]] = {"ws": over_ws, "sse": over_sse, "poll": over_poll}
