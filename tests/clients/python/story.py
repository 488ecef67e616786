"""What every client must be able to do through the gateway, told once.

A client module opens connections; this file drives them and prints one line a step.
"""

import asyncio
import base64
import json
import ssl
import sys
import time
import traceback
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

from signin import SignIn

STEP_SECONDS = 30
"""No single step but the wait for a token's end may take longer."""

EXPIRY_SECONDS = 150
"""Longest token lifetime the demo is started with, and some more."""

NOTIFICATION_SECONDS = 2
"""How long a notification may be under way before it is asked for again."""

STEPS = 5
STEP_DELAY_MS = 200
"""Steps of the tool that reports progress, and how long each takes."""

TOOLS = ("echo", "instance", "notify", "progress")
"""The sample server's tools that the story calls."""


class Failure(Exception):
    """A step of the story did not go as it must."""


def check(condition, message):
    if not condition:
        raise Failure(message)


def expiry(jwt):
    """The moment a JWT ends, in seconds since the epoch."""
    payload = jwt.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"]


def text(result, is_error):
    """Text of a tool result; an error result is an error."""
    said = "".join(getattr(part, "text", "") for part in result.content)
    check(not is_error, f"the tool failed: {said}")
    return said


def leaves(error):
    """The errors inside nested exception groups, which is how the SDK's task groups report."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]


class Wire:
    """Watches the answers of one HTTP client: the SDK keeps the session's id and end to itself."""

    def __init__(self):
        self.session = None
        self.ended = None

    async def on_response(self, response):
        self.session = response.headers.get("mcp-session-id", self.session)
        if response.request.method == "DELETE":
            self.ended = response.status_code


class Story:
    """Runs steps under a deadline and says how they went."""

    def __init__(self, name):
        self.name = name

    async def step(self, title, action, seconds=STEP_SECONDS):
        try:
            detail = await asyncio.wait_for(action(), seconds)
        except (TimeoutError, asyncio.TimeoutError) as error:
            raise Failure(f"{title}: no outcome within {seconds} s") from error
        except Exception as error:
            told = "; ".join(str(leaf) or type(leaf).__name__ for leaf in leaves(error))
            raise Failure(f"{title}: {told}") from error
        print(f"ok {self.name}: {title}" + (f" ({detail})" if detail else ""), flush=True)


async def notified(connection):
    """Asks the server for a notification until one arrives.

    Again and again, because a client opens its stream in its own time and nothing
    replays what was sent before it.
    """
    before = connection.notifications
    while True:
        await connection.call("notify", {})
        deadline = time.monotonic() + NOTIFICATION_SECONDS
        while time.monotonic() < deadline:
            if connection.notifications > before:
                return
            await asyncio.sleep(0.02)


async def use_tools(story, workload, connection):
    """Steps every connection is taken through, whatever SDK made it.

    A connection that the server offers no notifications to is not waited for.
    """

    async def lists():
        names = await connection.list_tools()
        for tool in TOOLS:
            check(tool in names, f"tool `{tool}` is missing in {names}")
        return f"{len(names)} tools"

    async def calls():
        said = f"grüße from {workload}"
        heard = await connection.call("echo", {"text": said})
        check(said in heard, f"echo answered `{heard}` instead of `{said}`")

    async def progresses():
        seen = []

        async def on_progress(progress, total, message):
            seen.append(time.monotonic())

        await connection.call("progress", {"steps": STEPS, "delay_ms": STEP_DELAY_MS}, on_progress)
        # The SDK may drop the last one when it reads it together with the result.
        check(len(seen) >= STEPS - 1, f"{len(seen)} progress notifications instead of {STEPS}")
        ahead = int((time.monotonic() - seen[0]) * 1000)
        check(ahead >= STEP_DELAY_MS, f"progress came only {ahead} ms before the result: it was held back")
        return f"{len(seen)} notifications, the first {ahead} ms before the result"

    await story.step(f"lists tools of {workload}", lists)
    await story.step(f"calls a tool of {workload}", calls)
    await story.step(f"sees progress of {workload}", progresses)
    if connection.notifies:
        await story.step(f"is notified by {workload}", lambda: notified(connection))


async def stays_on_one_replica(story, workload, connection):
    async def stays():
        instances = {await connection.call("instance", {}) for _ in range(6)}
        check(len(instances) == 1, f"six calls were answered by {' and '.join(sorted(instances))}")
        return instances.pop()

    await story.step(f"stays on one replica of {workload}", stays)


async def tell(story, http, provider, connect, modes):
    """The story of a program built on the SDK.

    `http` is the SDK's HTTP library, `provider(url, sign_in)` its OAuth provider, and
    `connect(url, client, mode)` a context manager that holds a connection. `modes` are
    the ways in which the SDK can open one, and each is taken to each workload.
    """
    where = json.loads(Path(sys.argv[1]).read_text())
    tls = ssl.create_default_context(cafile=where["ca"])
    timeout = http.Timeout(STEP_SECONDS, read=300)

    async with AsyncExitStack() as outer:
        browser = await outer.enter_async_context(
            http.AsyncClient(verify=tls, follow_redirects=True, timeout=STEP_SECONDS, trust_env=False)
        )
        workloads = []
        for url, mode in ((url, mode) for url in where["mcp"] for mode in modes):
            workload = urlsplit(url).path + (f" ({mode})" if len(modes) > 1 else "")
            sign_in = await SignIn.start(browser)
            outer.callback(sign_in.close)
            wire = Wire()
            client = await outer.enter_async_context(
                http.AsyncClient(
                    auth=provider(url, sign_in),
                    verify=tls,
                    timeout=timeout,
                    trust_env=False,
                    event_hooks={"response": [wire.on_response]},
                )
            )
            stack = await outer.enter_async_context(AsyncExitStack())
            # A step runs in a task of its own and the SDK's task groups must be left by the
            # task that entered them: the connection is opened here and only bounded by a timer.
            connection = await opened(story, workload, stack, connect(url, client, mode), sign_in)
            await use_tools(story, workload, connection)
            if wire.session:
                await stays_on_one_replica(story, workload, connection)
            workloads.append((url, workload, sign_in, wire, client, stack, connection, sign_in.first_token))

        for _, workload, sign_in, _, _, _, connection, token in workloads:

            async def refreshes(sign_in=sign_in, connection=connection, token=token):
                await asyncio.sleep(max(0, expiry(token) + 1 - time.time()))
                heard = await connection.call("echo", {"text": "still here"})
                check("still here" in heard, f"echo answered `{heard}`")
                check(sign_in.tokens.access_token != token, "the token is still the old one")
                check(sign_in.sign_ins == 1, f"the user was sent to the browser {sign_in.sign_ins} times")

            await story.step(f"refreshes an expired token of {workload}", refreshes, EXPIRY_SECONDS)
            if connection.notifies:
                await story.step(f"is notified by {workload} after the refresh", lambda c=connection: notified(c))

        for url, workload, _, wire, client, stack, connection, _ in reversed(workloads):
            protocol = connection.protocol
            async with asyncio.timeout(STEP_SECONDS):
                await stack.aclose()

            async def ends(url=url, wire=wire, client=client, protocol=protocol):
                if not wire.session:
                    return "nothing to end: this protocol has no sessions"
                check(wire.ended in (200, 202, 204), f"DELETE was answered with status {wire.ended}")
                status = await call_within(client, url, wire.session, protocol)
                check(status == 404, f"the ended session was answered with status {status} instead of 404")
                return "its id is refused afterwards"

            await story.step(f"ends its session with {workload}", ends)


async def opened(story, workload, stack, entering, sign_in):
    """Enters `entering` and checks what signing in left behind."""
    title = f"signs in at {workload}"
    try:
        async with asyncio.timeout(STEP_SECONDS):
            connection = await stack.enter_async_context(entering)
    except TimeoutError as error:
        raise Failure(f"{title}: no outcome within {STEP_SECONDS} s") from error
    except Exception as error:
        raise Failure(f"{title}: " + "; ".join(str(leaf) for leaf in leaves(error))) from error

    async def signed_in():
        check(sign_in.sign_ins == 1, f"the user was sent to the browser {sign_in.sign_ins} times")
        check(sign_in.tokens.refresh_token, "the token answer has no refresh token")
        sign_in.first_token = sign_in.tokens.access_token
        silent = "" if connection.notifies else ", which offers no notifications"
        return f"{connection.server}, {connection.protocol}{silent}"

    await story.step(title, signed_in)
    return connection


async def call_within(client, url, session, protocol):
    """Status of a call that names `session`, made beside the SDK."""
    response = await client.post(
        url,
        headers={
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": protocol,
            "mcp-session-id": session,
        },
        json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
    )
    return response.status_code


def main(name, http, provider, connect, modes):
    """Runs the story; a failure is one readable line and exit code 1."""
    try:
        asyncio.run(tell(Story(name), http, provider, connect, modes))
    except Exception as error:
        traceback.print_exc()
        told = "; ".join(str(leaf) or type(leaf).__name__ for leaf in leaves(error))
        print(f"FAILED {name}: " + " ".join(told.split()), flush=True)
        sys.exit(1)
