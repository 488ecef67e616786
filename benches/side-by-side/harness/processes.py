"""Processes and what the kernel says about them."""

import itertools
import os
import socket
import subprocess
import time
from pathlib import Path


#: Below the ports that Linux gives to clients, of which a run uses thousands.
_PORTS = itertools.cycle(range(20000, 32000))


def free_port():
    """Returns a port of loopback that nobody listens on, another one each time."""
    for port in _PORTS:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port is free")


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until(condition, what, seconds=20, pause=0.005):
    """Waits for a condition; fails with a sentence."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {seconds} s: {what}")
        time.sleep(pause)


class Process:
    """A program with its children. Its output goes to a file, read when it fails."""

    def __init__(self, arguments, log, env=None, **options):
        self.log = Path(log)
        with self.log.open("wb") as output:
            options.setdefault("stdout", output)
            self.child = subprocess.Popen(
                [str(argument) for argument in arguments],
                stderr=output,
                env={**os.environ, **(env or {})},
                **options,
            )

    def alive(self):
        return self.child.poll() is None

    def tree(self):
        """The process and all below it."""
        found = [self.child.pid]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                found.extend(int(child) for child in task.read_text().split())
        return found

    def cpu(self):
        """Nanoseconds of CPU time so far, user and system, of the tree."""
        # The kernel's number for the CPU clock of another process: see clock_getcpuclockid(3).
        return sum(time.clock_gettime_ns((~pid << 3) | 2) for pid in self.tree())

    def memory(self, kind):
        """KiB of one kind (see proc_pid_smaps(5)), of the tree."""
        kib = 0
        for pid in self.tree():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith(f"{kind}:"):
                    kib += int(line.split()[1])
        return kib

    def settled(self, kind):
        """KiB of one kind, once the figure has stopped moving."""
        last = self.memory(kind)
        for _ in range(30):
            time.sleep(0.1)
            now = self.memory(kind)
            if abs(now - last) < 64:
                return now
            last = now
        return last

    def stop(self, signal=None):
        """Ends it, and everything below it."""
        tree = self.tree() if self.alive() else []
        if self.alive():
            self.child.send_signal(signal) if signal else self.child.kill()
        try:
            self.child.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        for pid in tree[1:]:
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                pass
