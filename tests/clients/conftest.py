"""One Midstream for all clients, in front of the recordings' provider and of aimock."""

from collections.abc import Iterator

import pytest

from tests.clients.aimock import UPSTREAM_KEY, Aimock, running_aimock
from tests.clients.node_sdks import NodeSdks
from tests.clients.python_sdks import ask_async, ask_sync
from tests.clients.recording_server import RecordingServer, running_recordings
from tests.clients.sdks import Directly, Sdks
from tests.server import Served, serving

APP_KEY = "app-key-0123456789"
"""What the SDKs are given."""
OTHER_KEY = "other-key-0123456789"
"""Another owner's, who may use one model only."""

_APP = '[keys.app]\nsecret = "env:APP_KEY"\n'
_OTHER = '[keys.other]\nsecret = "env:OTHER_KEY"\nmodels = ["known"]\n'
_ENV = {"APP_KEY": APP_KEY, "OTHER_KEY": OTHER_KEY, "UPSTREAM_KEY": UPSTREAM_KEY}


_ONE_TRY: dict[str, float] = {"retries": 0, "rest_after": 0}
"""What fails here is to be seen as it is, each time."""


def providers(name: str, url: str, **settings: float) -> str:
    """`url` as an OpenAI, in both its languages, and as an Anthropic.

    Models `NAME.openai/*`, `NAME.responses/*` and `NAME.anthropic/*`.
    """
    told = "\n".join(f"{key} = {value}" for key, value in (_ONE_TRY | settings).items())
    return "".join(
        f"""
[providers."{name}.{kind}"]
{spoken}
base_url = "{url}{path}"
api_key = "env:UPSTREAM_KEY"
{told}
[models."{name}.{kind}/*"]
targets = ["{name}.{kind}/*"]
"""
        for kind, path, spoken in (
            ("openai", "/v1", 'kind = "openai"'),
            ("responses", "/v1", 'kind = "openai"\ndialects = ["openai.responses"]'),
            ("anthropic", "", 'kind = "anthropic"'),
        )
    )


@pytest.fixture(scope="session")
def sdks() -> Iterator[Sdks]:
    node = NodeSdks()
    yield {"sync": ask_sync, "async": ask_async, "node": node.ask}
    node.close()


@pytest.fixture(scope="session")
def recordings() -> Iterator[RecordingServer]:
    with running_recordings() as server:
        yield server


@pytest.fixture(scope="session")
def directly(sdks: Sdks, recordings: RecordingServer) -> Directly:
    return Directly(sdks, recordings.url)


@pytest.fixture(scope="session")
def aimock() -> Iterator[Aimock]:
    with running_aimock() as mock:
        yield mock


@pytest.fixture(scope="session")
def midstream(
    tmp_path_factory: pytest.TempPathFactory, recordings: RecordingServer
) -> Iterator[Served]:
    """In front of the recordings, with the defaults that users have."""
    config = '[store]\nurl = "embedded"\npath = "data"\n' + _APP
    config += providers("recorded", recordings.url)
    with serving(tmp_path_factory.mktemp("clients"), config, env=_ENV) as served:
        yield served


@pytest.fixture(scope="session")
def hasty(
    tmp_path_factory: pytest.TempPathFactory, recordings: RecordingServer
) -> Iterator[Served]:
    """In front of the recordings, with a heartbeat as often as can be, from the first moment on."""
    config = '[store]\nurl = "memory://"\n[streams]\nheartbeat_s = 0.1\nfirst_content_s = 0\n'
    config += _APP + providers("recorded", recordings.url)
    with serving(tmp_path_factory.mktemp("hasty"), config, env=_ENV) as served:
        yield served


@pytest.fixture(scope="session")
def mocked(tmp_path_factory: pytest.TempPathFactory, aimock: Aimock) -> Iterator[Served]:
    """In front of aimock, whom it gives two seconds to say something."""
    config = '[store]\nurl = "embedded"\npath = "data"\n' + _APP + _OTHER
    config += providers("mock", aimock.url, idle_s=2, first_event_s=2)
    config += '[models.known]\ntargets = ["mock.openai/gpt-4o"]\n'
    with serving(tmp_path_factory.mktemp("mocked"), config, env=_ENV) as served:
        yield served
