"""Userland instructions for each request, counted by callgrind.

They come out the same on a busy machine, within about one in a hundred, and leave out what the
kernel does. Each figure is the difference of two runs that differ in nothing but their number of
requests, so that starting, connecting and stopping cancel out.
"""

import re
import shutil


def available():
    return shutil.which("valgrind") is not None


def count(server, scenario, scale):
    """Returns instructions per request."""
    few, many = int(400 * scale) + 50, int(2400 * scale) + 50
    return (total(server, scenario, many) - total(server, scenario, few)) / (many - few)


def total(server, scenario, requests):
    """Runs the server under callgrind for some requests; returns all its instructions."""
    file = server.bed.directory / f"callgrind-{server.name}-{scenario.name}-{requests}.out"
    server.start(("valgrind", "--tool=callgrind", f"--callgrind-out-file={file}"), seconds=120)
    try:
        scenario.check(server)
        scenario.prepare(server)
        script = scenario.script(server, 0)
        # Caches, pools and buffers fill first; both runs do this alike.
        scenario.verify(scenario.send(server, script, 200), 200)
        scenario.verify(scenario.send(server, script, requests), requests)
    finally:
        server.stop(orderly=True)
    found = re.search(r"^(?:summary|totals): (\d+)", file.read_text(), re.MULTILINE)
    if not found:
        raise RuntimeError(f"callgrind wrote no total into {file}")
    return int(found[1])
