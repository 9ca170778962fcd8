"""/livez, /readyz and /metrics.

Not kopf's liveness endpoint: it answers 200 as long as the event loop turns, watching or not, and caches for 10 s.
"""

import socket

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from slipway_operator import metrics
from slipway_operator.process import Process


class Probes:
    def __init__(self, process: Process) -> None:
        self._process = process
        self._runners: list[web.AppRunner] = []

    async def start(self) -> None:
        settings = self._process.settings
        await self._serve(settings.health_port, {"/livez": self._livez, "/readyz": self._readyz})
        await self._serve(settings.metrics_port, {"/metrics": self._metrics})

    async def stop(self) -> None:
        for runner in self._runners:
            await runner.cleanup()

    async def _serve(self, port: int, routes: dict[str, object]) -> None:
        app = web.Application(client_max_size=1024)
        app.add_routes([web.get(path, handler) for path, handler in routes.items()])  # type: ignore[arg-type]
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        self._runners.append(runner)
        await web.SockSite(runner, _listening(port)).start()

    async def _livez(self, _: web.Request) -> web.Response:
        return _verdict(self._process.dead())

    async def _readyz(self, _: web.Request) -> web.Response:
        return _verdict(self._process.unready())

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(metrics.REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _listening(port: int) -> socket.socket:
    """On IPv6 and IPv4 at once, since the kubelet probes whichever address the pod has; IPv4 where IPv6 is off."""
    try:
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    except (OSError, ValueError):
        pass
    try:
        return socket.create_server(("", port))
    except OSError as error:
        raise OSError(f"port {port} cannot be listened on: {error}") from error


def _verdict(why_not: list[str]) -> web.Response:
    if not why_not:
        return web.Response(text="ok\n")
    return web.Response(status=503, text="\n".join(why_not) + "\n")
