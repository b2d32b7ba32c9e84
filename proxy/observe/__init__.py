"""Facts worth telling, and where they go: one line each on stderr, and numbers to be asked for.

`facts` has a method for each, with named arguments; `lines` has the log and its form; `metrics`
has every number, which `counts` keeps on a `board` that all workers share.
"""

from proxy.observe.board import Board
from proxy.observe.counts import Names, Pace
from proxy.observe.facts import Observer, open_log
from proxy.observe.lines import FIELDS

__all__ = ["FIELDS", "Board", "Names", "Observer", "Pace", "open_log"]
