#!/usr/bin/env python3
"""Decodes OTLP requests, holds them against OpenTelemetry's conventions, and prints what is in them as JSON.

    conform.py traces=FILE… logs=FILE… metrics=FILE…

The messages are decoded by the package opentelemetry-proto; names of attributes are those that the package
opentelemetry-semantic-conventions has as stable. The daemon's own attributes begin with `monitoringdaemon.`.
"""

import gzip
import importlib
import json
import pkgutil
import re
import sys

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.semconv import attributes as stable
from opentelemetry.semconv._incubating.attributes import rpc_attributes

OWN = "monitoringdaemon."
# Stable in the conventions, but not in the list of the package yet.
STABLE_RPC = {"rpc.system.name", "rpc.method", "rpc.response.status_code"}


def names_in(module):
    return {value for value in vars(module).values() if isinstance(value, str)}


KNOWN = STABLE_RPC & names_in(rpc_attributes)
for found in pkgutil.iter_modules(stable.__path__):
    KNOWN |= names_in(importlib.import_module(f"{stable.__name__}.{found.name}"))

problems = []


def hold(condition, problem):
    if not condition:
        problems.append(problem)


def value_of(value):
    return getattr(value, value.WhichOneof("value"))


def attributes_of(owner, pairs, are_own_allowed=False):
    names = [pair.key for pair in pairs]
    hold(len(names) == len(set(names)), f"{owner}: an attribute stands twice: {names}")
    if not are_own_allowed:
        unknown = [name for name in names if name not in KNOWN and not name.startswith(OWN)]
        hold(not unknown, f"{owner}: not in the conventions: {unknown}")
    return {pair.key: value_of(pair.value) for pair in pairs}


def resource_of(resource):
    attributes = attributes_of("resource", resource.attributes)
    for name in ("service.name", "service.version", "service.instance.id"):
        hold(attributes.get(name), f"resource: {name} is missing")
    return attributes


def conform_span(span, spans):
    name = span.name
    hold(len(span.trace_id) == 16 and any(span.trace_id), f"{name}: trace id {span.trace_id.hex()}")
    hold(len(span.span_id) == 8 and any(span.span_id), f"{name}: span id {span.span_id.hex()}")
    hold(span.start_time_unix_nano <= span.end_time_unix_nano, f"{name}: it ends before it starts")
    hold(span.flags & 0x01, f"{name}: exported, but not sampled")
    attributes = attributes_of(name, span.attributes)
    is_error = span.status.code == Status.STATUS_CODE_ERROR
    hold(is_error == ("error.type" in attributes), f"{name}: error.type without a status, or the reverse")
    hold(is_error or not span.status.message, f"{name}: a description without an error")
    for event in span.events:
        hold(event.name, f"{name}: an event without a name")
        hold(event.time_unix_nano, f"{name}: an event without a time")
        attributes_of(f"{name}, {event.name}", event.attributes)
    if span.parent_span_id:
        parent = next((other for other in spans if other.span_id == span.parent_span_id), None)
        hold(parent is not None and parent.trace_id == span.trace_id, f"{name}: its parent is not here")
        if parent is not None:
            hold(span.start_time_unix_nano >= parent.start_time_unix_nano, f"{name}: it starts before its parent")
            hold(span.end_time_unix_nano <= parent.end_time_unix_nano, f"{name}: it ends after its parent")
        return
    hold(span.kind == Span.SPAN_KIND_CLIENT, f"{name}: not the span of a client")
    hold("server.address" in attributes, f"{name}: no server.address")
    if "http.request.method" in attributes:
        hold(name.split(" ")[0] in (attributes["http.request.method"], "HTTP"), f"{name}: not named by its method")
        hold("url.full" in attributes, f"{name}: no url.full")
        hold("server.port" in attributes, f"{name}: no server.port")
    if attributes.get("rpc.system.name") == "grpc":
        hold("rpc.method" in attributes, f"{name}: no rpc.method")


def traces(body):
    request = ExportTraceServiceRequest()
    request.ParseFromString(body)
    for of_resource in request.resource_spans:
        resource = resource_of(of_resource.resource)
        for of_scope in of_resource.scope_spans:
            hold(of_scope.scope.name, "a scope without a name")
            for span in of_scope.spans:
                conform_span(span, of_scope.spans)
                yield {
                    "name": span.name,
                    "kind": Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                    "trace_id": span.trace_id.hex(),
                    "span_id": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    "seconds": (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                    "attributes": attributes_of(span.name, span.attributes),
                    "events": {event.name: value_of(event.attributes[0].value) for event in span.events},
                    "error": span.status.message,
                    "resource": resource,
                }


def logs(body):
    request = ExportLogsServiceRequest()
    request.ParseFromString(body)
    for of_resource in request.resource_logs:
        resource = resource_of(of_resource.resource)
        for of_scope in of_resource.scope_logs:
            for record in of_scope.log_records:
                text = record.body.string_value
                hold(text, "a record without a body")
                hold(1 <= record.severity_number <= 24, f"{text}: severity {record.severity_number}")
                hold(record.time_unix_nano and record.observed_time_unix_nano, f"{text}: no time")
                hold(len(record.trace_id) in (0, 16), f"{text}: trace id {record.trace_id.hex()}")
                yield {
                    "body": text,
                    "severity": record.severity_number,
                    "severity_text": record.severity_text,
                    "trace_id": record.trace_id.hex(),
                    # Fields of log lines have the names that they have on stdout.
                    "attributes": attributes_of(text, record.attributes, are_own_allowed=True),
                    "resource": resource,
                }


# Units of Prometheus as the Unified Code for Units of Measure has them.
UNITS = {"seconds": "s", "bytes": "By", "ratio": "1"}


def conform_metric(metric, kind):
    """By "Prometheus and OpenMetrics Compatibility": the name is not altered, the type is kept, the unit is abbreviated."""
    name = metric.name
    hold(re.fullmatch("[a-zA-Z_:][a-zA-Z0-9_:]*", name), f"{name}: not a name of Prometheus")
    hold(metric.description, f"{name}: no description")
    words = name.removesuffix("_total").split("_")
    hold(metric.unit == UNITS.get(words[-1], ""), f"{name}: unit {metric.unit!r}")
    known = {"sum": "counter", "gauge": "gauge", "histogram": "histogram", "exponential_histogram": "histogram"}
    metadata = {pair.key: value_of(pair.value) for pair in metric.metadata}
    hold(metadata == {"prometheus.type": known[kind]}, f"{name}: metadata {metadata}")
    hold(name.endswith("_total") == (kind == "sum"), f"{name}: a {kind}")
    if kind == "sum":
        hold(metric.sum.is_monotonic, f"{name}: a counter that may decrease")


def conform_point(name, kind, point):
    hold(point.time_unix_nano, f"{name}: no time")
    if kind != "gauge":
        hold(0 < point.start_time_unix_nano <= point.time_unix_nano, f"{name}: it starts at {point.start_time_unix_nano}")
    for exemplar in point.exemplars if kind != "gauge" else []:
        hold(len(exemplar.trace_id) == 16 and any(exemplar.trace_id), f"{name}: an exemplar without a trace")
        hold(exemplar.time_unix_nano, f"{name}: an exemplar without a time")
        hold(not exemplar.filtered_attributes, f"{name}: attributes of an exemplar")
    if kind == "histogram":
        bounds = list(point.explicit_bounds)
        hold(bounds == sorted(set(bounds)), f"{name}: bounds {bounds}")
        hold(len(point.bucket_counts) == len(bounds) + 1, f"{name}: {len(point.bucket_counts)} buckets")
        hold(sum(point.bucket_counts) == point.count, f"{name}: buckets do not add up")
    if kind == "exponential_histogram":
        total = sum(point.positive.bucket_counts) + point.zero_count
        hold(total == point.count, f"{name}: buckets do not add up")
        hold(not point.negative.bucket_counts, f"{name}: negative durations or sizes")


def metrics(body):
    request = ExportMetricsServiceRequest()
    request.ParseFromString(body)
    for of_resource in request.resource_metrics:
        resource = resource_of(of_resource.resource)
        for of_scope in of_resource.scope_metrics:
            hold(of_scope.scope.name, "a scope without a name")
            names = [metric.name for metric in of_scope.metrics]
            hold(len(names) == len(set(names)), "a metric stands twice")
            for metric in of_scope.metrics:
                kind = metric.WhichOneof("data")
                conform_metric(metric, kind)
                data = getattr(metric, kind)
                hold(data.data_points, f"{metric.name}: no data points")
                temporality = "" if kind == "gauge" else AggregationTemporality.Name(data.aggregation_temporality)
                for point in data.data_points:
                    conform_point(metric.name, kind, point)
                    is_histogram = "histogram" in kind
                    yield {
                        "name": metric.name,
                        "kind": kind,
                        "temporality": temporality.removeprefix("AGGREGATION_TEMPORALITY_"),
                        # Labels have the names that they have in Prometheus.
                        "attributes": attributes_of(metric.name, point.attributes, are_own_allowed=True),
                        "value": point.count if is_histogram else getattr(point, point.WhichOneof("value")),
                        "sum": point.sum if is_histogram else None,
                        "start": point.start_time_unix_nano,
                        "time": point.time_unix_nano,
                        "exemplars": [exemplar.trace_id.hex() for exemplar in getattr(point, "exemplars", [])],
                        "resource": resource,
                    }


found = []
for argument in sys.argv[1:]:
    signal, path = argument.split("=", 1)
    with open(path, "rb") as file:
        content = file.read()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    found.extend({"traces": traces, "logs": logs, "metrics": metrics}[signal](content))
json.dump(found, sys.stdout, indent=1)
if problems:
    sys.exit("\n".join(problems))
