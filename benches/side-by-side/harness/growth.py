"""What a request costs as the configuration grows: routes, then backends."""

import random

from . import checks
from .scenarios import Scenario
from .servers import Gateway

#: As many as one upstream may have.
BACKENDS_OF_ONE = 250


class ManyRoutes(Gateway):
    """A gateway with many routes beside its own."""

    name = "gateway-routes"
    many = 10

    def routes(self):
        more = [
            {"path": f"/team/{number}/status", "filters": [{"respond": {"json": {"n": number}}}]}
            for number in range(self.many)
        ]
        return super().routes() + more


class ManyBackends(Gateway):
    """A gateway with many backends, which are one upstream under many addresses."""

    name = "gateway-backends"
    many = 10

    def groups(self):
        return range((self.many + BACKENDS_OF_ONE - 1) // BACKENDS_OF_ONE)

    def upstreams(self):
        # All of 127.0.0.0/8 is loopback.
        address = lambda n: f"127.1.{n // 250}.{n % 250 + 1}:{self.bed.upstream_port}"
        every = [address(number) for number in range(self.many)]
        return {
            f"workload{group}": {
                "backends": every[group * BACKENDS_OF_ONE :][:BACKENDS_OF_ONE],
            }
            for group in self.groups()
        }

    def routes(self):
        path = lambda group: f"/mcp/{group}" if group else "/mcp"
        return [
            {"path": path(group), "mcp": {"upstream": f"workload{group}"}}
            for group in self.groups()
        ]


class AskRoutes(Scenario):
    """Asks for routes drawn from all, the same in every run."""

    name = "routes"

    def check(self, server):
        last = server.many - 1
        answer = checks.ask(server, "http1", server.bed.get(f"/team/{last}/status"))
        checks.expect(answer["body"], f'{{"n":{last}}}', "the last route")

    def script(self, server, round_number):
        drawn = random.Random(1).choices(range(server.many), k=256)
        return server.script("routes", [server.bed.get(f"/team/{n}/status") for n in drawn])


class CallBackends(Scenario):
    """Calls without a session, so that each chooses its backend."""

    name = "backends"

    def check(self, server):
        answer = checks.ask(server, "http1", server.bed.call(server.bed.token))
        checks.expect(answer["status"], 200, "a call")

    def prepare(self, server):
        # A connection to each backend, before the clock runs.
        count = max(500, 8 * server.many)
        server.bed.send(server.plain, "http1", self.script(server, 0), self.connections, count)

    def script(self, server, round_number):
        paths = [f"/mcp/{group}" if group else "/mcp" for group in server.groups()]
        return server.script(
            "backends", [server.bed.call(server.bed.token, path=path) for path in paths])


def measure(bed, kind, scenario, sizes, rounds, scale, run, say):
    """Measures gateways of several sizes in interleaved rounds; returns rows by size."""
    servers, rows = [], {}
    for size in sizes:
        server = kind(bed)
        server.many, server.name = size, f"{kind.name}-{size}"
        scenario.participants = (*scenario.participants, server.name)
        servers.append(server)
    try:
        for server in servers:
            rows[str(server.many)] = {"start": server.start(seconds=120)}
            # The program itself is shared by all of them.
            rows[str(server.many)]["private"] = server.memory("Anonymous") / 1024
        figures, refused = run(scenario, servers, rounds, scale, say)
        for server in servers:
            if server.name in figures:
                rows[str(server.many)]["cpu"] = figures[server.name].median()
            else:
                rows[str(server.many)]["refused"] = refused[server.name]
    finally:
        for server in servers:
            server.stop()
    return rows
