"""The parts that dashboards are made of, as Grafana's JSON has them: variables, queries, panels, and their places."""

# docker-compose.yml has the same.
GRAFANA = "13.2.3"

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

# Named colours, which Grafana has in a light and a dark version. Good is blue: red and green look alike to many.
GOOD, WARN, BAD, PLAIN = "blue", "orange", "red", "text"

# The states of a monitor, the worst first.
STATE_NAMES = ["down", "unreachable", "suspect", "degraded", "unknown", "maintenance", "paused", "up"]
STATE_COLOURS = [BAD, "purple", WARN, "yellow", PLAIN, "light-blue", "super-light-blue", GOOD]
STATES = {str(number): (name.upper(), colour)
          for number, (name, colour) in enumerate(zip(STATE_NAMES, STATE_COLOURS))}


def dashboard(uid, title, description, variables, panels, annotations=(), refresh="30s"):
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["monitoringdaemon"],
        "schemaVersion": 42,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "fiscalYearStartMonth": 0,
        "timezone": "browser",
        "time": {"from": "now-1h", "to": "now"},
        "timepicker": {},
        "refresh": refresh,
        "links": [link_to(other) for other in DASHBOARDS if other != uid],
        "annotations": {"list": [BUILT_IN_ANNOTATIONS, *annotations]},
        "templating": {"list": [DATASOURCE_VARIABLE, *variables]},
        "panels": placed(panels),
    }


DASHBOARDS = {
    "monitoringdaemon-overview": "Overview",
    "monitoringdaemon-monitor": "Monitor",
    "monitoringdaemon-daemon": "Daemon",
}

BUILT_IN_ANNOTATIONS = {
    "builtIn": 1,
    "datasource": {"type": "grafana", "uid": "-- Grafana --"},
    "enable": True,
    "hide": True,
    "iconColor": "rgba(0, 211, 255, 1)",
    "name": "Annotations & Alerts",
    "type": "dashboard",
}


def link_to(uid):
    """A link in the head of a dashboard. One by tags would lose the data source, or give All to one monitor."""
    return {
        "type": "link",
        "title": DASHBOARDS[uid],
        "tooltip": "",
        "icon": "dashboard",
        "url": f"/d/{uid}?${{datasource:queryparam}}",
        "tags": [],
        "asDropdown": False,
        "includeVars": False,
        "keepTime": True,
        "targetBlank": False,
    }


def link_to_monitor(name):
    return {
        "title": "Show this monitor",
        "url": f"/d/monitoringdaemon-monitor?${{datasource:queryparam}}&var-monitor={name}&${{__url_time_range}}",
        "targetBlank": False,
    }


def annotation(name, colour, expr, title, **more):
    target = {"refId": name.lower(), "expr": expr, "interval": ""}
    return {
        "name": name,
        "datasource": DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": colour,
        "titleFormat": title,
        "textFormat": "",
        "tagKeys": "",
        "target": target,
        **more,
    }


# Variables

DATASOURCE_VARIABLE = {
    "name": "datasource",
    "type": "datasource",
    "label": "Data source",
    "query": "prometheus",
    "regex": "",
    "current": {"text": "Prometheus", "value": "prometheus"},
    "options": [],
    "multi": False,
    "includeAll": False,
    "refresh": 1,
    "hide": 0,
    "skipUrlSync": False,
}


def variable(name, label, query, everything=".+", current=None, regex="", description=""):
    """Values that Prometheus knows; any number of them, unless one is `current` at first or `everything` is None."""
    several = everything is not None and current is None
    chosen = {"text": ["All"], "value": ["$__all"]} if several else {"text": current or "", "value": current or ""}
    return {
        "name": name,
        "type": "query",
        "label": label,
        "description": description,
        "datasource": DATASOURCE,
        "query": {"qryType": 5, "query": query, "refId": name},
        "regex": regex,
        # Alphabetical, in any case.
        "sort": 5,
        "current": chosen,
        "options": [],
        "multi": several,
        "includeAll": several,
        **({"allValue": everything} if several else {}),
        # Whenever the time range changes.
        "refresh": 2,
        "hide": 0,
        "skipUrlSync": False,
    }


# Queries

def series(name, expr, legend=None, **more):
    """Values over the time range."""
    legend = {} if legend is None else {"legendFormat": legend}
    return query(name, expr, False, "time_series", **legend, **more)


def buckets(expr):
    """Those of a histogram, over the time range."""
    return query("buckets", expr, False, "heatmap", legendFormat="{{le}}")


def now(name, expr, **more):
    """The values at the end of the time range."""
    return query(name, expr, True, "time_series", **more)


def rows(name, expr):
    """The same, a row each, with the labels as columns."""
    return query(name, expr, True, "table")


def query(name, expr, instant, form, **more):
    return {
        "refId": name,
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": expr,
        "format": form,
        "instant": instant,
        "range": not instant,
        **more,
    }


# Panels

def panel(kind, width, height, title, description, targets, options, defaults, overrides=(), **more):
    return {
        "type": kind,
        "title": title,
        "description": description,
        "gridPos": {"w": width, "h": height},
        "datasource": DATASOURCE,
        "pluginVersion": GRAFANA,
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": list(overrides)},
        "options": options,
        **more,
    }


def row(title, panels=None):
    """A heading; where it has panels of its own, they are asked for when it is opened."""
    return {"type": "row", "title": title, "collapsed": panels is not None, "panels": panels or []}


def coarse(panel, points):
    """In no more steps than that: with thousands of monitors, a step is dear."""
    return {**panel, "maxDataPoints": points}


def placed(panels, y=0, ids=None):
    """Gives panels their numbers and places: from left to right, and below where there is no room."""
    ids = ids if ids is not None else iter(range(1, 1000))
    x = height = 0
    for each in panels:
        is_row = each["type"] == "row"
        width = 24 if is_row else each["gridPos"]["w"]
        if x + width > 24:
            x, y, height = 0, y + height, 0
        each["id"] = next(ids)
        each["gridPos"] = {"x": x, "y": y, "w": width, "h": 1 if is_row else each["gridPos"]["h"]}
        x, height = x + width, max(height, each["gridPos"]["h"])
        if is_row and each["panels"]:
            placed(each["panels"], y + 1, ids)
    return panels


def thresholds(first, *steps):
    """A colour, and others from a value on."""
    steps = [{"color": first, "value": None}, *({"color": colour, "value": value} for value, colour in steps)]
    return {"color": {"mode": "thresholds"}, "thresholds": {"mode": "absolute", "steps": steps}}


AVAILABILITY = {"unit": "percentunit", "decimals": 2, "min": 0, "max": 1,
                **thresholds(BAD, (0.99, WARN), (0.999, GOOD))}
DAYS_LEFT = {"unit": "none", "decimals": 0, **thresholds(BAD, (7, WARN), (21, GOOD))}
IF_ANY_BAD = thresholds(GOOD, (1, BAD))
IF_ANY_WARN = thresholds(GOOD, (1, WARN))


def mapped(texts):
    """Words, and their colours, instead of numbers."""
    values = {value: {"text": text, "color": colour, "index": i}
              for i, (value, (text, colour)) in enumerate(texts.items())}
    return {"mappings": [{"type": "value", "options": values}]}


def override(field, links=(), **properties):
    """What is different in the field of that name: keys of its configuration, `custom__` for what the panel adds."""
    listed = [{"id": key.replace("__", "."), "value": value} for key, value in properties.items()]
    if links:
        listed.append({"id": "links", "value": list(links)})
    return {"matcher": {"id": "byName", "options": field}, "properties": listed}


LEGEND = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
NO_LEGEND = {**LEGEND, "showLegend": False}
ONE, ALL = {"mode": "single", "sort": "none"}, {"mode": "multi", "sort": "desc"}


def stat(width, title, description, targets, unit="none", graph="none", text="auto", **defaults):
    options = {
        "colorMode": "value",
        "graphMode": graph,
        "justifyMode": "auto",
        "textMode": text,
        "wideLayout": True,
        "showPercentChange": False,
        "percentChangeColorMode": "standard",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    defaults = {**thresholds(PLAIN), "unit": unit, **defaults}
    targets = targets if isinstance(targets, list) else [targets]
    return panel("stat", width, 4, title, description, targets, options, defaults)


def lines(width, height, title, description, targets, unit, overrides=(), legend=(), minimum=None, **custom):
    """Lines over time. `custom` says how they are drawn, `minimum` is the shortest step."""
    drawn = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 0,
        "pointSize": 4,
        "showPoints": "auto",
        # A rate of what is checked once an hour has a value once an hour; a state that is not there is none.
        "spanNulls": minimum is not None,
        "stacking": {"mode": "none", "group": "A"},
        **custom,
    }
    table = {"displayMode": "table", "placement": "right", "calcs": list(legend), "sortBy": "Total", "sortDesc": True}
    options = {"legend": {**LEGEND, **(table if legend else {})}, "tooltip": ALL}
    defaults = {"unit": unit, "min": 0, "color": {"mode": "palette-classic"}, "custom": drawn}
    more = {"interval": minimum} if minimum else {}
    return panel("timeseries", width, height, title, description, targets, options, defaults, overrides, **more)


def bars(width, height, title, description, targets, unit="short", overrides=()):
    """How many in each step, on top of each other; their sums beside them."""
    drawn = {"drawStyle": "bars", "fillOpacity": 80, "lineWidth": 0, "showPoints": "never",
             "spanNulls": False, "stacking": {"mode": "normal", "group": "A"}}
    return lines(width, height, title, description, targets, unit, overrides, legend=["sum"], minimum="1m", **drawn)


STACKED = {"stacking": {"mode": "normal", "group": "A"}, "fillOpacity": 60}
DASHED = {"custom__lineStyle": {"fill": "dash", "dash": [8, 6]}, "custom__stacking": {"mode": "none", "group": "A"},
          "custom__fillOpacity": 0, "custom__showPoints": "never"}


def heatmap(width, height, title, description, expr, minimum="1m", unit="s"):
    options = {
        "calculate": False,
        "yAxis": {"axisPlacement": "left", "unit": unit, "reverse": False},
        "rowsFrame": {"layout": "auto", "value": "Checks"},
        "cellGap": 1,
        "cellValues": {"unit": "short", "decimals": 1},
        "filterValues": {"le": 1e-9},
        "color": {"mode": "scheme", "scheme": "Blues", "fill": "blue", "scale": "exponential", "exponent": 0.5,
                  "steps": 64, "reverse": False},
        "legend": {"show": True},
        "tooltip": {"mode": "single", "yHistogram": False, "showColorScale": True},
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "showValue": "never",
    }
    defaults = {"custom": {"scaleDistribution": {"type": "linear"},
                           "hideFrom": {"tooltip": False, "viz": False, "legend": False}}}
    return panel("heatmap", width, height, title, description, [buckets(expr)], options, defaults, interval=minimum)


def timeline(width, height, title, description, targets, states, page=None, links=()):
    """States over time, a line each, and as many lines a page."""
    options = {
        "mergeValues": True,
        "showValue": "never",
        "alignValue": "left",
        "rowHeight": 0.8,
        **({"perPage": page} if page else {}),
        "legend": NO_LEGEND,
        "tooltip": ONE,
    }
    defaults = {**mapped(states), **thresholds(PLAIN), "custom": {"fillOpacity": 80, "lineWidth": 0}}
    if links:
        defaults["links"] = list(links)
    return panel("state-timeline", width, height, title, description, targets, options, defaults)


BAR = {"custom__cellOptions": {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}}
COLOURED = {"custom__cellOptions": {"type": "color-text"}}
DATE = {"unit": "dateTimeAsIso"}


def table(width, height, title, description, targets, columns, sort, by="monitor", labels=(), descending=False):
    """The rows of all queries, joined by the label `by`. Of `columns` from a label, or the name of a query, to its
    title and overrides; the value of a query that is none of them is not shown. No query is called as a label is."""
    names = {target["refId"]: f"Value #{target['refId']}" if len(targets) > 1 else "Value" for target in targets}
    fields = [names.get(column, column) for column in columns]
    titles = {field: title for field, (title, _) in zip(fields, columns.values())}
    organize = {
        "excludeByName": {name: True for name in names.values() if name not in titles},
        "indexByName": {field: i for i, field in enumerate(fields)},
        "renameByName": titles,
    }
    pattern = "|".join([*(column for column in columns if column not in names), "Value.*"])
    transformations = [
        {"id": "filterFieldsByName", "options": {"include": {"pattern": f"/^({pattern})$/"}}},
        *([{"id": "joinByField", "options": {"byField": by, "mode": "outer"}}] if len(targets) > 1 else []),
        {"id": "organize", "options": organize},
    ]
    return plain_table(width, height, title, description, targets, transformations,
                       [override(title, **properties) for title, properties in columns.values() if properties],
                       [{"displayName": sort, "desc": descending}])


def plain_table(width, height, title, description, targets, transformations, overrides, sort=()):
    options = {"showHeader": True, "cellHeight": "sm", "frameIndex": 0, "sortBy": list(sort)}
    custom = {"align": "auto", "filterable": False, "inspect": False, "cellOptions": {"type": "auto"}}
    defaults = {**thresholds(PLAIN), "custom": custom}
    return panel("table", width, height, title, description, targets, options, defaults, overrides,
                 transformations=transformations)
