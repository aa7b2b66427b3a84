//! The values that the HTML template shows.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use askama::Template;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    certificate,
    charts::{Bar, Sparkline},
    format::{self, Timestamp},
    now::Now,
    query::Query,
    selection::Selection,
    uptime::uptime,
};
use crate::{
    check::{MaintenanceWindow, MonitorStatus, Outcome, Phase, State, Step},
    history::{CheckEntry, Evidence, MAX_FAILURES, MAX_RECENT_CHECKS, MonitorHistory, Snapshot},
    storage::Uptime,
};

#[derive(Template)]
#[template(path = "page.html", config = "src/status/askama.toml")]
struct Page<'a> {
    title: &'a str,
    rendered: Timestamp,
    view: View<'a>,
}

enum View<'a> {
    Overview(Overview<'a>),
    Monitor(Box<Detail>),
}

struct Overview<'a> {
    query: &'a Query,
    labels: Vec<String>,
    label_names: Vec<&'a str>,
    counts: Vec<(State, usize)>,
    /// The maintenance windows in words.
    maintenance: Vec<String>,
    found: usize,
    page: usize,
    pages: usize,
    before: Option<String>,
    after: Option<String>,
    groups: Vec<Group>,
}

struct Group {
    heading: Option<String>,
    rows: Vec<Row>,
}

/// The part of a monitor that both pages show.
struct Row {
    id: u32,
    name: Arc<str>,
    address: String,
    kind: &'static str,
    target: String,
    labels: Vec<String>,
    state: State,
    since: Option<Timestamp>,
    /// Why the state is not simply that of the last check.
    note: String,
    /// Time since the last change of state.
    lasted: String,
    last: Option<Check>,
    uptime: Option<String>,
    /// The uptimes that the store knows.
    uptimes: Vec<StoredUptime>,
    kept: usize,
    sparkline: Sparkline,
    next: Option<Timestamp>,
    certificate: Option<Certificate>,
}

struct Certificate {
    days: i64,
    end: Option<Timestamp>,
    /// True if it should have been renewed by now.
    is_due: bool,
}

/// One check.
struct Check {
    number: u32,
    ended: Timestamp,
    state: State,
    outcome: Outcome,
    latency: String,
    bar: Bar,
    why: String,
    error: Option<Arc<str>>,
}

struct Detail {
    row: Row,
    check_every: String,
    kept_since: Option<Timestamp>,
    phases: Vec<Phase>,
    checks: Vec<Check>,
    older: Vec<Check>,
    evidence: Option<ShownEvidence>,
}

/// The uptime over a time that ends now.
struct StoredUptime {
    span: &'static str,
    share: String,
    /// The share of the time that is known, if that is not nearly all.
    known: Option<String>,
}

impl StoredUptime {
    fn new(uptime: &Uptime) -> Option<Self> {
        /// Share of the time that is always missing: the part of the present hour or day that has not come yet.
        const NEARLY_ALL: f64 = 0.85;
        let share = uptime.share()?;
        let length = f64::from(uptime.span.days) * 86_400.0;
        let known = uptime.known.as_secs_f64() / length;
        Some(Self {
            span: uptime.span.name,
            share: format::precise_percent(share),
            known: (known < NEARLY_ALL).then(|| format::percent(known)),
        })
    }
}

/// The steps of the last failure.
struct ShownEvidence {
    ended: Timestamp,
    evidence: Arc<Evidence>,
}

impl ShownEvidence {
    /// The time of a step since its check began.
    fn millis(step: &Step) -> String {
        format!("{:.1} ms", step.at.as_secs_f64() * 1e3)
    }

    /// The kind of a step in words.
    fn kind(step: &Step) -> String {
        step.kind.as_str().replace('_', " ")
    }

    /// The class of a step's text.
    fn class(step: &Step) -> &'static str {
        match step.kind.mark() {
            '+' => "good",
            '!' => "bad",
            _ => "",
        }
    }
}

/// The page of `selection`, out of `monitors`.
pub(super) fn overview(
    monitors: &[Arc<MonitorHistory>],
    selection: &Selection,
    maintenance: &[MaintenanceWindow],
    uptimes: &dyn Fn(&str) -> Vec<Uptime>,
    query: &Query,
    now: Now,
) -> String {
    // A request for some rows comes from a page that has the form already.
    let known = if query.rows.is_some() { &[] } else { monitors };
    let (label_names, labels) = label_suggestions(known);
    let address_of = |page| query.address_of(page);
    let heading = |value: &Option<String>| match value {
        _ if query.group.is_empty() => None,
        None => Some(format!("without {}", query.group)),
        Some(value) => Some(format!("{}: {value}", query.group)),
    };
    let groups = selection.groups.iter().map(|group| Group {
        heading: heading(&group.value),
        rows: group
            .monitors
            .iter()
            .map(|history| {
                let uptimes = uptimes(&history.name);
                Row::new(history, &history.snapshot(), &uptimes, now)
            })
            .collect(),
    });
    let down = selection.counts.get(State::Down);
    let title = if down == 0 {
        "Monitors".to_owned()
    } else {
        format!("{down} down - Monitors")
    };
    render(&Page {
        title: &title,
        rendered: Timestamp::full(now.clock),
        view: View::Overview(Overview {
            query,
            labels,
            label_names,
            counts: selection.counts.iter().collect(),
            maintenance: maintenance
                .iter()
                .map(|window| describe(window, now))
                .collect(),
            found: selection.found,
            page: selection.page,
            pages: selection.pages,
            before: (selection.page > 1).then(|| address_of(selection.page - 1)),
            after: (selection.page < selection.pages).then(|| address_of(selection.page + 1)),
            groups: groups.collect(),
        }),
    })
}

/// The page of one monitor.
pub(super) fn monitor(history: &MonitorHistory, uptimes: &[Uptime], now: Now) -> String {
    let snapshot = history.snapshot();
    let all = snapshot.recent.iter().chain(&snapshot.older_failures);
    let longest = all.clone().map(|check| check.record.duration()).max();
    let reached: BTreeSet<Phase> = all
        .flat_map(|check| check.record.phases().map(|(phase, _)| phase))
        .collect();
    let checks = |checks: &[CheckEntry]| {
        let checks = checks.iter();
        checks
            .map(|check| Check::new(check, longest.unwrap_or_default(), Timestamp::full))
            .collect()
    };
    let detail = Detail {
        row: Row::new(history, &snapshot, uptimes, now),
        check_every: crate::value::format_duration(history.check_every),
        kept_since: snapshot
            .recent
            .last()
            .map(|check| Timestamp::new(check.record.ended_at(), now)),
        phases: reached.into_iter().collect(),
        checks: checks(&snapshot.recent),
        older: checks(&snapshot.older_failures),
        evidence: history.evidence().map(|evidence| ShownEvidence {
            ended: Timestamp::new(evidence.ended_at, now),
            evidence,
        }),
    };
    render(&Page {
        title: &format!("{}: {}", history.name, snapshot.status.state.as_str()),
        rendered: Timestamp::full(now.clock),
        view: View::Monitor(Box::new(detail)),
    })
}

fn render(page: &Page<'_>) -> String {
    page.render().expect("a String takes all")
}

/// Number of labels that the form suggests, of either kind.
const MAX_SUGGESTIONS: usize = 200;

/// Names of labels, and names with values, that the form suggests.
fn label_suggestions(monitors: &[Arc<MonitorHistory>]) -> (Vec<&str>, Vec<String>) {
    let labels: BTreeSet<(&str, &str)> = monitors
        .iter()
        .flat_map(|monitor| &monitor.labels)
        .map(|(k, v)| (&**k, &**v))
        .collect();
    let names: BTreeSet<_> = labels.iter().map(|(name, _)| *name).collect();
    let pairs = labels.iter().map(|(name, value)| format!("{name}:{value}"));
    (
        names.into_iter().take(MAX_SUGGESTIONS).collect(),
        pairs.take(MAX_SUGGESTIONS).collect(),
    )
}

/// Characters that are not escaped in a path.
const PATH: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

impl Row {
    fn new(history: &MonitorHistory, snapshot: &Snapshot, uptimes: &[Uptime], now: Now) -> Self {
        let labels = history.labels.iter();
        let last = snapshot.recent.first();
        let due = snapshot.due.and_then(|due| now.to_wall_clock(due));
        let since = snapshot.since();
        let lasted = |since| now.clock.duration_since(since).unwrap_or_default();
        Self {
            id: history.id,
            name: history.name.clone(),
            address: format!("/monitors/{}", utf8_percent_encode(&history.name, &PATH)),
            kind: history.kind(),
            target: history.target(),
            labels: labels.map(|(k, v)| format!("{k}:{v}")).collect(),
            state: snapshot.status.state,
            note: note(&snapshot.status),
            since: since.map(|since| Timestamp::new(since, now)),
            lasted: format::age(since.map(lasted).unwrap_or_default()),
            last: last.map(|check| {
                let moment = |ended| Timestamp::new(ended, now);
                Check::new(check, check.record.duration(), moment)
            }),
            uptime: uptime(&snapshot.recent).map(format::percent),
            uptimes: uptimes.iter().filter_map(StoredUptime::new).collect(),
            kept: snapshot.recent.len(),
            sparkline: Sparkline::new(&snapshot.recent),
            next: due.map(|due| Timestamp::new(due, now)),
            certificate: snapshot.certificate.map(|certificate| Certificate {
                days: now.days_until(certificate.not_after),
                end: chrono::DateTime::from_timestamp(certificate.not_after, 0)
                    .map(|end| Timestamp::full(end.into())),
                is_due: certificate::is_due(certificate, now),
            }),
        }
    }
}

/// When `window` is or will be open.
fn describe(window: &MaintenanceWindow, now: Now) -> String {
    let (from, until) = (
        Timestamp::new(window.from, now).text,
        Timestamp::new(window.until, now).text,
    );
    if window.is_open {
        format!("{} until {until}", window.name)
    } else {
        format!("{} from {from} to {until}", window.name)
    }
}

/// Why the state of `status` is not simply that of the last check.
fn note(status: &MonitorStatus) -> String {
    let confirmed = match status.is_up {
        Some(true) => "was up",
        Some(false) => "still down",
        None => "not known yet",
    };
    match status.state {
        State::Suspect => format!("not confirmed, {confirmed}"),
        State::Unreachable => format!("{} is down", status.unreachable_through.join(", ")),
        State::Maintenance => confirmed.to_owned(),
        _ => String::new(),
    }
}

impl Check {
    fn new(
        check: &CheckEntry,
        longest: Duration,
        moment: impl Fn(std::time::SystemTime) -> Timestamp,
    ) -> Self {
        let record = &check.record;
        Self {
            number: check.number,
            ended: moment(record.ended_at()),
            state: check.state(),
            outcome: record.outcome(),
            latency: format::latency(record.duration()),
            bar: Bar::new(record, longest),
            why: record
                .failure()
                .map(format::failure_text)
                .unwrap_or_default(),
            error: check.error.clone(),
        }
    }
}
