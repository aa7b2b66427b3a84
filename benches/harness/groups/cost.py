"""CPU time of a check, against clients that do nothing else: `cost`, `https` and `floor`."""

from functools import partial

from harness import yardsticks
from harness.daemon import check_cost
from harness.groups.common import Bench, Sides, interleaved, ratio
from harness.report import Row
from harness.target import check_handshakes

# The most that a check may take of what a yardstick takes.
WRK_BAR = 1.6  # at the highest rate, where wake-ups are shared
ANY_RATE_BAR = 1.8
BARE_BAR = 1.3  # at the lowest rate, where wake-ups dominate
OPENSSL_BAR, RUSTLS_BAR = 1.3, 1.12


def cost(bench: Bench) -> list[Row]:
    """Plain checks: wrk and ab where they never wait, the bare client where all wait."""
    rates = sorted(bench.rates, reverse=True)
    check = partial(check_cost, bench.binary, bench.target, bench.target.http, window=bench.window)
    checks = {rate: f"HTTP check, {rate}/s" for rate in rates}
    ten, two, ab = "wrk -c10", "wrk -c2", "ab -c10"
    bare = f"bare tokio, {rates[-1]}/s"
    # The yardsticks come between our turns, so that each has them close by.
    sides: Sides = {
        checks[rates[0]]: partial(check, rates[0]),
        ten: partial(yardsticks.wrk, bench.target, 10),
        two: partial(yardsticks.wrk, bench.target, 2),
        ab: partial(yardsticks.ab, bench.target),
    }
    sides |= {checks[rate]: partial(check, rate) for rate in rates[1:]}
    sides[bare] = partial(yardsticks.bare, bench.bare, bench.target, "tcp", rates[-1])
    samples = interleaved(bench.rounds, sides)
    rows = [Row(name, "µs", samples[name]) for name in sides]
    for rate in rates[:-1] or rates:
        name = checks[rate]
        rows += [
            ratio(samples, name, ten, WRK_BAR if rate == rates[0] else ANY_RATE_BAR),
            ratio(samples, name, two),
            ratio(samples, name, ab, ANY_RATE_BAR),
        ]
    return [*rows, ratio(samples, checks[rates[-1]], bare, BARE_BAR)]


def https(bench: Bench) -> list[Row]:
    """Checks with a full, verified handshake."""
    rate, target = bench.https_rate, bench.target
    name, openssl, rustls = f"HTTPS check, {rate}/s", "openssl", f"bare rustls, {rate}/s"
    sides: Sides = {
        name: partial(check_cost, bench.binary, target, target.https, rate, bench.window),
        rustls: partial(yardsticks.bare, bench.bare, target, "rustls", rate),
        openssl: partial(yardsticks.s_time, target),
    }
    samples = interleaved(bench.rounds, sides)
    check_handshakes(target)
    rows = [Row(side, "µs", samples[side]) for side in sides]
    bars = ((rustls, RUSTLS_BAR), (openssl, OPENSSL_BAR))
    return rows + [ratio(samples, name, yardstick, bar) for yardstick, bar in bars]


def floor(bench: Bench) -> list[Row]:
    """What the layers under the daemon take by themselves, and what each is by wrk. There is no bar."""
    wrk = "wrk -c10"
    rows = []
    for rate in sorted(bench.rates, reverse=True):
        name = f"HTTP check, {rate}/s"
        clients = {mode: f"bare {mode}, {rate}/s" for mode in ("hyper", "tcp")}
        sides: Sides = {
            name: partial(check_cost, bench.binary, bench.target, bench.target.http, rate, bench.window),
            wrk: partial(yardsticks.wrk, bench.target, 10),
        }
        sides |= {
            client: partial(yardsticks.bare, bench.bare, bench.target, mode, rate)
            for mode, client in clients.items()
        }
        samples = interleaved(bench.rounds, sides)
        rows += [Row(side, "µs", samples[side]) for side in sides]
        rows += [ratio(samples, name, client) for client in clients.values()]
        rows += [ratio(samples, client, wrk) for client in clients.values()]
    return rows
