"""The cost of each kind of work as bars, in SVG: a panel for each scenario, a bar for each server."""

from html import escape

WIDTH, LABEL, BAR, GAP, PANEL = 760, 230, 16, 5, 34
GATEWAY, OTHER = "#b4441f", "#9aa7b4"


def draw(results, scenarios, servers):
    """Draws the medians of CPU time; the whiskers reach from the cheapest round to the dearest."""
    shown = [scenario for scenario in scenarios if results.figures.get(scenario.name)]
    parts, y = [], 12
    for scenario in shown:
        figures = results.figures[scenario.name]
        parts.append(text(12, y + 14, f"{scenario.title}: CPU µs per {scenario.unit}", "title"))
        y += PANEL - 10
        rows = [server for server in servers if server.name in figures]
        most = max(max(figures[server.name].cpu) for server in rows)
        for server in rows:
            y = bar(parts, y, server, figures[server.name], (WIDTH - LABEL - 90) / most)
        y += PANEL - 18
    style = (
        "text{font:12px system-ui,sans-serif;fill:#222}"
        ".title{font-weight:600}.name{text-anchor:end}"
        "line{stroke:#222;stroke-width:1}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" '
        f'viewBox="0 0 {WIDTH} {y}" role="img" aria-label="CPU time per request, by server">\n'
        f'<style>{style}</style>\n<rect width="100%" height="100%" fill="#fff"/>\n'
        + "\n".join(parts) + "\n</svg>\n"
    )


def bar(parts, y, server, figures, scale):
    """Adds a server's bar and returns where the next one goes."""
    median, low, high = figures.median(), min(figures.cpu), max(figures.cpu)
    colour = GATEWAY if server.name.startswith("gateway") else OTHER
    middle = y + BAR / 2
    title = server.title.replace("`", "")
    parts.append(text(LABEL - 8, y + 12, title, "name"))
    parts.append(
        f'<rect x="{LABEL}" y="{y}" width="{median * scale:.1f}" height="{BAR}" fill="{colour}"/>'
    )
    parts.append(
        f'<line x1="{LABEL + low * scale:.1f}" x2="{LABEL + high * scale:.1f}" '
        f'y1="{middle}" y2="{middle}"/>'
    )
    parts.append(text(LABEL + high * scale + 6, y + 12, f"{median:.1f}", "figure"))
    return y + BAR + GAP


def text(x, y, words, kind):
    return f'<text x="{x:.1f}" y="{y}" class="{kind}">{escape(words)}</text>'
