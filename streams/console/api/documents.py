"""The documents of the interfaces: OpenAPI of this API, AsyncAPI of the topics."""

import asyncio
from functools import cache

from aiohttp import web

from streams.console.api.openapi import openapi
from streams.console.api.responses import ROOT, json_response
from streams.contract.asyncapi import asyncapi
from streams.stage import load_stages


class DocumentApi:
    """The handlers of the documents."""

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get(f"{ROOT}/openapi.json", self.show_openapi)
        router.add_get(f"{ROOT}/asyncapi.json", self.show_asyncapi)

    async def show_openapi(self, _request: web.Request) -> web.Response:
        return json_response(await asyncio.to_thread(openapi_document))

    async def show_asyncapi(self, _request: web.Request) -> web.Response:
        return json_response(await asyncio.to_thread(_asyncapi_document))


@cache
def openapi_document() -> object:
    return openapi()


@cache
def _asyncapi_document() -> object:
    return asyncapi(load_stages())
