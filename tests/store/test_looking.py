"""The check of a config against a store that others serve from."""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from proxy.__main__ import run
from proxy.app import WallClock
from proxy.config import Config, all_limits, parse
from proxy.observe import Observer
from proxy.policy.quotas import Ask
from proxy.relay.ports import Admission, Admitted, Append
from proxy.serving import ConfigFile
from proxy.store.opening import open_store
from proxy.stream import Birth, Detach, new_stream_id

BEFORE = f"""
[store]
path = "data"
[quotas.each]
tokens_per_day = 1000
requests_per_minute = 10
[keys.ann]
sha256 = "{"1" * 64}"
quota = "each"
[keys.bob]
sha256 = "{"2" * 64}"
quota = "each"
"""
AFTER = BEFORE.replace("1000", "500").replace(
    '[keys.bob]\nsha256 = "22', '[keys.cid]\nsha256 = "33'
)


def no_serving(config: Config, source: ConfigFile, observer: Observer) -> int:
    raise AssertionError(f"{config} {source} {observer}")


def check(*arguments: str, env: Mapping[str, str] | None = None) -> int:
    return run(["check", *arguments], env or {}, no_serving)


async def use_up(config: Config, folder: Path) -> None:
    """One stream of ann's runs in the store, and has all but used up her day. Then look."""
    clock = WallClock()
    async with open_store(
        config.store, lease_s=5, clock=clock, worker="w", on_trouble=pytest.fail
    ) as store:
        birth = Birth(
            id=new_stream_id(bytes(17)),
            owner="ann",
            dialect="openai.chat",
            model="m",
            provider="p",
            created_at=time.time(),
            retention_s=60,
            detach=Detach(),
        )
        admitted = await store.ledger.admit(
            Admission(
                stream=birth.id,
                owner="ann",
                tag=None,
                created_at=birth.created_at,
                keep_s=60,
                claim=None,
                limits=[limit for limit in all_limits(config) if limit.pool == "key:ann"],
                ask=Ask(tokens=700),
            )
        )
        assert isinstance(admitted, Admitted)
        await store.journal.append([Append(birth.id, 1, 1, birth=birth)])
        loop = asyncio.get_running_loop()
        for against in ("config", f"unix://{folder}/data/valkey.sock"):
            code = await loop.run_in_executor(
                None, check, "new.toml", "--against", against, "--from", "config.toml"
            )
            assert code == 0


def test_a_check_against_a_store_tells_who_would_be_over_a_limit_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text(BEFORE)
    (tmp_path / "new.toml").write_text(AFTER.replace('"ann"', '"x"'))

    asyncio.run(use_up(parse(BEFORE, {}, str), tmp_path))

    out = capsys.readouterr().out
    assert out.count("used up at once\n  [keys.ann]: 500 tokens a day, whole again in ") == 2
    assert out.count("keys that are gone\n  [keys.bob] of owner bob\n") == 2
    assert out.count("  [keys.ann]: 1000 tokens a day is lowered to 500\n") == 2
    assert "streams that nobody could read any more: none" in out


@pytest.mark.parametrize(
    ("against", "code", "told"),
    [
        ("config", 2, "no server runs on it here: there is no "),
        ("http://127.0.0.1", 2, "--against must be "),
        ("memory://", 2, "--against wants the address of a Redis"),
        ("env:NOPE", 2, "--against: NOPE is not set"),
        ("redis://127.0.0.1:1", 1, ""),
    ],
)
def test_a_store_that_cannot_be_asked_is_told(
    against: str,
    code: int,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "new.toml").write_text(AFTER)

    assert check("new.toml", "--against", against) == code

    assert told in capsys.readouterr().err
