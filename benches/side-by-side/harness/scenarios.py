"""What is compared: one class for each kind of work.

A scenario checks a server, makes the requests, and measures one round: the CPU time of the server's
processes for a fixed number of requests.
"""

import contextlib
import json

from . import checks
from .server import METADATA

EVERYONE = ("nginx", "haproxy", "envoy", "agentgateway", "caddy", "noop", "gateway")


class Scenario:
    """Requests on 32 connections that stay, in a closed loop."""

    name = title = ""
    participants = EVERYONE
    protocol = "http1"
    connections = 32
    requests = 8000
    #: Microseconds of CPU for each of these.
    unit = "request"

    def check(self, server):
        raise NotImplementedError

    def script(self, server, round_number):
        raise NotImplementedError

    def prepare(self, server):
        """Called once for each server, after its check."""

    def participates(self, server):
        return server.name in self.participants

    def count(self, server, scale):
        """Requests of one round."""
        # The old stack takes milliseconds where others take microseconds.
        slow = 8 if server.name == "caddy" and self.name in ("authorize", "token") else 1
        return max(self.connections, int(self.requests * scale / slow))

    def measure(self, server, round_number, scale):
        """Runs one round; returns microseconds of CPU each, and what the client saw."""
        script = self.script(server, round_number)
        count = self.count(server, scale)
        before = server.cpu()
        told = self.send(server, script, count)
        spent = server.cpu() - before
        self.verify(told, count)
        return spent / 1000 / count, told

    def send(self, server, script, count):
        port = server.port(self.protocol)
        return server.bed.send(port, self.protocol, script, self.connections, count)

    def verify(self, told, count):
        """Every answer was the expected one, in every round."""
        checks.expect(told["statuses"], {"200": count}, f"answers of {self.name}")


class Metadata(Scenario):
    name, title = "metadata", "metadata from memory, HTTP/1.1"
    requests = 16000

    def check(self, server):
        checks.metadata(server, self.protocol)

    def script(self, server, round_number):
        return server.script("metadata", [server.bed.get(METADATA)])


class Post(Scenario):
    name, title = "post", "MCP POST, HTTP/1.1"
    participants = (*EVERYONE, "gateway-log")

    def check(self, server):
        checks.call(server, self.protocol)

    def prepare(self, server):
        # Sealed by the gateway, the upstream's own from the others.
        server.session = checks.open_session(server, self.protocol)

    def script(self, server, round_number):
        call = server.bed.call(server.bed.token, server.session)
        return server.script("post", [call])


class PostTls(Post):
    name, title = "post-h2", "MCP POST, TLS and HTTP/2"
    participants = EVERYONE
    protocol = "https2"


class FirstOfToken(Post):
    """Each request brings a token that the server has not seen."""

    name, title = "first", "MCP POST with a new token, HTTP/1.1"
    participants = ("haproxy", "envoy", "agentgateway", "gateway")
    requests = 400

    def script(self, server, round_number):
        bed = server.bed
        # The warm-up, round 0, has its own.
        tokens = bed.fresh_tokens[round_number * self.requests :][: self.requests]
        return server.script("first", [bed.call(token, server.session) for token in tokens])


class Handshake(Metadata):
    name, title = "handshake", "TLS 1.3 handshake, full, and one request"
    protocol = "https1"
    connections = 8
    requests = 800
    resume = False

    def send(self, server, script, count):
        port = server.port(self.protocol)
        told = server.bed.send(port, self.protocol, script, self.connections, count,
                               do="handshakes", resume=self.resume)
        # Resuming clients begin with one full handshake each.
        full = self.connections if self.resume else count
        checks.expect(told["full"], full, "full handshakes")
        return told

    def count(self, server, scale):
        each = int(self.requests * scale / self.connections)
        return max(2, each) * self.connections


class Resumption(Handshake):
    name, title = "resumption", "TLS 1.3 handshake, resumed, and one request"
    resume = True


class Authorize(Scenario):
    name, title = "authorize", "authorize redirect"
    participants = ("caddy", "gateway")
    requests = 8000

    def check(self, server):
        checks.authorize(server, self.protocol)

    def script(self, server, round_number):
        return server.script("authorize", [server.bed.authorize()])

    def verify(self, told, count):
        (status, answers), = told["statuses"].items()
        checks.expect((status in ("302", "303"), answers), (True, count), "redirects")


class Token(Scenario):
    name, title = "token", "token exchange"
    participants = ("caddy", "gateway")
    connections = 16
    requests = 2400

    def check(self, server):
        checks.exchange(server, self.protocol)

    def script(self, server, round_number):
        return server.script("token", [server.bed.exchange(server.token_path)])


class Events(Scenario):
    """Streams with ten events a second each."""

    name, title = "events", "event of a stream, 200 streams"
    connections = 200
    requests = 4000
    unit = "event"

    def check(self, server):
        checks.events(server, self.protocol)

    def script(self, server, round_number):
        return server.script("events", [server.bed.get("/mcp", server.bed.token)])

    def measure(self, server, round_number, scale):
        each = max(3, self.count(server, scale) // self.connections)
        with open_streams(server, self.script(server, round_number), self.connections, each) as run:
            before = server.cpu()
            told = run()
            spent = server.cpu() - before
        count = each * self.connections
        self.verify(told, count)
        return spent / 1000 / count, told


class OneAtATime(Post):
    """Latency: a client that waits for each answer."""

    name, title = "alone", "MCP POST, one at a time, HTTP/1.1"
    participants = ("direct", *EVERYONE)
    connections = 1
    requests = 1500


@contextlib.contextmanager
def open_streams(server, script, streams, events):
    """Opens streams; the block then measures their next events, and ends them."""
    load = server.bed.load(do="events", address=f"127.0.0.1:{server.plain}", protocol="http1",
                           script=script, connections=streams, events=events)
    try:
        if not load.stdout.readline():
            raise RuntimeError(f"{server.name}: the streams do not open")

        def run():
            told, _ = load.communicate("go\n", timeout=120)
            if load.returncode != 0:
                raise RuntimeError(f"{server.name}: a stream broke")
            return json.loads(told)

        yield run
    finally:
        load.kill()
        load.wait()


ALL = [Metadata, Post, PostTls, FirstOfToken, Handshake, Resumption, Authorize, Token, Events,
       OneAtATime]
