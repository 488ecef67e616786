"""The official Python SDK 1.x."""

from contextlib import asynccontextmanager

import httpx
from mcp import ClientSession, types
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client

from story import main, text


class Connection:
    def __init__(self):
        self.notifications = 0
        self.notifies = True
        self.session = None
        self.server = None
        self.protocol = None

    async def on_message(self, message):
        if isinstance(message, types.ServerNotification) and isinstance(
            message.root, types.ToolListChangedNotification
        ):
            self.notifications += 1

    async def list_tools(self):
        return [tool.name for tool in (await self.session.list_tools()).tools]

    async def call(self, name, arguments, on_progress=None):
        result = await self.session.call_tool(name, arguments, progress_callback=on_progress)
        return text(result, result.isError)


def provider(url, sign_in):
    async def callback():
        answer = await sign_in.callback()
        return answer["code"], answer.get("state")

    return OAuthClientProvider(
        server_url=url,
        client_metadata=sign_in.metadata,
        storage=sign_in,
        redirect_handler=sign_in.go_to_browser,
        callback_handler=callback,
    )


@asynccontextmanager
async def connect(url, client, _mode):
    connection = Connection()
    async with (
        streamable_http_client(url, http_client=client) as (read, write, _),
        ClientSession(read, write, message_handler=connection.on_message) as session,
    ):
        answer = await session.initialize()
        connection.session = session
        connection.server = answer.serverInfo.name
        connection.protocol = answer.protocolVersion
        yield connection


main("python-1", httpx, provider, connect, modes=["legacy"])
