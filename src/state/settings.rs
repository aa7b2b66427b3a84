//! The keys that states depend on: `confirm`, `degraded_if_…` and `depends_on` of a monitor, and `self_check`.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use super::{
    dependencies::{Dependency, DependencyGraph, LeftOut, MAX_DEPENDENCIES, Member},
    maintenance::Window,
};
use crate::{
    check::{Confirm, DegradedIf},
    value::{EntryPart, Fields, FromNode, Node, Path, Problems, format_duration, nearest},
};

/// The settings for the states of all monitors.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `self_check.monitors`: the monitors by which the daemon knows whether it has a network.
    pub self_check: Vec<Arc<str>>,
    /// `maintenance`
    pub maintenance: Vec<Window>,
}

/// A number of results.
struct Count(u32);

impl FromNode for Count {
    const EXPECTED: &'static str = "a whole number from 1 to 64";

    fn from_node(node: &Node) -> Result<Self, String> {
        match node {
            Node::Int(value) => match u32::try_from(*value) {
                Ok(count @ 1..=Confirm::MAX_RESULTS) => Ok(Self(count)),
                _ => Err(format!("{value} is out of range")),
            },
            _ => Err(format!("is {}", node.kind())),
        }
    }
}

/// An entry of `depends_on`, with its place.
#[derive(Clone, Debug)]
pub struct PlacedDependency {
    /// The entry.
    pub(crate) dependency: Dependency,
    /// Its place.
    pub place: Path,
}

/// Reads `depends_on`: a name, a mapping with `labels`, or a list of these.
pub(crate) fn read_depends_on(fields: &mut Fields<'_>) -> Vec<PlacedDependency> {
    const KEY: &str = "depends_on";
    let problems = fields.problems();
    let entries = match fields.node(KEY) {
        None => return Vec::new(),
        Some((Node::List(_), _)) => fields.items(KEY, DEPENDENCY),
        Some(single) => vec![single],
    };
    let mut depends_on = Vec::new();
    for (node, place) in entries {
        let dependency = match node {
            Node::Map(_) => {
                Fields::from_node(node, place.clone(), problems).and_then(read_selector)
            }
            _ => match String::read_node(node) {
                Ok(name) => Some(Dependency::Name(name.into())),
                Err(wrong) => {
                    problems.add(place.clone(), EntryPart::Value, wrong, DEPENDENCY);
                    None
                }
            },
        };
        depends_on.extend(dependency.map(|dependency| PlacedDependency { dependency, place }));
    }
    depends_on
}

/// The forms of an entry of `depends_on`.
const DEPENDENCY: &str = "the name of a monitor, or labels such as {labels: {role: gateway}}";

fn read_selector(mut fields: Fields<'_>) -> Option<Dependency> {
    let given = fields.problems().count();
    let labels: Vec<(String, String)> = fields.map("labels", |_| Ok(()));
    if labels.is_empty() && fields.problems().count() == given {
        fields.add_problem("no labels", DEPENDENCY);
    }
    fields.reject_unknown_keys();
    (!labels.is_empty()).then(|| Dependency::Labels(labels.into_iter().collect()))
}

/// Reads `self_check`, whose monitors are names of `known` ones, unless others may be discovered.
pub(crate) fn read_self_check(mut fields: Fields<'_>, known: Option<&[&str]>) -> Vec<Arc<str>> {
    let problems = fields.problems();
    let given = problems.count();
    let names: Vec<(String, Path)> = fields.list_with_paths("monitors");
    if names.is_empty() && problems.count() == given {
        fields.add_problem("no monitors", "monitors, a list of names");
    }
    for (name, place) in &names {
        if let Some(known) = known
            && !known.contains(&&**name)
        {
            add_unknown_monitor(name, place.clone(), known, problems);
        }
    }
    if let [_] = names[..] {
        let message =
            "with a single monitor, its target going down looks like the network going down";
        fields.warn("monitors", message);
    }
    fields.reject_unknown_keys();
    names.into_iter().map(|(name, _)| name.into()).collect()
}

fn add_unknown_monitor(name: &str, place: Path, known: &[&str], problems: &Problems) {
    let wrong = match nearest(name, known) {
        Some(near) => format!("there is no monitor {name:?}, did you mean {near:?}?"),
        None => format!("there is no monitor {name:?}"),
    };
    problems.add(place, EntryPart::Value, wrong, "the name of a monitor");
}

/// Adds a problem for each dependency of `monitors` on itself, on a monitor that is not among the `known`
/// ones (unless others may be discovered), and for each that closes a cycle.
pub(crate) fn check_dependencies<'m>(
    monitors: impl Iterator<
        Item = (
            &'m str,
            &'m Arc<BTreeMap<String, String>>,
            &'m [PlacedDependency],
        ),
    >,
    known: Option<&[&str]>,
    problems: &Problems,
) {
    let mut members = Vec::new();
    let mut places = HashMap::new();
    let known_names: Option<HashSet<&str>> = known.map(|known| known.iter().copied().collect());
    for (name, labels, depends_on) in monitors {
        for PlacedDependency { dependency, place } in depends_on {
            places.entry(name).or_insert_with(|| place.clone());
            let Dependency::Name(on) = dependency else {
                continue;
            };
            if **on == *name {
                let wrong = "a monitor cannot depend on itself";
                problems.add(
                    place.clone(),
                    EntryPart::Value,
                    wrong,
                    "the name of another monitor",
                );
            } else if let (Some(names), Some(known)) = (&known_names, known)
                && !names.contains(&**on)
            {
                add_unknown_monitor(on, place.clone(), known, problems);
            }
        }
        members.push(Member {
            name: name.into(),
            labels: labels.clone(),
            depends_on: depends_on.iter().map(|on| on.dependency.clone()).collect(),
        });
    }
    if places.is_empty() {
        return;
    }
    for left_out in DependencyGraph::new(&members).1 {
        let (name, wrong, allowed) = match left_out {
            LeftOut::Cycle(cycle) => {
                let Some(from) = cycle.len().checked_sub(2).and_then(|at| cycle.get(at)) else {
                    continue;
                };
                let wrong = format!("dependencies form a cycle: {}", cycle.join(" > "));
                (
                    from.clone(),
                    wrong,
                    "dependencies without a cycle".to_owned(),
                )
            }
            LeftOut::TooMany(name) => {
                let allowed = format!("at most {MAX_DEPENDENCIES} monitors");
                (name, "too many dependencies".to_owned(), allowed)
            }
        };
        if let Some(place) = places.get(&*name) {
            problems.add(place.clone(), EntryPart::Value, wrong, allowed);
        }
    }
}

/// Reads `confirm`, with `defaults` for keys that it lacks.
pub(crate) fn read_confirm(fields: &mut Fields<'_>, defaults: Confirm) -> Confirm {
    let Some(mut fields) = fields.section("confirm") else {
        return defaults;
    };
    let mut count = |key| fields.optional(key).map(|Count(count)| count);
    let confirm = Confirm {
        failures: count("failures").unwrap_or(defaults.failures),
        successes: count("successes").unwrap_or(defaults.successes),
        of: count("of").or(defaults.of),
        hold: fields.optional("hold").or(defaults.hold),
        retry_every: fields.optional("retry_every").or(defaults.retry_every),
    };
    if let Some(of) = confirm.of.filter(|of| *of < confirm.failures) {
        let failures = confirm.failures;
        let wrong = format_args!("{failures} failures cannot be among the last {of} results");
        fields.add_value_problem("of", wrong, format_args!("at least failures, {failures}"));
    }
    fields.reject_unknown_keys();
    confirm
}

/// The timing of a monitor, which limits what can have an effect.
pub(crate) struct Timing {
    pub check_every: Duration,
    pub timeout: Duration,
    pub fail_if_slower_than: Option<Duration>,
}

/// Warns of a `confirm.retry_every` that leaves no room for a check before the next slot.
pub(crate) fn warn_of_retries(fields: &mut Fields<'_>, confirm: Confirm, timing: &Timing) {
    let Some(retry_every) = confirm.retry_every else {
        return;
    };
    let Some(section) = fields.section("confirm") else {
        return;
    };
    if retry_every + timing.timeout > timing.check_every {
        let (retry, timeout, every) = (
            format_duration(retry_every),
            format_duration(timing.timeout),
            format_duration(timing.check_every),
        );
        let message = format_args!(
            "has no effect: {retry} and the timeout, {timeout}, are longer than check_every, {every}"
        );
        section.warn_unless_shared("retry_every", message);
    }
}

/// Reads `degraded_if_…` of a monitor of type `kind`.
pub(crate) fn read_degraded_if(fields: &mut Fields<'_>, kind: &str, timing: &Timing) -> DegradedIf {
    let slower_than = read_slower_than(fields, timing);
    let (mut packet_loss_above, mut certificate_expires_within) = (None, None);
    if kind == "icmp" {
        packet_loss_above = read_packet_loss(fields);
    } else {
        certificate_expires_within = read_certificate_limit(fields);
    }
    DegradedIf {
        slower_than,
        packet_loss_above,
        certificate_expires_within,
    }
}

fn read_slower_than(fields: &mut Fields<'_>, timing: &Timing) -> Option<Duration> {
    const KEY: &str = "degraded_if_slower_than";
    let limit = fields.optional(KEY)?;
    let (name, longest) = match timing.fail_if_slower_than {
        Some(longest) if longest < timing.timeout => ("fail_if_slower_than", longest),
        _ => ("the timeout", timing.timeout),
    };
    if limit >= longest {
        let wrong = format_args!("has no effect: not shorter than {name}");
        let allowed = format_args!("less than {name}, {}", format_duration(longest));
        fields.add_value_problem(KEY, wrong, allowed);
    }
    Some(limit)
}

fn read_packet_loss(fields: &mut Fields<'_>) -> Option<f64> {
    const KEY: &str = "degraded_if_packet_loss_above";
    let limit: f64 = fields.optional(KEY)?;
    if !(0.0..1.0).contains(&limit) {
        let wrong = format_args!("{limit} is out of range");
        fields.add_value_problem(KEY, wrong, "a ratio from 0 to below 1, such as 0.2");
        return None;
    }
    let max_packet_loss = match fields.node("max_packet_loss") {
        Some((node, _)) => f64::from_node(node).ok()?,
        None => 0.0,
    };
    if limit >= max_packet_loss {
        let wrong =
            format_args!("has no effect: a loss above max_packet_loss, {max_packet_loss}, fails");
        fields.add_value_problem(KEY, wrong, "less than max_packet_loss");
    }
    Some(limit)
}

fn read_certificate_limit(fields: &mut Fields<'_>) -> Option<Duration> {
    const KEY: &str = "degraded_if_certificate_expires_within";
    let limit = fields.optional(KEY)?;
    if let Some(number) = fields.seconds_without_unit(KEY)
        && number < 3600.0
    {
        let message = format_args!("{number} without a unit is seconds; {number}d is days");
        fields.warn(KEY, message);
    }
    Some(limit)
}
