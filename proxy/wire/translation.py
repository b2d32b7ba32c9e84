"""One answer, heard in a provider's dialect and told in the client's.

Joins what two dialects do, and knows neither. Terminator, errors, usage and whether there is
content are what the provider's own translator hears; it never tells an answer as whole that the
provider has not ended. What surprises: an error of the provider's loses its body, which is no
error in the client's dialect; its code, message and status stay.
"""

from collections.abc import Mapping, Sequence

import msgspec

from proxy.errors import MalformedRequest
from proxy.stream import Frame, Usage
from proxy.wire.answer import Counted, Hearing, Making, Telling
from proxy.wire.conversation import Conversation
from proxy.wire.dialect import Ask, Dialect, Translator


class Translation:
    """A `Translator` between two dialects."""

    def __init__(self, heard: Translator, hearing: Hearing, telling: Telling) -> None:
        self._heard = heard
        self._hearing = hearing
        self._telling = telling
        self._counted: Usage | None = None

    @property
    def has_content(self) -> bool:
        """See `Translator`."""
        return self._heard.has_content

    @property
    def is_complete(self) -> bool:
        """See `Translator`."""
        return self._heard.is_complete

    @property
    def usage(self) -> Usage | None:
        """See `Translator`."""
        return self._heard.usage

    def hear(self, frame: Frame) -> Sequence[Frame]:
        """See `Translator`. Raises `ProviderUntranslatable` too."""
        self._heard.hear(frame)
        return self._told(frame)

    def end_of_body(self) -> Sequence[Frame]:
        """See `Translator`: the client is told what the terminator would have told it."""
        (terminator,) = self._heard.end_of_body()
        return self._told(terminator)

    def _told(self, frame: Frame) -> Sequence[Frame]:
        """What the client gets of a frame that was heard."""
        heard, tell = self._heard, self._telling.tell
        told: list[Frame] = []
        for step in self._hearing.hear(frame):
            told += tell(step)
        usage = heard.usage
        if usage is not self._counted and usage is not None:
            self._counted = usage
            told += tell(Counted(usage))
        if heard.is_complete:
            for step in self._hearing.finish():
                told += tell(step)
            told += self._telling.finish()
        return told


def translated(
    ours: Dialect, theirs: Dialect, ask: Ask, model: str, at_most: int | None = None
) -> Ask:
    """`ask` of a client that speaks `ours`, for a provider's `model` that speaks `theirs`.

    `at_most` are the output tokens that its quota allows, which other fields may have to fit.
    Raises `MalformedRequest`, which names the client's field, for what `theirs` cannot express.
    """
    asked = ours.conversation(ask)
    bound = asked.output_tokens_max
    if at_most is not None:
        bound = at_most if bound is None else min(bound, at_most)
    return theirs.ask_of(msgspec.structs.replace(asked, model=model, output_tokens_max=bound))


def translation(ours: Dialect, theirs: Dialect, ask: Ask, making: Making) -> Translation:
    """For one answer to `ask`, which is of `theirs`."""
    listening = msgspec.structs.replace(ask, wants_usage=True)
    return Translation(theirs.translator(listening), theirs.hearing(), ours.telling(making))


def written(conversation: Conversation, said: Mapping[str, object]) -> Ask:
    """The request that says these fields; what is None is not said."""
    fields = {
        name: msgspec.Raw(msgspec.json.encode(value))
        for name, value in said.items()
        if value is not None
    }
    return Ask(model=conversation.model, is_streamed=True, wants_usage=True, fields=fields)


def inexpressible(path: str, dialect: str, why: str = "") -> MalformedRequest:
    """That a provider's dialect has no words for a field of the client's."""
    because = f": {why}" if why else ""
    return MalformedRequest(
        f"'{path}' cannot be said in {dialect}, which the provider of this model speaks{because}. "
        "Leave it out, or ask for another model.",
        param=path,
    )


def refuse_settings(conversation: Conversation, dialect: str, cannot: Mapping[str, object]) -> None:
    """Raise for the settings that a dialect does not have.

    `cannot` names them, each with the value that says what is so without it; None if there is
    none.
    """
    for name, neutral in cannot.items():
        value = getattr(conversation, name)
        if value is None or value == neutral or (isinstance(value, Sequence) and not value):
            continue
        raise inexpressible(conversation.fields[name], dialect)
