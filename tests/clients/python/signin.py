"""The OAuth side of a headless client.

A loopback callback listener, a browser that is one plain HTTP GET, and a token
storage in memory that counts sign-ins. Serves both generations of the SDK, whose
storage protocols agree.
"""

import asyncio
from urllib.parse import parse_qs, urlsplit

from mcp.shared.auth import OAuthClientMetadata

SIGN_IN_SECONDS = 30


class SignIn:
    """Keeps what the SDK asks it to keep, and goes to the browser for the user."""

    def __init__(self, browser):
        self.tokens = None
        self.first_token = None
        self.client = None
        self.sign_ins = 0
        self._browser = browser
        self._server = None
        self._answer = None

    @classmethod
    async def start(cls, browser):
        """`browser` follows redirects to their end, as a person's browser would."""
        sign_in = cls(browser)
        sign_in._server = await asyncio.start_server(sign_in._callback, "localhost", 0)
        return sign_in

    def close(self):
        self._server.close()

    @property
    def metadata(self):
        port = self._server.sockets[0].getsockname()[1]
        return OAuthClientMetadata(
            client_name="mcp-gateway client test",
            redirect_uris=[f"http://localhost:{port}/callback"],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
            token_endpoint_auth_method="none",
        )

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client_info):
        self.client = client_info

    async def go_to_browser(self, url):
        self.sign_ins += 1
        self._answer = asyncio.get_running_loop().create_future()
        response = await self._browser.get(url)
        if response.status_code != 200 or response.text != "signed in":
            where = response.url.copy_with(query=None)
            raise RuntimeError(
                f"the browser ended at {where} with status {response.status_code} instead of at the callback"
            )

    async def callback(self):
        """Parameters of the callback, each with its first value."""
        answer = await asyncio.wait_for(self._answer, SIGN_IN_SECONDS)
        if "error" in answer:
            raise RuntimeError(f"sign-in failed: {answer['error']}: {answer.get('error_description')}")
        return answer

    async def _callback(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        target = urlsplit(head.split(b" ", 2)[1].decode())
        found = target.path == "/callback"
        body = b"signed in" if found else b""
        status = "200 OK" if found else "404 Not Found"
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
        )
        if found and not self._answer.done():
            self._answer.set_result({name: values[0] for name, values in parse_qs(target.query).items()})
        await writer.drain()
        writer.close()
