"""TODO."""

from collections.abc import Sequence

from proxy.stream import Frame
from proxy.wire.answer import Making, Step


class ResponsesTelling:
    """TODO."""

    def __init__(self, making: Making) -> None:
        self._making = making

    def tell(self, step: Step) -> Sequence[Frame]:
        """See `Telling`."""
        raise NotImplementedError

    def finish(self) -> Sequence[Frame]:
        """See `Telling`."""
        raise NotImplementedError
