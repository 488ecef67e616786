"""What every server has in common: finding it, starting it, stopping it, and what it cost."""

import http.client
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

from .processes import Process, accepts, free_port, wait_until

METADATA = "/.well-known/oauth-protected-resource/mcp"


class Server:
    """One server. Subclasses say where its program is and write its configuration."""

    name = ""
    #: What stands in tables.
    title = ""
    #: Whether `/mcp` needs a valid token.
    verifies = False
    #: Where tokens are exchanged.
    token_path = "/oauth2/token"
    #: What makes it stop at once, and in an orderly way, so that valgrind can write its figures.
    stop_signal = signal.SIGTERM
    environment = {}

    def __init__(self, bed):
        self.bed = bed
        self.plain = self.tls = 0
        self.process = None

    def program(self):
        """Where the program is, or None when this machine does not have it."""
        found = shutil.which(self.name, path=os.environ["PATH"] + ":/usr/sbin")
        return Path(found) if found else None

    def arguments(self, directory):
        """Writes the configuration into the directory and returns the command line."""
        raise NotImplementedError

    def before(self, directory):
        """Starts what the server needs beside itself."""

    def start(self, under=(), seconds=20):
        """Starts it and returns the milliseconds until its first answer; stops it on failure."""
        try:
            return self.begin(under, seconds)
        except Exception:
            self.stop()
            raise

    def begin(self, under, seconds):
        """Starts it; see `start`."""
        directory = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=self.bed.directory))
        # Whoever had the old ones may still be on its way out.
        self.plain, self.tls = free_port(), free_port()
        arguments = self.arguments(directory)
        self.before(directory)
        began = time.monotonic()
        log = directory / "output.log"
        self.process = Process([*under, *arguments], log, env=self.environment, cwd=directory)
        what = f"{self.name} does not listen, see {log}"
        gone = lambda: not self.process.alive()
        wait_until(lambda: accepts(self.plain) or gone(), what, seconds, pause=0.001)
        if gone():
            raise RuntimeError(f"{self.name} ended: {log.read_text()[-500:]}")
        first = http.client.HTTPConnection("127.0.0.1", self.plain)
        first.request("GET", METADATA, headers={"Host": "localhost"})
        first.getresponse().read()
        took = (time.monotonic() - began) * 1000
        first.close()
        return took

    def stop(self, orderly=False):
        if self.process:
            self.process.stop(self.stop_signal if orderly else None)
        self.process = None

    def processes(self):
        """Everything whose cost is the server's."""
        return [self.process]

    def cpu(self):
        return sum(process.cpu() for process in self.processes())

    def memory(self, kind="Pss"):
        """KiB of memory; as it stands, what processes share counts once."""
        return sum(process.settled(kind) for process in self.processes())

    def port(self, protocol):
        return self.plain if protocol == "http1" else self.tls

    def script(self, name, requests):
        return self.bed.script(f"{self.name}-{name}", requests)
