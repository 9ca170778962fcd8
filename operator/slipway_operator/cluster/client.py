"""One authenticated, measured session to the API server, shared with kopf.

kubernetes.aio supplies configuration, TLS and token refresh; the calls themselves are ours, over its aiohttp session
with orjson: five times the throughput of its dynamic client, and no typed models to import (reference/kopf.md section
4).
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp.client_middlewares import ClientHandlerType
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from slipway_operator import __version__, errors, metrics
from slipway_operator.kinds import Object, Resource

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
LIST_PAGE = 500
USER_AGENT = f"slipway-operator/{__version__}"
"""Tells the operator in the API server's audit log, where kopf's requests have a word more."""


async def load_configuration() -> Configuration:
    """The cluster's address and credentials: KUBECONFIG if set, else the pod's ServiceAccount.

    Raises errors.NotConfigured.
    """
    configuration, path = Configuration(), os.environ.get("KUBECONFIG")
    try:
        if path:
            await load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except (ConfigException, OSError) as error:
        where = f"KUBECONFIG is {path}" if path else "KUBECONFIG is not set, and this is no pod with a ServiceAccount"
        what = str(error).rstrip(".")
        raise errors.NotConfigured(
            f"{where}: {what}. Set KUBECONFIG to the path of a kubeconfig file, or install the Helm chart."
        ) from error
    return configuration


class Client:
    """Requests to the API server as verbs on resources. Raises errors.ClusterError and nothing else."""

    def __init__(
        self, session: aiohttp.ClientSession, server: str, *, timeout: float, options: dict[str, Any] | None = None
    ) -> None:
        self.session = session
        self.server = server.rstrip("/")
        self._options = options or {}
        self._timeout = aiohttp.ClientTimeout(total=timeout)

    def lend(self) -> aiohttp.ClientSession:
        """Another session over the same connections, for a borrower that closes it: kopf does after a 401."""
        options = {**self._options, "headers": {"User-Agent": f"{USER_AGENT} kopf"}}
        return aiohttp.ClientSession(connector=self.session.connector, connector_owner=False, **options)

    async def list(self, resource: Resource, namespace: str | None = None, **params: str) -> Object:
        """One page, or all of it without `limit`: an object with `items` and `metadata.resourceVersion`."""
        return await self._send("list", resource, "GET", resource.path(namespace), params=params)

    async def create(self, resource: Resource, obj: Object) -> Object:
        path = resource.path(obj["metadata"].get("namespace"))
        return await self._send("create", resource, "POST", path, body=obj)

    async def apply(self, resource: Resource, obj: Object, *, manager: str, subresource: str | None = None) -> Object:
        """Server-side apply with force: creates, or takes over the fields that `obj` has. Returns the live object."""
        metadata = obj["metadata"]
        path = resource.path(metadata.get("namespace"), metadata["name"], subresource)
        params = {"fieldManager": manager, "force": "true"}
        return await self._send("patch", resource, "PATCH", path, body=obj, params=params, content_type=APPLY)

    async def merge(
        self, resource: Resource, namespace: str, name: str, patch: Object, *, manager: str = "slipway-operator"
    ) -> Object:
        """JSON merge patch. With metadata.resourceVersion in it, errors.Conflict if the object changed meanwhile."""
        path, params = resource.path(namespace, name), {"fieldManager": manager}
        return await self._send("patch", resource, "PATCH", path, body=patch, params=params, content_type=MERGE)

    async def delete(self, resource: Resource, obj: Object) -> None:
        """Deletes the very object that was seen: another one that took its name meanwhile stays (errors.Conflict)."""
        metadata = obj["metadata"]
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": metadata["uid"]}}
        path = resource.path(metadata.get("namespace"), metadata["name"])
        await self._send("delete", resource, "DELETE", path, body=body)

    @asynccontextmanager
    async def watch(
        self, resource: Resource, namespace: str | None, **params: str
    ) -> AsyncIterator[AsyncIterator[Any]]:
        """An open watch: yields the decoded events. The caller bounds silence; connecting is bounded here."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout.total)
        query = {"watch": "true", "allowWatchBookmarks": "true", **params}
        try:
            # The body has no limit in time; without one on the headers, a server that accepts and says nothing would
            # hold this watch for ever.
            async with asyncio.timeout(self._timeout.total):
                opened = await self.session.get(
                    self.server + resource.path(namespace),
                    params=query,
                    timeout=timeout,
                    trace_request_ctx=("watch", resource),
                )
            async with opened as response:
                if response.status >= 400:
                    raise errors.from_response(response.status, await response.read(), _retry_after(response))
                yield _decoded_lines(response.content)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise errors.Unreachable(f"watch {resource.plural}: {type(error).__name__}: {error}") from error

    async def _send(
        self,
        verb: str,
        resource: Resource,
        method: str,
        path: str,
        *,
        body: Object | None = None,
        params: dict[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        data = None if body is None else orjson.dumps(body)
        headers = {"Accept": "application/json", **({"Content-Type": content_type} if data is not None else {})}
        try:
            async with self.session.request(
                method,
                self.server + path,
                data=data,
                params=params,
                headers=headers,
                timeout=self._timeout,
                trace_request_ctx=(verb, resource),
            ) as response:
                payload = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise errors.Unreachable(f"{verb} {resource.plural}: {type(error).__name__}: {error}") from error
        if response.status >= 400:
            raise errors.from_response(response.status, payload, _retry_after(response))
        return _decoded(payload)


@asynccontextmanager
async def connect(*, connections: int, request_timeout: float) -> AsyncIterator[Client]:
    """A client for the configured cluster, closed on leaving."""
    configuration = await load_configuration()
    configuration.connection_pool_maxsize = connections
    options = {
        # Reading proxy variables and .netrc costs 0.3 ms a request; a proxy before the API server is set in KUBECONFIG.
        "trust_env": False,
        "read_bufsize": 2**21,  # as kubernetes.aio sets it: an event may be large
        "headers": {"User-Agent": USER_AGENT},
        "middlewares": (_authenticated(configuration),),
        "trace_configs": [_measured()],
    }
    configuration.client_session_kwargs = options
    session = RESTClientObject(configuration)._create_pool_manager()
    try:
        yield Client(session, configuration.host, timeout=request_timeout, options=options)
    finally:
        if isinstance(session.connector, aiohttp.TCPConnector):
            # Without TLS's farewell, which would go on after the event loop has ended.
            await session.connector.close(abort_ssl=True)
        await session.close()
        # An aborted connection ends in the loop's next turn: where there is none, its socket is left behind.
        await asyncio.sleep(0)


def _authenticated(configuration: Configuration) -> aiohttp.ClientMiddlewareType:
    """Adds the token at each request: the kubelet replaces it about once an hour, the hook re-reads the file."""

    async def middleware(request: aiohttp.ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
        token = await configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        if token:
            request.headers["Authorization"] = token
        return await handler(request)

    return middleware


def _measured() -> aiohttp.TraceConfig:
    """Counts every request of the session, kopf's included, by verb, resource and code."""
    trace = aiohttp.TraceConfig()

    def labels_of(context: Any, method: str, path: str) -> tuple[str, str]:
        known = context.trace_request_ctx
        if isinstance(known, tuple):
            return known[0], known[1].plural
        # kopf's own requests carry no context; its paths end in the plural, and it only reads.
        return method.lower(), Path(path).name

    async def start(_: aiohttp.ClientSession, context: Any, __: aiohttp.TraceRequestStartParams) -> None:
        context.started = time.perf_counter()

    async def end(_: aiohttp.ClientSession, context: Any, params: aiohttp.TraceRequestEndParams) -> None:
        verb, plural = labels_of(context, params.method, params.url.path)
        metrics.API_REQUESTS.labels(verb, plural, str(params.response.status)).inc()
        metrics.API_SECONDS.labels(verb, plural).observe(time.perf_counter() - context.started)

    async def failed(_: aiohttp.ClientSession, context: Any, params: aiohttp.TraceRequestExceptionParams) -> None:
        if isinstance(params.exception, asyncio.CancelledError):
            return
        verb, plural = labels_of(context, params.method, params.url.path)
        metrics.API_REQUESTS.labels(verb, plural, "unreachable").inc()

    trace.on_request_start.append(start)
    trace.on_request_end.append(end)
    trace.on_request_exception.append(failed)
    return trace


async def _decoded_lines(stream: aiohttp.StreamReader) -> AsyncIterator[Any]:
    """JSON values of a stream of lines. Not readline(): it has a limit, and an event may be as large as etcd allows."""
    rest = b""
    async for chunk in stream.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line:
                yield _decoded(line)


def _decoded(body: bytes) -> Object:
    try:
        decoded = orjson.loads(body)
    except orjson.JSONDecodeError:
        decoded = None
    if not isinstance(decoded, dict):
        raise errors.Unreachable("the answer is not a JSON object: something between us and the API server answers")
    return decoded


def _retry_after(response: aiohttp.ClientResponse) -> str | None:
    value: str | None = response.headers.get("Retry-After")
    return value
