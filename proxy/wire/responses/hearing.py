"""TODO."""

from collections.abc import Sequence

from proxy.stream import Frame
from proxy.wire.answer import Step


class ResponsesHearing:
    """TODO."""

    def hear(self, frame: Frame) -> Sequence[Step]:
        """See `Hearing`."""
        raise NotImplementedError

    def finish(self) -> Sequence[Step]:
        """See `Hearing`."""
        raise NotImplementedError
