"""What a server costs before it does anything: start, size, memory at rest and per connection."""

import statistics
import time

from . import checks
from .scenarios import open_streams
from .server import METADATA


def measure(server, connections, streams, starts, say):
    """Returns the figures of one server, each kind of memory from a fresh process."""
    found = {"binary": server.program().stat().st_size / 1e6}
    took = []
    for _ in range(starts):
        took.append(server.start())
        found["rest"] = server.memory() / 1024
        server.stop()
    found["start"] = statistics.median(took)
    for what, protocol in (("plain", "http1"), ("tls", "https1")):
        found[what], found[f"{what}_left"] = held(server, protocol, connections)
    found["stream"] = streamed(server, streams)
    say(f"  {server.name:<12} " + "   ".join(f"{key} {value:.1f}" for key, value in found.items()))
    return found


def warm(server, protocol):
    """Makes what is made at first use."""
    script = server.script("warm", [server.bed.get(METADATA)])
    server.bed.send(server.port(protocol), protocol, script, 4, 200)


def held(server, protocol, connections):
    """KiB for each idle connection, and how many of them are still there 10 s after the last left."""
    server.start()
    try:
        checks.metadata(server, protocol)
        warm(server, protocol)
        before = server.memory()
        script = server.script("hold", [server.bed.get(METADATA)])
        load = server.bed.load(do="hold", address=f"127.0.0.1:{server.port(protocol)}",
                               protocol=protocol, script=script, connections=connections)
        try:
            if not load.stdout.readline():
                raise RuntimeError(f"{server.name}: the connections do not open")
            open_now = server.memory()
        finally:
            load.communicate(timeout=60)
        time.sleep(10)
        left = server.memory()
        return (open_now - before) / connections, max(0, left - before) / connections
    finally:
        server.stop()


def streamed(server, streams):
    """KiB for each open event stream."""
    server.start()
    try:
        script = server.script("stream", [server.bed.get("/mcp", server.bed.token)])
        server.bed.send(server.plain, "http1", server.script("one", [server.bed.get(METADATA)]))
        with open_streams(server, script, 2, 1) as run:
            run()
        before = server.memory()
        with open_streams(server, script, streams, 3) as run:
            cost = (server.memory() - before) / streams
            run()
        return cost
    finally:
        server.stop()
