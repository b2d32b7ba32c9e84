"""Facts worth telling, and where they go: one line each on stderr.

`facts` has a method for each, with named arguments; `lines` has the log and its form.
"""

from proxy.observe.facts import Observer, open_log
from proxy.observe.lines import FIELDS

__all__ = ["FIELDS", "Observer", "open_log"]
