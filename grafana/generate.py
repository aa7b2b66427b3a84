#!/usr/bin/env python3
"""Writes the dashboards (`just dashboards`). With --check it only says whether they are as they would be written.

What is shown is here; how Grafana's JSON says it is in panels.py. Of a monitor that several daemons check, the
worst is shown.
"""

import json
import sys
from pathlib import Path

from panels import (
    AVAILABILITY, BAD, BAR, COLOURED, DASHED, DATE, DAYS_LEFT, GOOD, IF_ANY_BAD, IF_ANY_WARN, PLAIN, STACKED,
    STATE_NAMES, STATES, WARN, annotation, bars, coarse, dashboard, heatmap, lines, link_to_monitor, mapped, now,
    override, plain_table,
    row, rows, series, stat, table, thresholds, timeline, variable,
)

FOLDER = Path(__file__).parent / "dashboards"


# PromQL

def counted(counter, by, only=""):
    """How much a counter grew in each step, those series of it that `only` leaves. Unlike with `increase`, a series
    that appears with a value, as the first failure of its kind does, and one that begins anew, count in full, and
    nothing is extrapolated."""
    last, most = f"last_over_time({counter}[$__interval])", f"max_over_time({counter}[$__interval])"
    before = f"(last_over_time({counter}[1h] offset $__interval) or {last} * 0)"
    return f"""sum by ({by}) ((
  ({last} >= {most}) - {before} >= 0
  or {last} + clamp_min({most} - {before}, 0)
){only})"""


def grown(counter, span, only="", by="monitor, phase, reason"):
    """The same for one span up to now, of those series that `only` leaves."""
    earlier = f"{counter} offset {span}"
    return f"sum by ({by}) (({counter}{only} - {earlier} > 0) or ({counter}{only} unless {earlier} <= {counter}))"


def share(part, whole, matching=""):
    """The ratio of `part` to `whole`; no value if `whole` is 0."""
    return f"{part} / {matching}({whole} > 0)"


def in_state(name):
    return f'state="{name}"'


def state(by, selector, step=False):
    """The worst state of each monitor, as a number; of a step, the worst in it. In the compact profile, monitor_up tells
    of those that are up or down."""
    def at(function, selected):
        return f"({function}({selected}[$__interval]) or {selected})" if step else selected

    numbers = []
    for number, name in enumerate(STATE_NAMES):
        selected = selector("monitor_state", in_state(name))
        numbers.append(f"{number} * ({at('max_over_time', selected)} == 1)")
    up = f"{len(STATE_NAMES) - 1} * {at('min_over_time', selector('monitor_up'))}"
    return f"min by ({by}) (({' or '.join(numbers)}) or on (job, instance, monitor) {up})"


# Histograms are given as functions: from a suffix of their name, to a selector. Those of the compact profile are
# native, and have no suffix.

def grown_buckets(histogram, span="$__rate_interval", function="rate"):
    """All buckets of a histogram, of whichever kind."""
    native, classic = (f"{function}({histogram(suffix)}[{span}])" for suffix in ("", "_bucket"))
    return f"(sum({native}) or on () sum by (le) ({classic}))"


def quantile(q, histogram, span="$__rate_interval", function="rate"):
    # Without measurements the result is NaN, a gap. Leaving NaN out draws a line even with one check an hour.
    return f"histogram_quantile({q}, {grown_buckets(histogram, span, function)}) >= 0"


def mean(histogram, wrap, by=""):
    """The mean of the observations that `wrap` makes of a selector."""
    native = f"sum by ({by}) ({wrap(histogram(''))})"
    total, count = (f"sum by ({by}) ({wrap(histogram(suffix))})" for suffix in ("_sum", "_count"))
    return (f"({share(f'histogram_sum({native})', f'histogram_count({native})')} or on ({by}) "
            f"{share(total, count)})")


# Overview

NAMED = 'monitor=~"$monitor"'
CHOSEN = f'monitor_info{{{NAMED},type=~"$type",$label=~"$value"}}'


def of_chosen(expr):
    return f"{expr} and on (monitor) {CHOSEN}"


def chosen(metric, *matchers):
    """A metric of the chosen monitors."""
    return of_chosen(f"{metric}{{{','.join([NAMED, *matchers])}}}")


def over_range(metric, *matchers):
    """The increase of a counter of the chosen monitors in the whole time range."""
    return of_chosen(f"increase({metric}{{{','.join([NAMED, *matchers])}}}[$__range])")


SUCCESS, FAILURE = 'outcome="success"', 'outcome="failure"'
UP = f"min by (monitor) ({chosen('monitor_up')})"


def named(metric, *matchers):
    """A metric of the monitors of the chosen names."""
    return f"{metric}{{{','.join([NAMED, *matchers])}}}"


STATE = of_chosen(state("monitor", named))
INFO = f"topk by (monitor) (1, {CHOSEN})"
AVAILABLE = share(f"sum by (monitor) ({over_range('monitor_checks_total', SUCCESS)})",
                  f"sum by (monitor) ({over_range('monitor_checks_total')})")
MEAN_LATENCY = mean(lambda suffix: f"monitor_check_duration_seconds{suffix}{{{NAMED},{SUCCESS}}}",
                    lambda selector: of_chosen(f"increase({selector}[$__range])"), by="monitor")


def verified_or_sent(validity):
    """The certificate of the verified chain that expires first, or, if nothing was verified, of those sent."""
    return f"({validity('verified')} or ignoring (certificate) {validity('earliest')})"


# The last value in the time range: a host that cannot be reached shows no certificate, and it expires all the same.
EXPIRY = of_chosen(verified_or_sent(
    lambda rank: 'last_over_time(monitor_tls_certificate_not_after_timestamp_seconds'
                 f'{{{NAMED},certificate="{rank}"}}[$__range])'))
EXPIRY = f"min by (monitor) ({EXPIRY})"

# Of those that are unreachable or in maintenance, monitor_up has the confirmed state too.
HELD_BACK = named("monitor_state", 'state=~"unreachable|maintenance"')
DOWN = f"({named('monitor_up')} == 0 unless on (monitor, job, instance) {HELD_BACK} == 1)"
IS_DOWN = f"and on (monitor, job, instance) {DOWN}"
OTHER_STATES = [name for name in STATE_NAMES if name not in ("up", "down")]
NEITHER = named("monitor_state", f'state=~"{"|".join(OTHER_STATES)}"')
# In the time range, because a daemon that was restarted knows of no success before.
LAST_SUCCESS = f"max_over_time(monitor_last_success_timestamp_seconds{{{NAMED}}}[$__range]) {IS_DOWN}"
LAST_SUCCESS = f"min by (monitor) ({of_chosen(LAST_SUCCESS)})"

MONITOR_LINK = link_to_monitor("${__value.raw:percentencode}")
NAME = ("Monitor", {"links": [MONITOR_LINK], "custom__minWidth": 180})


def recent_reason():
    """The most frequent reason of failures in the last five minutes, or in a longer time for monitors that are checked
    rarely."""
    failures = f"monitor_check_failures_total{{{NAMED}}}"
    spans = ["5m", "1h", "$__range"]
    most = [f"topk by (monitor) (1, {grown(failures, span, f' {IS_DOWN}')})" for span in spans]
    return of_chosen("(" + "\nor on (monitor) ".join(most) + ")")


# The monitors that changed most often, and then those that were down longest. They are chosen at the end of the time
# range, so they are the same at every step.
UNSTEADY = (f"topk(25, max by (monitor) (changes(monitor_up{{{NAMED}}}[$__range] @ end()))"
            f" + 1 - avg by (monitor) (avg_over_time(monitor_up{{{NAMED}}}[$__range] @ end()))"
            f" and on (monitor) {CHOSEN} @ end())")


def overview():
    panels = [
        stat(4, "Up", "Monitors that are up.",
             now("up", f"count({UP} == 1 unless on (monitor) {NEITHER} == 1) or vector(0)"), **thresholds(GOOD)),
        stat(4, "Down", "Monitors that are down, as confirmed.",
             now("down", f"count(count by (monitor) ({of_chosen(DOWN)})) or vector(0)"), **IF_ANY_BAD),
        stat(4, "Availability", "Ratio of checks that succeeded, over the time range.",
             now("availability", share(f"sum({over_range('monitor_checks_total', SUCCESS)})",
                                       f"sum({over_range('monitor_checks_total')})")), **AVAILABILITY),
        stat(4, "Failed checks", "In the time range.",
             now("failures", f"sum({over_range('monitor_checks_total', FAILURE)})"), decimals=0, **IF_ANY_WARN),
        coarse(stat(4, "Checks per second", "Completed checks, successful and failed.",
                    series("checks", "sum("
                           + of_chosen(f"rate(monitor_checks_total{{{NAMED}}}[$__rate_interval])") + ")"),
                    decimals=2, graph="area"), 60),
        stat(4, "Next certificate to expire", "Days until the first certificate expires.",
             now("days", f"(min({EXPIRY}) - time()) / 86400"), noValue="none",
             **{**DAYS_LEFT, "unit": "suffix:days"}),
        stat(24, "Other states", "Monitors that fail while a dependency is down (unreachable), whose last result is not "
             "confirmed yet (suspect), that violate a degraded_if limit (degraded), without a result (unknown), in a "
             "maintenance window, or not enabled (paused).",
             [now(name, f"count(max by (monitor) ({chosen('monitor_state', in_state(name))}) == 1) or vector(0)",
                  legendFormat=name) for name in OTHER_STATES], text="value_and_name", **IF_ANY_WARN),
        table(24, 8, "Down now", "Monitors that are down, longest first, but for those in maintenance. A monitor is down "
              "since the check after its last success. The reason is the most frequent recent one.",
              [rows("info", f"{INFO} and on (monitor) {DOWN}"),
               rows("since", f"1000 * {LAST_SUCCESS}"),
               rows("for", f"time() - {LAST_SUCCESS}"),
               rows("why", recent_reason())],
              {"monitor": NAME, "type": ("Type", {"custom__width": 80}), "target": ("Target", {}),
               "reason": ("Reason", {}), "phase": ("Phase", {"custom__width": 110}),
               "since": ("Last success", {**DATE, "custom__width": 190, "noValue": "none in this time"}),
               "for": ("Down for", {"unit": "dtdurations", "custom__width": 190})},
              "Last success"),
        table(24, 10, "Availability", "Ratio of checks that succeeded over the time range, worst first; without a check "
              "in the range, the last result. Latency is the mean of successful checks. Skipped slots were due, but no "
              "check ran.",
              [rows("info", INFO), rows("now", STATE), rows("availability", f"{AVAILABLE} or on (monitor) {UP}"),
               rows("failed", f"sum by (monitor) ({over_range('monitor_checks_total', FAILURE)})"),
               rows("skipped", f"sum by (monitor) ({over_range('monitor_checks_skipped_total')}) or on (monitor) 0 * {UP}"),
               rows("latency", MEAN_LATENCY)],
              {"monitor": NAME,
               "now": ("State", {**mapped(STATES), **COLOURED, "custom__width": 130}),
               "availability": ("Availability", {**AVAILABILITY, **BAR, "custom__minWidth": 200}),
               "failed": ("Failed checks", {"decimals": 0, "custom__width": 110}),
               "skipped": ("Slots skipped", {"decimals": 0, "custom__width": 110}),
               "latency": ("Latency", {"unit": "s", "custom__width": 100}),
               "type": ("Type", {"custom__width": 80}), "target": ("Target", {})},
              "Availability"),
        coarse(timeline(
            24, 12, "State of the 25 least stable",
            "The monitors that changed most often in the time range, then those that were down longest. A step has the "
            "worst state in it. In a gap, the daemon was not scraped.",
            [series("state", f"{state('monitor', named, step=True)} and on (monitor) {UNSTEADY}", "{{monitor}}")],
            STATES, page=25, links=[link_to_monitor("${__field.labels.monitor:percentencode}")]), 120),
        table(8, 10, "Slowest", "Ten monitors by the mean latency of their successful checks in the time range.",
              [rows("latency", f"topk(10, {MEAN_LATENCY})")],
              {"monitor": NAME, "latency": ("Latency", {"unit": "s", "min": 0, **thresholds(GOOD), **BAR})},
              "Latency", descending=True),
        table(8, 10, "Flakiest", "Ten monitors with the most changes between up and down in the time range.",
              [rows("changes", f"topk(10, max by (monitor) ({of_chosen(f'changes(monitor_up{{{NAMED}}}[$__range])')})"
                               " > 0)")],
              {"monitor": NAME, "changes": ("Changes", {"min": 0, "decimals": 0, **thresholds(WARN), **BAR})},
              "Changes", descending=True),
        table(8, 10, "Certificates", "The 50 monitors whose certificates expire first, as last seen in the time range. "
              "The certificate of the chain that expires first counts.",
              [rows("days", f"bottomk(50, ({EXPIRY} - time()) / 86400)"), rows("expiry", f"1000 * {EXPIRY}")],
              {"monitor": NAME, "days": ("Days left", {**DAYS_LEFT, **COLOURED, "custom__width": 90}),
               "expiry": ("Expires", {**DATE, "custom__width": 180})},
              "Days left"),
        coarse(heatmap(
            12, 10, "Latency", "All checks by latency, including failed ones. If monitors have different buckets, "
            "select monitors with the same ones.",
            "sum(" + of_chosen(f"increase(monitor_check_duration_seconds{{{NAMED}}}[$__rate_interval])")
            + ") or on () sum by (le) ("
            + of_chosen(f"increase(monitor_check_duration_seconds_bucket{{{NAMED}}}[$__rate_interval])") + ")"), 60),
        bars(12, 10, "Failures by reason", "Failed checks in each step.",
             [series("failures", counted(f"monitor_check_failures_total{{{NAMED}}}", "reason, phase",
                                         f" and on (monitor) {CHOSEN}") + " > 0",
                     "{{reason}} in {{phase}}")]),
    ]
    return dashboard(
        "monitoringdaemon-overview", "Overview", "Monitors that are down and why, availability and latency of all monitors.",
        [variable("type", "Type", "label_values(monitor_info, type)"),
         variable("label", "Label", "label_names(monitor_info)", current="monitor",
                  regex="/^(?!(__name__|check_every|instance|job|target|timeout|type)$)/",
                  description="A label to filter monitors by, including your own."),
         variable("value", "is", "label_values(monitor_info, $label)", everything=".*"),
         variable("monitor", "Monitor", 'label_values(monitor_info{type=~"$type",$label=~"$value"}, monitor)')],
        panels, refresh="1m")


# Monitor

def its(metric, *matchers):
    """A metric of the monitor that is shown. In quotes by Grafana: its own escaping breaks on an apostrophe."""
    return f"{metric}{{{','.join(['monitor=${monitor:doublequote}', *matchers])}}}"


def its_rate(metric, *matchers):
    return f"rate({its(metric, *matchers)}[$__rate_interval])"


def its_increase(metric, *matchers):
    return f"increase({its(metric, *matchers)}[$__range])"


PHASES = {"resolve": "purple", "setup": "light-purple", "connect": "orange", "tls": "yellow", "request": "blue",
          "rtt": "light-blue", "check": "semi-dark-blue", "processing": "dark-blue", "transfer": "green"}
PHASES = [override(phase, color={"mode": "fixed", "fixedColor": colour}) for phase, colour in PHASES.items()]
ITS_EXPIRY = verified_or_sent(
    lambda rank: its("monitor_tls_certificate_not_after_timestamp_seconds", f'certificate="{rank}"'))


def monitor():
    def successful(suffix):
        return its(f"monitor_check_duration_seconds{suffix}", SUCCESS)

    def its_checks(suffix):
        return its(f"monitor_check_duration_seconds{suffix}")

    def its_responses(suffix):
        return its(f"monitor_response_size_bytes{suffix}")

    def rate(selector):
        return f"rate({selector}[$__rate_interval])"

    # In the compact profile, the mean of the last few checks stands for the last one.
    latency = f"max({its('monitor_last_check_duration_seconds')}) or on () {mean(its_checks, rate)}"
    mean_phases = share(f"sum by (phase) ({its_rate('monitor_phase_seconds_total')})",
                        f"sum({its_rate('monitor_checks_total')})", "on () group_left () ")
    skipped = f"(sum({its_rate('monitor_checks_skipped_total')}) or vector(0))"
    panels = [
        stat(3, "State", "The worst, if several daemons check it.", now("state", state("monitor", its)),
             **mapped(STATES), noValue="none"),
        stat(3, "Last success", "When a check last succeeded, since the daemon was started.",
             now("success", f"1000 * (min({its('monitor_last_success_timestamp_seconds')}) or max("
                            f"{its('monitor_last_check_timestamp_seconds')} and {its('monitor_up')} == 1))"),
             unit="dateTimeFromNow", noValue="none"),
        stat(3, "Availability", "Ratio of checks that succeeded, over the time range.",
             now("availability", share(f"sum({its_increase('monitor_checks_total', SUCCESS)})",
                                       f"sum({its_increase('monitor_checks_total')})")), **AVAILABILITY),
        stat(3, "Failed checks", "In the time range.",
             now("failures", f"sum({its_increase('monitor_checks_total', FAILURE)})"), decimals=0, **IF_ANY_WARN),
        stat(3, "Latency", "Of the last check.",
             series("latency", latency), unit="s", graph="area"),
        stat(3, "Latency, 95 %", "95th percentile of the successful checks in the time range.",
             now("p95", quantile(0.95, successful, "$__range", "increase")), unit="s"),
        stat(3, "Certificate", "Days left of the certificate that expires first, in the last check.",
             now("days", f"(min({ITS_EXPIRY}) - time()) / 86400"), noValue="none", **DAYS_LEFT),
        stat(3, "Slots skipped", "Due slots in the time range without a check.",
             now("skipped", f"sum({its_increase('monitor_checks_skipped_total')}) or vector(0)"), decimals=0, **IF_ANY_WARN),
        plain_table(24, 4, "Settings", "Settings and labels of the monitor.", [rows("info", its("monitor_info"))],
                    [{"id": "organize", "options": {"excludeByName": dict.fromkeys(["Time", "Value", "__name__", "job"],
                                                                                   True),
                                                    "indexByName": {"monitor": 0, "type": 1, "target": 2},
                                                    "renameByName": {}}}], []),
        timeline(24, 4, "State", "A step has the worst state in it. In a gap, the daemon was not scraped.",
                 [series("state", state("instance", its, step=True), "{{instance}}")], STATES),
        lines(12, 9, "Latency of successful checks", "Median, 90th and 99th percentile, as exact as the buckets of "
              "the histogram.",
              [series(f"p{q}", quantile(q / 100, successful), f"{q} %") for q in (99, 90, 50)], "s", minimum="2m"),
        heatmap(12, 9, "Latency of all checks", "Including failed checks.",
                grown_buckets(its_checks, function="increase")),
        lines(12, 9, "Time in each phase", "Mean over all checks, including failed ones.",
              [series("phases", mean_phases, "{{phase}}")],
              "s", minimum="1m", overrides=PHASES, **STACKED),
        lines(12, 9, "Time in each phase of the last check", "Its latency is the line above.",
              [series("phases", f"max by (phase) ({its('monitor_phase_duration_seconds')}) or on () {mean_phases}",
                      "{{phase}}"),
               series("latency", latency, "whole check")],
              "s", overrides=[*PHASES, override("whole check", color={"mode": "fixed", "fixedColor": PLAIN}, **DASHED)],
              **STACKED, showPoints="never", lineInterpolation="stepAfter"),
        bars(12, 9, "Failures by phase and reason", "Failed checks in each step.",
             [series("failures", counted(its("monitor_check_failures_total"), "reason, phase") + " > 0",
                     "{{reason}} in {{phase}}")]),
        bars(12, 9, "HTTP responses by status code", "In each step.",
             [series("responses", counted(its("monitor_http_responses_total"), "code") + " > 0", "{{code}}")]),
        lines(6, 8, "Response size", "Of the last check.",
              [series("size", f"max({its('monitor_last_response_size_bytes')}) or on () {mean(its_responses, rate)}",
                      "bytes")], "bytes"),
        lines(6, 8, "Bytes received", "Of the responses of all checks.",
              [series("received", f"histogram_sum(sum({its_rate('monitor_response_size_bytes')})) or on () "
                                  f"sum({its_rate('monitor_response_size_bytes_sum')})", "bytes")], "Bps",
              minimum="1m"),
        table(12, 8, "Certificates", "In the last handshake: the server's own certificate (leaf), the first to expire of "
              "those it sent (earliest), and the first to expire of the verified chain (verified).",
              [rows("from", "1000 * max by (certificate) "
                            f"({its('monitor_tls_certificate_not_before_timestamp_seconds')})"),
               rows("until", "1000 * min by (certificate) "
                             f"({its('monitor_tls_certificate_not_after_timestamp_seconds')})"),
               rows("days", "(min by (certificate) "
                            f"({its('monitor_tls_certificate_not_after_timestamp_seconds')}) - time()) / 86400")],
              {"certificate": ("Certificate", {}), "from": ("Valid from", DATE), "until": ("Valid until", DATE),
               "days": ("Days left", {**DAYS_LEFT, **COLOURED, "custom__width": 90})},
              "Days left", by="certificate"),
        lines(12, 8, "Slots", "Slots that came due, and what became of them.",
              [series("scheduled", f"sum({its_rate('monitor_checks_scheduled_total')}) or on () "
                                   f"sum({its_rate('monitor_checks_total')}) + {skipped}", "due"),
               series("outcomes", f"sum by (outcome) ({its_rate('monitor_checks_total')})", "{{outcome}}"),
               series("skipped", skipped, "skipped")],
              "suffix:/s", minimum="2m",
              overrides=[override("failure", color={"mode": "fixed", "fixedColor": BAD}),
                         override("success", color={"mode": "fixed", "fixedColor": GOOD}),
                         override("skipped", color={"mode": "fixed", "fixedColor": WARN}),
                         override("due", color={"mode": "fixed", "fixedColor": PLAIN}, **DASHED)]),
        plain_table(12, 8, "TLS", "Version and cipher suite of the last handshake.",
                    [rows("tls", its("monitor_tls_info"))],
                    [{"id": "filterFieldsByName",
                      "options": {"include": {"pattern": "/^(instance|version|cipher)$/"}}}], []),
        *of_other_types(),
    ]
    return dashboard(
        "monitoringdaemon-monitor", "Monitor", "One monitor: availability, latency, and reasons of failures.",
        [variable("type", "Type", "label_values(monitor_info, type)"),
         variable("monitor", "Monitor", 'label_values(monitor_info{type=~"$type"}, monitor)', current="")],
        panels,
        [annotation("Down", BAD, f"1 - min({its('monitor_up')}) > 0", "Down"),
         annotation("Daemon started", "purple", f"1000 * max by (instance) (process_start_time_seconds and on (job, "
                    f"instance) {its('monitor_info')})", "Daemon started: {{instance}}", useValueForTime="on")])


def of_other_types():
    """Metrics of some types only; queried when the row is opened."""
    def gauge(width, title, description, metric, unit="none", legend="{{instance}}"):
        return lines(width, 8, title, description, [series("value", its(metric), legend)], unit)

    # The compact profile has no flags that are not set.
    answered = f"{its('monitor_dns_answer_rrs')} or {its('monitor_dns_serial')}"
    unset = f"0 * max({answered})"

    return [
        row("DNS", [
            bars(12, 8, "Responses by code", "In each step.",
                 [series("responses", counted(its("monitor_dns_responses_total"), "rcode") + " > 0", "{{rcode}}")]),
            lines(12, 8, "Records", "In each section of the last response.",
                  [series("answer", f"max({its('monitor_dns_answer_rrs')}) or on () "
                                    f"count(max({its('monitor_dns_serial')}))", "answer"),
                   *(series(section, f"max({its(f'monitor_dns_{section}_rrs')})", section)
                     for section in ("authority", "additional"))], "none"),
            gauge(12, "Serial number of the zone", "Of the last answer's SOA record.", "monitor_dns_serial"),
            timeline(12, 8, "Flags", "Of the last response: validated with DNSSEC (AD), did not fit its datagram (TC).",
                     [series("ad", f"max({its('monitor_dns_authenticated_data')}) or on () {unset}", "AD"),
                      series("tc", f"max({its('monitor_dns_truncated')}) or on () {unset}", "TC")],
                     {"0": ("no", PLAIN), "1": ("yes", GOOD)}),
        ]),
        row("ICMP", [
            gauge(12, "Round trips", "Shortest, mean and longest of the last check.", "monitor_icmp_round_trip_seconds",
                  "s", "{{statistic}}"),
            gauge(12, "Jitter", "Mean difference between one round trip and the next.", "monitor_icmp_jitter_seconds",
                  "s"),
            lines(12, 8, "Loss", "Ratio of echo requests without a reply.",
                  [series("loss", "1 - " + share(f"sum({its_rate('monitor_icmp_packets_received_total')})",
                                                 f"sum({its_rate('monitor_icmp_packets_sent_total')})"), "loss")],
                  "percentunit", minimum="1m"),
            gauge(12, "Hop limit", "Hop limit of the last reply.", "monitor_icmp_reply_hop_limit"),
        ]),
        row("gRPC", [
            gauge(12, "Status code", "Of the last call, 0 for OK.", "monitor_grpc_status_code"),
            timeline(12, 8, "Health", "The last answer of the health service.",
                     [series("serving", f"max by (serving_status) ({its('monitor_grpc_healthcheck_response')})",
                             "{{serving_status}}")],
                     {"0": (" ", "transparent"), "1": ("answered", GOOD)}),
        ]),
        row("query_response", [
            plain_table(24, 6, "Captured values", "Values that query_response captured in the last check.",
                        [rows("caught", its("monitor_expect_info"))],
                        [{"id": "organize", "options": {"excludeByName": dict.fromkeys(
                            ["Time", "Value", "__name__", "job", "monitor"], True), "indexByName": {},
                            "renameByName": {}}}], []),
        ]),
    ]


# Daemon

def of_daemons(metric, span=""):
    return f'{metric}{{instance=~"$instance"}}{span}'


def of_processes(expr):
    """Prometheus, and what else it scrapes, have metrics of the same names."""
    return f'{expr} and on (job, instance) {of_daemons("monitoringdaemon_build_info")}'


RATE = "[$__rate_interval]"
LIMIT = {"color": {"mode": "fixed", "fixedColor": BAD}, **DASHED}


def daemon():
    def lag(suffix):
        return of_daemons(f"monitoringdaemon_check_start_lag_seconds{suffix}")

    def delay(suffix):
        return of_daemons(f"monitoringdaemon_runtime_delay_seconds{suffix}")

    skipped = of_daemons("monitor_checks_skipped_total")
    completed = f"sum by (instance) (increase({of_daemons('monitor_checks_total')}[$__range]))"
    due = f"({completed} + (sum by (instance) (increase({skipped}[$__range])) or 0 * {completed}))"

    def per_daemon(expr, legend="{{instance}}", name="value"):
        return [series(name, expr, legend)]

    def limit(expr):
        return series("limit", expr, "limit of {{instance}}")

    limits = [{"matcher": {"id": "byRegexp", "options": "/^limit of /"},
               "properties": override("", **LIMIT)["properties"]}]
    reloaded = of_daemons("monitoringdaemon_config_last_reload_success_timestamp_seconds")
    panels = [
        table(24, 5, "Daemons", "Running daemons with their version and start time, and the result of the last "
              "reload of the configuration.",
              [rows("build", f"max by (instance, version, revision) ({of_daemons('monitoringdaemon_build_info')})"),
               rows("monitors", f"sum by (instance) ({of_daemons('monitoringdaemon_monitors')})"),
               rows("started", "1000 * max by (instance) "
                               f"({of_processes(of_daemons('process_start_time_seconds'))})"),
               rows("reload", "min by (instance) "
                              f"({of_daemons('monitoringdaemon_config_last_reload_successful')})"),
               rows("reloaded", f"1000 * max by (instance) ({reloaded})"),
               rows("connected", f"min by (instance) ({of_daemons('monitoringdaemon_connected')})"),
               rows("in_time", "100 * " + share(completed, due))],
              {"instance": ("Daemon", {}), "version": ("Version", {}), "revision": ("Revision", {}),
               "monitors": ("Monitors", {}), "started": ("Started", DATE),
               "reload": ("Configuration", {**mapped({"0": ("rejected", BAD), "1": ("accepted", GOOD)}), **COLOURED}),
               "reloaded": ("Accepted at", DATE),
               "connected": ("Network", {**mapped({"0": ("cut off", BAD), "1": ("connected", GOOD)}), **COLOURED,
                                         "noValue": "no self_check"}),
               "in_time": ("Slots run", {"unit": "percent", "decimals": 2, **COLOURED,
                                         **thresholds(BAD, (99, WARN), (99.9, GOOD))})},
              "Daemon", by="instance"),
        row("Schedule"),
        lines(12, 9, "Start lag", "Time between a due slot and the start of its check: median, 99th and 99.9th "
              "percentile.", [series(f"p{q}", quantile(q / 100, lag), f"{q} %") for q in (99.9, 99, 50)], "s", minimum="1m"),
        bars(12, 9, "Slots skipped by reason", "Due slots without a check in each step. Overrun: the previous "
             "check was still running; saturated: a limit of concurrent checks was reached; stalled: the daemon was "
             "stopped or lacked CPU time.",
             [series("skipped", counted(skipped, "reason"), "{{reason}}")]),
        lines(8, 8, "Checks in flight", "With the limit.",
              [*per_daemon(of_daemons("monitoringdaemon_checks_in_flight")),
               limit(of_daemons("monitoringdaemon_max_concurrent_checks"))], "none", overrides=limits),
        lines(8, 8, "Checks per second", "By outcome.",
              [series("checks", f"sum by (outcome) (rate({of_daemons('monitor_checks_total')}{RATE}))", "{{outcome}}")],
              "suffix:/s", minimum="1m",
              overrides=[override("failure", color={"mode": "fixed", "fixedColor": BAD}),
                         override("success", color={"mode": "fixed", "fixedColor": GOOD})], **STACKED),
        lines(8, 8, "Monitors", "By type.",
              [series("monitors", f"sum by (type) ({of_daemons('monitoringdaemon_monitors')})", "{{type}}")], "none",
              **STACKED),
        lines(12, 8, "Runtime delay", "Scheduling delay of the threads that run checks. Above 100 ms, the timing of "
              "a check is unreliable.",
              [series(f"p{q}", quantile(q / 100, delay), f"{q} %") for q in (99.9, 99, 50)], "s", minimum="1m"),
        lines(12, 8, "Tainted checks", "Checks per second whose timing is unreliable because the daemon lacked CPU time.",
              per_daemon(f"rate({of_daemons('monitoringdaemon_checks_tainted_total')}{RATE})"), "suffix:/s",
              minimum="1m"),
        row("Resources"),
        lines(8, 8, "CPU", "Cores in use.",
              per_daemon(of_processes(f"rate({of_daemons('process_cpu_seconds_total')}{RATE})")), "none",
              minimum="1m"),
        lines(8, 8, "Memory", "Resident.", per_daemon(of_processes(of_daemons("process_resident_memory_bytes"))),
              "bytes"),
        lines(8, 8, "Descriptors", "Open file descriptors, with the limit.",
              [*per_daemon(of_processes(of_daemons("process_open_fds"))),
               limit(of_processes(of_daemons("process_max_fds")))], "none", overrides=limits),
        lines(8, 8, "Threads", "Of the operating system.", per_daemon(of_processes(of_daemons("process_threads"))),
              "none"),
        lines(8, 8, "Scrape size", "Samples of one page.",
              per_daemon(of_processes(of_daemons("scrape_samples_scraped"))), "short"),
        lines(8, 8, "Scrape duration", "As Prometheus sees it.",
              per_daemon(of_processes(of_daemons("scrape_duration_seconds"))), "s"),
        row("Configuration and log"),
        timeline(12, 6, "Configuration", "Result of the last reload. If the new configuration is rejected, the daemon "
                 "keeps the old one.",
                 per_daemon(of_daemons("monitoringdaemon_config_last_reload_successful")),
                 {"0": ("rejected", BAD), "1": ("accepted", GOOD)}),
        lines(12, 6, "Log lines dropped", "Per second. Lines are dropped if standard output is blocked or closed.",
              per_daemon(f"rate({of_daemons('monitoringdaemon_log_lines_dropped_total')}{RATE})"), "suffix:/s",
              minimum="1m"),
    ]
    return dashboard(
        "monitoringdaemon-daemon", "Daemon", "Whether the daemon keeps up with what it is to check, and what it takes.",
        [variable("instance", "Daemon", "label_values(monitoringdaemon_build_info, instance)")], panels,
        [annotation("Started", "purple",
                    f"1000 * {of_processes(of_daemons('process_start_time_seconds'))}", "{{instance}} started",
                    useValueForTime="on"),
         annotation("Reloaded", "blue", f"1000 * {reloaded}", "{{instance}}: configuration accepted",
                    useValueForTime="on")])


def main():
    written = {FOLDER / f"{name}.json": dashboard for name, dashboard in
               (("overview", overview()), ("monitor", monitor()), ("daemon", daemon()))}
    texts = {path: json.dumps(content, indent=1, ensure_ascii=False) + "\n" for path, content in written.items()}
    if sys.argv[1:] == ["--check"]:
        found = {path: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
        stale = sorted(path.name for path in texts.keys() | found.keys() if texts.get(path) != found.get(path))
        return f"not as written by grafana/generate.py: {', '.join(stale)}" if stale else 0
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
