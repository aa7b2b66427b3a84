//! What the HTML template shows, in the form in which it shows it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use askama::Template;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    Now,
    drawing::{Bar, Sparkline},
    query::Query,
    selection::Selection,
    uptime,
    words::{self, Moment},
};
use crate::{
    check::{Outcome, Phase},
    history::{FAILURES, Kept, PastCheck, RECENT, Snapshot, Standing},
};

#[derive(Template)]
#[template(path = "page.html", config = "src/status/askama.toml")]
struct Page<'a> {
    title: &'a str,
    rendered: Moment,
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
    counts: [(Standing, usize); 3],
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

/// What both pages tell of a monitor.
struct Row {
    id: u32,
    name: Arc<str>,
    address: String,
    kind: &'static str,
    target: String,
    labels: Vec<String>,
    standing: Standing,
    since: Option<Moment>,
    /// How long it has stood so.
    lasted: String,
    last: Option<Check>,
    uptime: Option<String>,
    kept: usize,
    sparkline: Sparkline,
    next: Option<Moment>,
    certificate: Option<Certificate>,
}

struct Certificate {
    days: i64,
    end: Option<Moment>,
}

impl Certificate {
    /// Whether it is time to get another.
    fn is_urgent(&self) -> bool {
        self.days < 14
    }
}

/// One check.
struct Check {
    number: u32,
    ended: Moment,
    standing: Standing,
    outcome: Outcome,
    latency: String,
    bar: Bar,
    why: String,
    error: Option<Arc<str>>,
}

struct Detail {
    row: Row,
    check_every: String,
    kept_since: Option<Moment>,
    phases: Vec<Phase>,
    checks: Vec<Check>,
    older: Vec<Check>,
}

/// The page of `selection`, out of `monitors`.
pub(super) fn overview(
    monitors: &[Arc<Kept>],
    selection: &Selection,
    query: &Query,
    now: Now,
) -> String {
    // Who asks for some rows has the form already.
    let known = if query.rows.is_some() { &[] } else { monitors };
    let (label_names, labels) = known_labels(known);
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
            .map(|kept| Row::of(kept, &kept.snapshot(), now))
            .collect(),
    });
    let down = selection.counts[Standing::Down as usize].1;
    let title = if down == 0 {
        "Monitors".to_owned()
    } else {
        format!("{down} down - Monitors")
    };
    render(&Page {
        title: &title,
        rendered: Moment::in_full(now.clock),
        view: View::Overview(Overview {
            query,
            labels,
            label_names,
            counts: selection.counts,
            found: selection.found,
            page: selection.page,
            pages: selection.pages,
            before: (selection.page > 1).then(|| address_of(selection.page - 1)),
            after: (selection.page < selection.pages).then(|| address_of(selection.page + 1)),
            groups: groups.collect(),
        }),
    })
}

/// The page of `kept`.
pub(super) fn monitor(kept: &Kept, now: Now) -> String {
    let snapshot = kept.snapshot();
    let all = snapshot.recent.iter().chain(&snapshot.older_failures);
    let longest = all.clone().map(|check| check.record.duration()).max();
    let reached: BTreeSet<Phase> = all
        .flat_map(|check| check.record.phases().map(|(phase, _)| phase))
        .collect();
    let checks = |checks: &[PastCheck]| {
        let checks = checks.iter();
        checks
            .map(|check| Check::of(check, longest.unwrap_or_default(), Moment::in_full))
            .collect()
    };
    let detail = Detail {
        row: Row::of(kept, &snapshot, now),
        check_every: crate::value::format_duration(kept.check_every),
        kept_since: snapshot
            .recent
            .last()
            .map(|check| Moment::of(check.record.ended_at(), now)),
        phases: reached.into_iter().collect(),
        checks: checks(&snapshot.recent),
        older: checks(&snapshot.older_failures),
    };
    render(&Page {
        title: &format!("{}: {}", kept.name, snapshot.standing().as_str()),
        rendered: Moment::in_full(now.clock),
        view: View::Monitor(Box::new(detail)),
    })
}

fn render(page: &Page<'_>) -> String {
    page.render().expect("a String takes all")
}

/// Labels that the form offers, of either kind.
const OFFERED: usize = 200;

/// Names of labels, and names with values, as the form offers them.
fn known_labels(monitors: &[Arc<Kept>]) -> (Vec<&str>, Vec<String>) {
    let labels = monitors.iter().flat_map(|monitor| &monitor.labels);
    let labels: BTreeSet<(&str, &str)> = labels.map(|(k, v)| (&**k, &**v)).collect();
    let names: BTreeSet<_> = labels.iter().map(|(name, _)| *name).collect();
    let pairs = labels.iter().map(|(name, value)| format!("{name}:{value}"));
    (
        names.into_iter().take(OFFERED).collect(),
        pairs.take(OFFERED).collect(),
    )
}

/// What stands for itself in a path.
const PATH: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

impl Row {
    fn of(kept: &Kept, snapshot: &Snapshot, now: Now) -> Self {
        let labels = kept.labels.iter();
        let last = snapshot.recent.first();
        let due = snapshot.due.and_then(|due| now.clock_at(due));
        let lasted = |since| now.clock.duration_since(since).unwrap_or_default();
        Self {
            id: kept.id,
            name: kept.name.clone(),
            address: format!("/monitors/{}", utf8_percent_encode(&kept.name, &PATH)),
            kind: kept.kind(),
            target: kept.target(),
            labels: labels.map(|(k, v)| format!("{k}:{v}")).collect(),
            standing: snapshot.standing(),
            since: snapshot.since.map(|since| Moment::of(since, now)),
            lasted: words::span(snapshot.since.map(lasted).unwrap_or_default()),
            last: last.map(|check| {
                let moment = |ended| Moment::of(ended, now);
                Check::of(check, check.record.duration(), moment)
            }),
            uptime: uptime(&snapshot.recent).map(words::percent),
            kept: snapshot.recent.len(),
            sparkline: Sparkline::of(&snapshot.recent),
            next: due.map(|due| Moment::of(due, now)),
            certificate: snapshot.certificate_not_after.map(|end| Certificate {
                days: now.days_until(end),
                end: chrono::DateTime::from_timestamp(end, 0)
                    .map(|end| Moment::in_full(end.into())),
            }),
        }
    }
}

impl Check {
    fn of(
        check: &PastCheck,
        longest: Duration,
        moment: impl Fn(std::time::SystemTime) -> Moment,
    ) -> Self {
        let record = &check.record;
        Self {
            number: check.number,
            ended: moment(record.ended_at()),
            standing: check.standing(),
            outcome: record.outcome(),
            latency: words::latency(record.duration()),
            bar: Bar::of(record, longest),
            why: record.failure().map(words::why).unwrap_or_default(),
            error: check.error.clone(),
        }
    }
}
