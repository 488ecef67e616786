"""Interleaved rounds, and what is made of them: medians, ratios and their intervals."""

import random
import statistics

from .checks import Dishonest


class Figures:
    """What one server cost in one scenario, round by round."""

    def __init__(self, cpu=(), p50=(), p99=()):
        self.cpu, self.p50, self.p99 = list(cpu), list(p50), list(p99)

    def add(self, cpu, told):
        self.cpu.append(cpu)
        self.p50.append(told["p50"])
        self.p99.append(told["p99"])

    def median(self, what="cpu"):
        return statistics.median(getattr(self, what))


def run(scenario, servers, rounds, scale, say):
    """Checks and measures every participant; returns figures by name, and who was left out."""
    taking_part, figures, refused = [], {}, {}
    for server in servers:
        if not scenario.participates(server):
            continue
        try:
            scenario.check(server)
            scenario.prepare(server)
            scenario.measure(server, 0, min(scale, 0.1))
        except (Dishonest, RuntimeError) as why:
            refused[server.name] = str(why)
            say(f"  {server.name} is left out: {why}")
            continue
        taking_part.append(server)
        figures[server.name] = Figures()
    for number in range(1, rounds + 1):
        # Whoever comes first in one round comes last in another.
        turn = number % max(1, len(taking_part))
        for server in taking_part[turn:] + taking_part[:turn]:
            if server.name in refused:
                continue
            try:
                figures[server.name].add(*scenario.measure(server, number, scale))
            except (Dishonest, RuntimeError) as why:
                refused[server.name] = str(why)
                del figures[server.name]
                say(f"  {server.name} is left out: {why}")
    for name, found in figures.items():
        say(f"  {name:<12} {found.median():9.1f} µs   p50 {found.median('p50'):8.0f} µs"
            f"   p99 {found.median('p99'):8.0f} µs")
    return figures, refused


def ratio(over, under, what="cpu"):
    """Returns the ratio of the medians and the interval that holds it 95 times of 100.

    The interval is a bootstrap over the rounds, always with the same draws. A round stays whole,
    because what disturbs it disturbs everyone in it.
    """
    over, under = getattr(over, what), getattr(under, what)
    rounds = range(min(len(over), len(under)))
    draw = random.Random(1)
    ratios = []
    for _ in range(2000):
        chosen = draw.choices(rounds, k=len(rounds))
        ratios.append(statistics.median(over[i] for i in chosen)
                      / statistics.median(under[i] for i in chosen))
    ratios.sort()
    middle = statistics.median(over) / statistics.median(under)
    return middle, ratios[50], ratios[-51]
