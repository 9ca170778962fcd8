"""Bearer tokens: the ASGI layer around every route.

Without a valid token nothing is answered but

    probes      GET and HEAD of OPEN: load balancers and SageMaker's platform call them and cannot send a token; they
                say whether a request would be answered, and nothing of the model
    the page    its files, the same in every image. GET / and /docs in a browser are 401 as for anybody, but the 401 is
                the page, which asks for a token and then sends it as every client does

so a route that is added later is closed, and so is a path that no route has. What decides is scope["path"], which is
what routes are found by: not the Host header, not a URL put together again (CVE-2026-48710), and paths are neither
redirected nor tidied up.

Only `Authorization: Bearer`: what InferenceClient, OpenAI's clients, Azure ML's endpoints and the clients of
text-generation-inference send. No cookies, which other sites could use, and no queries, which end up in logs.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from slipway_runtime.errors import Unauthorized
from slipway_runtime.serve.edge.http import send_body
from slipway_runtime.serve.edge.refusals import format_of, refusal
from slipway_runtime.serve.edge.tokens import Tokens
from slipway_runtime.serve.page import names, shell

OPEN = frozenset({"/health", "/ping", "/v2/health/live", "/v2/health/ready"})
_READS = ("GET", "HEAD")


class Authentication:
    """Lets through who has a token, and tells the rest of the server who it is: scope["slipway.caller"]."""

    def __init__(self, app: ASGIApp, tokens: Tokens) -> None:
        self._app = app
        self._tokens = tokens
        self._open = OPEN | {f"/page/{name}" for name in names()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind not in ("http", "lifespan"):
            return  # no other protocol is served: the server closes what the application did not accept
        if kind == "lifespan" or (scope["path"] in self._open and scope["method"] in _READS):
            await self._app(scope, receive, send)
            return
        try:
            scope["slipway.caller"] = self._caller(scope)
        except Unauthorized as error:
            await _refuse(scope, receive, send, error)
            return
        await self._app(scope, receive, send)

    def _caller(self, scope: Scope) -> str:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if not given:
            raise Unauthorized("a token is needed: send the header Authorization: Bearer <token>", given=False)
        scheme, _, token = given[0].partition(b" ")
        token = token.strip(b" ")
        if len(given) > 1 or scheme.lower() != b"bearer" or not token:
            raise Unauthorized("send one header Authorization, of the form: Bearer <token>", given=True)
        caller = self._tokens.caller(token)
        if caller is not None:
            return caller
        if self._tokens.count == 0:
            raise Unauthorized("this endpoint has no tokens now; /status on its admin port says why", given=True)
        raise Unauthorized("the token is not valid here; it may have been replaced", given=True)


async def _refuse(scope: Scope, receive: Receive, send: Send, error: Unauthorized) -> None:
    """401, before anything of the body is read."""
    path: str = scope["path"]
    scope["slipway.dialect"] = format_of(path).name  # counted and logged as that format's
    status, headers, body = refusal(path, error)
    page = shell(path, status, dict(headers)) if scope["method"] in _READS and _wants_html(scope) else None
    if page is not None:
        await page(scope, receive, send)
    else:
        await send_body(send, status, body, headers)


def _wants_html(scope: Scope) -> bool:
    return any(name == b"accept" and b"text/html" in value for name, value in scope["headers"])
