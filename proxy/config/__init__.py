"""``config.toml`` as frozen Structs.

Owns what the file may say (`tables`), what each value must be (`values`), what must be true
between sections (`rules`), and where in the file a problem stands (`lines`). Pure: `parse` is
given the text, the environment and a way to read secret files, and answers with a `Config` or
with all problems at once. What surprises: an `optional` provider or key whose secret is not
there is no problem but `Off`, and what depends on it is off with it.
"""

from proxy.config.parser import parse
from proxy.config.secret import Secret
from proxy.config.summary import describe
from proxy.config.tables import (
    AnthropicProvider,
    Config,
    Off,
    OpenAIProvider,
    Provider,
    RemoteProvider,
    ScriptedProvider,
    Server,
    Store,
    Streams,
    needs_restart,
)

__all__ = [
    "AnthropicProvider",
    "Config",
    "Off",
    "OpenAIProvider",
    "Provider",
    "RemoteProvider",
    "ScriptedProvider",
    "Secret",
    "Server",
    "Store",
    "Streams",
    "describe",
    "needs_restart",
    "parse",
]
