"""Facts worth telling, and where they go: one line each on stderr, and numbers to be asked for.

`facts` has a method for each, with named arguments; `lines` has the log and its form; `metrics`
has every number, which `counts` keeps on a `board` that all workers share; `traces` has what is
told as spans, which `spans` makes and `export` sends where somebody wants them.
"""

from proxy.observe.board import Board
from proxy.observe.counts import Names, Pace, Share
from proxy.observe.facts import Observer, open_log
from proxy.observe.lines import FIELDS
from proxy.observe.traces import TRACE_HEADERS, Course, Peer, Span

__all__ = [
    "FIELDS",
    "TRACE_HEADERS",
    "Board",
    "Course",
    "Names",
    "Observer",
    "Pace",
    "Peer",
    "Share",
    "Span",
    "open_log",
]
