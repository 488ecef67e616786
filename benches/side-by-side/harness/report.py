"""The results as Markdown, and where they are put."""

import json
import platform
import re
import subprocess
from pathlib import Path

from . import goals
from .bed import HERE, ROOT
from .plot import draw
from .rounds import Figures

KEPT = HERE / ".results.json"
DOCUMENT = ROOT / "docs" / "performance.md"
PLOT = ROOT / "docs" / "performance.svg"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


class Results:
    """Everything that was found, kept in a file between runs."""

    def __init__(self):
        #: scenario → server → Figures
        self.figures = {}
        #: scenario → server → instructions per request
        self.instructions = {}
        #: server → figures of `footprint`
        self.footprint = {}
        #: kind → size → row
        self.growth = {}
        #: scenario → server → why it was left out
        self.refused = {}

    def save(self):
        kept = {**vars(self), "figures": {
            scenario: {name: vars(found) for name, found in servers.items()}
            for scenario, servers in self.figures.items()
        }}
        KEPT.write_text(json.dumps(kept))

    def load(self):
        """Takes what the last run kept."""
        if not KEPT.exists():
            return
        vars(self).update(json.loads(KEPT.read_text()))
        self.figures = {
            scenario: {name: Figures(**found) for name, found in servers.items()}
            for scenario, servers in self.figures.items()
        }


def number(value):
    """Writes about three digits that mean something; nothing for nothing."""
    if value == 0:
        return ""
    if value >= 100:
        return f"{value:,.0f}".replace(",", " ")
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def goal_table(results):
    rows = []
    for goal in goals.ALL:
        found = goal.figure(results)
        if not found:
            continue
        value, low, high = found
        figure = number(value) + goal.unit
        if low != high:
            figure += f" ({number(low)} to {number(high)})"
        rows.append([goal.work, goal.beside, figure, f"{goal.limit}{goal.unit}",
                     goal.verdict(found)])
    head = ["work", "beside", "figure (95 % interval)", "goal, at most", ""]
    return table(head, rows) if rows else ""


def cost_table(results, scenarios, servers, what="cpu"):
    """Medians of all servers, a scenario in each row."""
    names = [server.name for server in servers
             if any(server.name in found for found in results.figures.values())]
    titles = {server.name: server.title for server in servers}
    rows = []
    for scenario in scenarios:
        found = results.figures.get(scenario.name)
        if found:
            cells = [number(found[name].median(what)) if name in found else "" for name in names]
            rows.append([scenario.title, *cells])
    return table(["", *(titles[name] for name in names)], rows) if rows else ""


def footprint_table(results, servers):
    columns = [
        ("start", "start, ms"), ("rest", "at rest, MiB"), ("plain", "idle connection, KiB"),
        ("plain_left", "10 s after, KiB"), ("tls", "idle TLS connection, KiB"),
        ("tls_left", "10 s after, KiB"), ("stream", "stream, KiB"), ("binary", "binary, MB"),
    ]
    rows = [
        [server.title, *(number(results.footprint[server.name][key]) for key, _ in columns)]
        for server in servers if server.name in results.footprint
    ]
    return table(["", *(title for _, title in columns)], rows) if rows else ""


def instruction_table(results, scenarios):
    rows = []
    for scenario in scenarios:
        found = results.instructions.get(scenario.name, {})
        if "noop" in found and "gateway" in found:
            rows.append([scenario.title, number(found["noop"]), number(found["gateway"]),
                         number(found["gateway"] / found["noop"])])
    return table(["", "no-op", "gateway", "ratio"], rows) if rows else ""


def growth_table(results):
    rows = [
        [kind, f"{int(size):,}".replace(",", " "), number(row["cpu"]) if "cpu" in row else "",
         number(row["start"]), number(row["private"])]
        for kind, sizes in results.growth.items() for size, row in sizes.items()
    ]
    head = ["", "how many", "CPU µs per request", "start, ms", "own memory at rest, MiB"]
    return table(head, rows) if rows else ""


def machine(servers):
    """One sentence about where this was measured."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", info)
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    release = re.search(r'PRETTY_NAME="(.*)"', Path("/etc/os-release").read_text())
    versions = [found for found in map(version, servers) if found]
    rust = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=False)
    return (
        f"{info.count('processor')} cores ({model[1] if model else platform.machine()}, "
        f"virtual where the machine is), {int(memory[1]) // 1024 // 1024} GiB, "
        f"{release[1] if release else platform.system()}, Linux {platform.release()}. "
        f"{', '.join(versions)}, Pingora 0.9.1, Python {platform.python_version()}, "
        f"{' '.join(rust.stdout.split()[:2])}."
    )


def version(server):
    flags = {"nginx": "-v", "haproxy": "-v", "caddy": "version", "envoy": "--version",
             "agentgateway": "-V"}
    if server.name not in flags:
        return None
    asked = subprocess.run([server.program(), flags[server.name]], capture_output=True, text=True,
                           check=False)
    found = re.search(r"\d+\.\d+\.\d+", asked.stdout + asked.stderr)
    return f"{server.name} {found[0]}" if found else None


def markdown(results, scenarios, servers, about):
    """Writes everything that was found."""
    parts = [
        ("Goals", goal_table(results)),
        ("CPU µs per request or event", cost_table(results, scenarios, servers)),
        ("Latency, median µs", cost_table(results, scenarios, servers, "p50")),
        ("Latency, 99th percentile µs", cost_table(results, scenarios, servers, "p99")),
        ("Userland instructions per request", instruction_table(results, scenarios)),
        ("Memory, start, size", footprint_table(results, servers)),
        ("Growth of the configuration", growth_table(results)),
    ]
    text = f"{about}\n\n{machine(servers)}\n"
    for title, found in parts:
        if found:
            text += f"\n### {title}\n\n{found}"
    if results.refused:
        text += "\n### Left out\n\n"
        text += "".join(
            f"- {scenario}, {server}: {why}\n"
            for scenario, refused in results.refused.items() for server, why in refused.items()
        )
    return text


def write(results, scenarios, servers, text):
    """Puts the results into the document, between its two marks, and the plot beside it."""
    document = DOCUMENT.read_text()
    before, rest = document.split(BEGIN)
    _, after = rest.split(END)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")
    PLOT.write_text(draw(results, scenarios, servers))
