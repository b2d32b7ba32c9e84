"""An answer that ends without its terminator: the SDKs take it for whole, the proxy does not."""

import pytest

from tests.clients.conftest import APP_KEY
from tests.clients.hearing import How, Kind, question
from tests.clients.recording_server import ENDS, asking_for_usage, blocks_of, is_event
from tests.clients.sdks import PAIRS, Directly, Sdks
from tests.server import RECORDINGS, Served


@pytest.mark.parametrize("how", ["stream", "helper", "create"])
@pytest.mark.parametrize(("kind", "sdk"), PAIRS)
def test_wherever_it_is_cut_it_is_an_error(
    kind: Kind, sdk: str, sdks: Sdks, how: How, midstream: Served
) -> None:
    count = sum(map(is_event, blocks_of(RECORDINGS / f"text{ENDS[kind]}")))
    fields = asking_for_usage(kind) if how != "create" else {}
    asked = [question(kind, how, f"recorded.{kind}/text!{cut}", **fields) for cut in range(count)]
    for cut, heard in enumerate(sdks[sdk](kind, midstream.url, asked, key=APP_KEY)):
        assert heard.final is None, cut
        assert heard.error is not None, cut
        if kind == "openai":
            assert heard.error.code == "provider_truncated", cut
        else:
            assert heard.error.type == "api_error", cut
        if how == "create":
            assert heard.error.status == 502, cut


@pytest.mark.parametrize(("kind", "sdk"), PAIRS)
def test_directly_no_sdk_can_tell(kind: Kind, sdk: str, directly: Directly) -> None:
    (heard,) = directly.ask(kind, sdk, [question(kind, "stream", "text!4")])
    assert len(heard.events) >= 3
    assert heard.error is None
