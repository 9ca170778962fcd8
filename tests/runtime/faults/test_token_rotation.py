"""Tokens replaced again and again while callers ask: each accepted request is answered, each removed token refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from pathlib import Path

import pytest

from tests.runtime.conftest import Serve
from tests.runtime.faults.test_auth import SecretVolume
from tests.support import models
from tests.support.load import Reply, pool, post, statuses
from tests.support.runtime_server import RuntimeServer
from tests.support.waiting import aeventually

CALLERS = 8
BODY = {"inputs": "the film was great"}


def asked(token: str) -> bytes:
    return post(BODY, authorization=f"Bearer {token}")


@pytest.mark.parametrize("times", [2, pytest.param(20, marks=pytest.mark.full)])
def test_rotations_under_load_lose_no_accepted_request_and_end_old_tokens_in_seconds(
    serve: Serve, tmp_path: Path, times: int
) -> None:
    secret = SecretVolume(tmp_path / "tokens")
    secret.hold(token="token-0")
    with serve(models.classifier(tmp_path / "model"), SLIPWAY_API_TOKENS_DIR=str(secret.folder)) as server:
        asyncio.run(_rotated(server, secret, times))


async def _rotated(server: RuntimeServer, secret: SecretVolume, times: int) -> None:
    current, going, replies = 0, True, list[Reply]()
    async with pool(server.http_port) as connections:

        async def caller() -> None:
            while going:
                replies.append(await connections.ask(asked(f"token-{current}")))

        async def status(token: str) -> int:
            return (await connections.ask(asked(token))).status

        callers = [asyncio.create_task(caller()) for _ in range(CALLERS)]
        for number in range(1, times + 1):
            old, new = f"token-{number - 1}", f"token-{number}"
            secret.hold(previous=old, token=new)  # both are valid, until the callers have changed over
            await aeventually(lambda new=new: _is(status(new), 200), timeout=20)  # type: ignore[misc]
            current, answered = number, len(replies)
            # What was sent with the old one has been answered by then.
            await aeventually(lambda answered=answered: _more(replies, answered + 2 * CALLERS), timeout=60)  # type: ignore[misc]
            secret.hold(token=new)
            await aeventually(lambda old=old: _is(status(old), 401), timeout=20)  # type: ignore[misc]
        going = False
        await asyncio.gather(*callers)
    assert statuses(replies) == {200: len(replies)}
    assert len(replies) > times * CALLERS


async def _is(asking: Awaitable[int], status: int) -> bool:
    return await asking == status


async def _more(replies: Sequence[object], than: int) -> bool:
    return len(replies) > than
