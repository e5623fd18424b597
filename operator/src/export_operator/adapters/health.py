"""/livez, /readyz and /metrics, by a server of our own: kopf's lives inside its task and dies with it."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from export_operator.adapters.metrics import Metrics


class HealthServer:
    """`ready` says whether requests are being served; `alive` whether the process should go on."""

    def __init__(self, port: int, metrics: Metrics, *, alive: Callable[[], bool], ready: Callable[[], bool]) -> None:
        self._port = port
        self._metrics = metrics
        self._checks = {"/livez": alive, "/readyz": ready}
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        for path in self._checks:
            app.router.add_get(path, self._answer)
        app.router.add_get("/metrics", self._show_metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, port=self._port).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        fine = self._checks[request.path]()
        return web.Response(status=200 if fine else 503, text="ok\n" if fine else "not ready\n")

    async def _show_metrics(self, request: web.Request) -> web.Response:
        body, content_type = self._metrics.render(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})
