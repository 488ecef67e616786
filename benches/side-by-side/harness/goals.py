"""The goals, each with the figure that is held against it.

A goal is met when the whole 95 % interval of its figure is within it, missed when none of the
interval is, and open otherwise. CPU goals closer to 1 than CPU medians move between runs (15 %)
are shown with their figures and judged by instructions.
"""

from . import rounds


class Goal:
    """One goal; `figure` returns value, low and high from the results, or None."""

    def __init__(self, work, beside, limit, figure, unit="", judged=True):
        self.work, self.beside, self.limit = work, beside, limit
        self.figure, self.unit, self.judged = figure, unit, judged

    def verdict(self, found):
        if not self.judged:
            return "by instructions"
        _, low, high = found
        if high <= self.limit:
            return "met"
        return "**missed**" if low > self.limit else "open"


def cpu(scenario, under, over="gateway", what="cpu"):
    """The ratio of two servers in one scenario."""

    def figure(results):
        figures = results.figures.get(scenario, {})
        if over in figures and under in figures:
            return rounds.ratio(figures[over], figures[under], what)
        return None

    return figure


def instructions(scenario):
    def figure(results):
        found = results.instructions.get(scenario, {})
        if "gateway" in found and "noop" in found:
            return (found["gateway"] / found["noop"],) * 3
        return None

    return figure


def between(scenario, other):
    """How many microseconds one scenario of the gateway is above another one."""

    def figure(results):
        over = results.figures.get(scenario, {}).get("gateway")
        under = results.figures.get(other, {}).get("gateway")
        if over and under:
            # Not of one round, so each end is the least favourable of both.
            spread = sorted(a - b for a in over.cpu for b in under.cpu)
            cut = len(spread) // 40
            return over.median() - under.median(), spread[cut], spread[-1 - cut]
        return None

    return figure


def cheaper(scenario, other):
    """The gateway in one scenario beside itself in another."""

    def figure(results):
        over = results.figures.get(scenario, {}).get("gateway")
        under = results.figures.get(other, {}).get("gateway")
        return rounds.ratio(over, under) if over and under else None

    return figure


def footprint(key):
    def figure(results):
        found = results.footprint.get("gateway")
        return (found[key],) * 3 if found else None

    return figure


ALL = [
    Goal("metadata from memory, CPU", "no-op", 1.05, cpu("metadata", "noop"), judged=False),
    Goal("metadata from memory, instructions", "no-op", 1.10, instructions("metadata")),
    Goal("MCP POST, CPU", "no-op", 1.10, cpu("post", "noop"), judged=False),
    Goal("MCP POST with access log, CPU", "no-op", 1.10, cpu("post", "noop", "gateway-log"),
         judged=False),
    Goal("MCP POST, CPU, second goal", "no-op", 0.90, cpu("post", "noop"), judged=False),
    Goal("MCP POST, instructions", "no-op", 1.20, instructions("post")),
    Goal("MCP POST, CPU", "HAProxy `jwt_verify`", 0.9, cpu("post", "haproxy")),
    Goal("MCP POST, CPU", "Envoy `jwt_authn`", 0.5, cpu("post", "envoy")),
    Goal("MCP POST, CPU", "agentgateway `jwtAuth`", 0.45, cpu("post", "agentgateway")),
    Goal("MCP POST, TLS and HTTP/2, CPU", "HAProxy `jwt_verify`", 0.65, cpu("post-h2", "haproxy")),
    Goal("first request of a token, CPU", "the same, known", 60, between("first", "post"), " µs"),
    Goal("full TLS handshake, CPU", "nginx", 0.8, cpu("handshake", "nginx")),
    Goal("resumed TLS handshake, CPU", "full one", 1.0, cheaper("resumption", "handshake")),
    Goal("authorize redirect, CPU", "Caddy and Python", 0.06, cpu("authorize", "caddy")),
    Goal("token exchange, CPU", "Caddy and Python", 0.08, cpu("token", "caddy")),
    Goal("idle connection, plain", "", 24, footprint("plain"), " KiB"),
    Goal("idle connection, TLS", "", 48, footprint("tls"), " KiB"),
    # Given back: no more than a tenth of what one may take.
    Goal("idle connection, plain, 10 s after it left", "", 2.4, footprint("plain_left"), " KiB"),
    Goal("idle connection, TLS, 10 s after it left", "", 4.8, footprint("tls_left"), " KiB"),
    Goal("event of a stream, CPU", "no-op", 1.1, cpu("events", "noop")),
    Goal("event of a stream, median latency", "nginx", 1.2,
         cpu("events", "nginx", what="p50")),
    Goal("start to first answer", "", 100, footprint("start"), " ms"),
    Goal("memory at rest", "", 30, footprint("rest"), " MiB"),
    Goal("binary", "", 25, footprint("binary"), " MB"),
]
