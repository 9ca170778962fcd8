"""Asks pods for their /status.

Only pods that are loading, or whose model is not known yet: the operator has no standing traffic to pods.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

import aiohttp

from slipway_operator import contract
from slipway_operator.contract import RuntimeStatus
from slipway_operator.model_endpoint.pod import Pod


@asynccontextmanager
async def connect(*, timeout: float) -> AsyncIterator["PodReader"]:  # noqa: ASYNC109 - of each later request
    """A reader with a session of its own, closed on leaving: the API server's token must never reach a pod."""
    connector, jar = aiohttp.TCPConnector(limit=64), aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, cookie_jar=jar) as session:
        yield PodReader(session, timeout=timeout)


class PodReader:
    def __init__(self, session: aiohttp.ClientSession, *, timeout: float) -> None:
        self._session = session
        self._timeout = aiohttp.ClientTimeout(total=timeout)

    async def reports(self, pods: Iterable[Pod]) -> Mapping[str, RuntimeStatus]:
        """/status of each pod that answers in time with something readable, by pod name."""
        asked = [pod for pod in pods if pod.running and pod.address]
        answers = await asyncio.gather(*(self._report(pod) for pod in asked))
        return {pod.name: answer for pod, answer in zip(asked, answers, strict=True) if answer is not None}

    async def _report(self, pod: Pod) -> RuntimeStatus | None:
        host = f"[{pod.address}]" if ":" in (pod.address or "") else pod.address
        url = f"http://{host}:{contract.ADMIN_PORT}/status"
        try:
            async with self._session.get(url, timeout=self._timeout, allow_redirects=False) as response:
                if response.status != 200:
                    return None
                return contract.parse_status(await _body(response.content, contract.STATUS_LIMIT))
        except (aiohttp.ClientError, TimeoutError, OSError):
            # A pod that does not answer is not ready, and the kubelet says so: nothing to add.
            return None


async def _body(stream: aiohttp.StreamReader, limit: int) -> bytes:
    """All of the body, or its first `limit` bytes. One read() would return what has arrived so far."""
    body = b""
    async for chunk in stream.iter_any():
        body += chunk
        if len(body) > limit:
            break
    return body[:limit]
