"""The official Python SDK 2.x, in both of its ways.

`auto` probes for the sessionless protocol as programs built on it do unless told
otherwise, `legacy` opens with a handshake.
"""

import asyncio
from contextlib import asynccontextmanager

import httpx2
import mcp_types as types
from mcp import Client, MCPError
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import SubscriptionLost
from mcp.shared.auth import AuthorizationCodeResult

from story import main, text

MODERN = "2026-07-28"
"""From this revision on there are no sessions and no notifications that nobody asked for."""

METHOD_NOT_FOUND = -32601
"""JSON-RPC's code for a method that the server does not have."""


class Connection:
    def __init__(self):
        self.notifications = 0
        self.notifies = True
        self.client = None

    @property
    def server(self):
        return self.client.server_info.name if self.client.server_info else "unnamed"

    @property
    def protocol(self):
        return self.client.protocol_version

    async def on_message(self, message):
        if isinstance(message, types.ToolListChangedNotification):
            self.notifications += 1

    async def listen(self, started):
        """Listens, and again whenever the stream ends, as the SDK leaves to its user.

        `started` gets whether the server has notifications to listen to.
        """
        while True:
            try:
                async with self.client.listen(tools_list_changed=True) as events:
                    if not started.done():
                        started.set_result(True)
                    async for _ in events:
                        self.notifications += 1
            except SubscriptionLost:
                pass
            except MCPError as error:
                if started.done() or error.code != METHOD_NOT_FOUND:
                    raise
                started.set_result(False)
                return

    async def list_tools(self):
        return [tool.name for tool in (await self.client.list_tools()).tools]

    async def call(self, name, arguments, on_progress=None):
        result = await self.client.call_tool(name, arguments, progress_callback=on_progress)
        return text(result, result.is_error)


def provider(url, sign_in):
    async def callback():
        answer = await sign_in.callback()
        return AuthorizationCodeResult(code=answer["code"], state=answer.get("state"), iss=answer.get("iss"))

    return OAuthClientProvider(
        server_url=url,
        client_metadata=sign_in.metadata,
        storage=sign_in,
        redirect_handler=sign_in.go_to_browser,
        callback_handler=callback,
    )


@asynccontextmanager
async def connect(url, client, mode):
    connection = Connection()
    transport = streamable_http_client(url, http_client=client)
    async with Client(transport, mode=mode, message_handler=connection.on_message) as connection.client:
        listener = None
        if connection.protocol >= MODERN:
            started = asyncio.get_running_loop().create_future()
            listener = asyncio.create_task(connection.listen(started))
            await asyncio.wait([listener, started], return_when=asyncio.FIRST_COMPLETED)
            connection.notifies = started.done() and started.result()
            if listener.done():
                listener.result()
        try:
            yield connection
        finally:
            if listener:
                listener.cancel()
                await asyncio.wait([listener])


main("python-2", httpx2, provider, connect, modes=["auto", "legacy"])
