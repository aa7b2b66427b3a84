//! Which monitors depend on which.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// One entry of `depends_on`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dependency {
    /// The monitor of this name.
    Name(Arc<str>),
    /// All monitors with these labels.
    Labels(BTreeMap<String, String>),
}

/// A monitor, as far as dependencies are concerned.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name.
    pub name: Arc<str>,
    /// Its labels.
    pub labels: Arc<BTreeMap<String, String>>,
    /// The names of the monitors that it depends on.
    pub depends_on: Vec<Dependency>,
}

/// The most monitors that one may depend on.
pub(crate) const MAX_DEPENDENCIES: usize = 100;

/// The dependencies of all monitors, by name and without cycles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DependencyGraph {
    depends_on: HashMap<Arc<str>, Arc<[Arc<str>]>>,
    dependents: HashMap<Arc<str>, Vec<Arc<str>>>,
}

/// A dependency that was left out of the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// It would close this cycle, whose first name is also its last one.
    Cycle(Vec<Arc<str>>),
    /// The monitor depends on more than [`MAX_DEPENDENCIES`].
    TooMany(Arc<str>),
}

impl DependencyGraph {
    /// The graph of `members`, and what was left out of it.
    #[must_use]
    pub fn new(members: &[Member]) -> (Self, Vec<LeftOut>) {
        let mut left_out = Vec::new();
        let mut edges = resolve(members, &mut left_out);
        for cycle in cycles(members, &edges) {
            let [.., from, to] = &cycle[..] else { continue };
            if let Some(names) = edges.get_mut(from) {
                names.retain(|name| name != to);
            }
            left_out.push(LeftOut::Cycle(cycle));
        }
        let mut graph = Self::default();
        for (name, on) in edges {
            for dependency in &on {
                let dependents = graph.dependents.entry(dependency.clone());
                dependents.or_default().push(name.clone());
            }
            if !on.is_empty() {
                graph.depends_on.insert(name, on.into());
            }
        }
        (graph, left_out)
    }

    /// The monitors that `name` depends on.
    #[must_use]
    pub fn depends_on(&self, name: &str) -> Arc<[Arc<str>]> {
        self.depends_on.get(name).cloned().unwrap_or_default()
    }

    /// The monitors that depend on `name`.
    #[must_use]
    pub(crate) fn dependents(&self, name: &str) -> &[Arc<str>] {
        self.dependents.get(name).map_or(&[], Vec::as_slice)
    }
}

/// The names that each of `members` depends on, each once. None depends on itself.
fn resolve(members: &[Member], left_out: &mut Vec<LeftOut>) -> HashMap<Arc<str>, Vec<Arc<str>>> {
    let mut selected = HashMap::<&BTreeMap<String, String>, Vec<Arc<str>>>::new();
    let mut edges = HashMap::new();
    for member in members {
        let mut names: Vec<Arc<str>> = Vec::new();
        for dependency in &member.depends_on {
            let found = match dependency {
                Dependency::Name(name) => std::slice::from_ref(name),
                Dependency::Labels(labels) => selected
                    .entry(labels)
                    .or_insert_with(|| with_labels(members, labels)),
            };
            // One more than may be, of which one may be itself.
            let new = found.iter().take(MAX_DEPENDENCIES + 2);
            for name in new.filter(|name| **name != member.name) {
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
        }
        if names.len() > MAX_DEPENDENCIES {
            names.truncate(MAX_DEPENDENCIES);
            left_out.push(LeftOut::TooMany(member.name.clone()));
        }
        if !names.is_empty() {
            edges.insert(member.name.clone(), names);
        }
    }
    edges
}

/// The names of the `members` with `labels`.
fn with_labels(members: &[Member], labels: &BTreeMap<String, String>) -> Vec<Arc<str>> {
    let has_all = |member: &&Member| {
        let mut labels = labels.iter();
        labels.all(|(name, value)| member.labels.get(name) == Some(value))
    };
    let found = members.iter().filter(has_all);
    found.map(|member| member.name.clone()).collect()
}

/// One cycle for each edge that has to go so that none is left.
fn cycles(members: &[Member], edges: &HashMap<Arc<str>, Vec<Arc<str>>>) -> Vec<Vec<Arc<str>>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Visit {
        Open,
        Done,
    }
    let mut visits = HashMap::<&Arc<str>, Visit>::new();
    let mut cycles = Vec::new();
    for member in members {
        if visits.contains_key(&member.name) || !edges.contains_key(&member.name) {
            continue;
        }
        // The way from the member to where the search is, each name with those that are left to visit.
        let mut way = vec![(&member.name, successors(edges, &member.name))];
        visits.insert(&member.name, Visit::Open);
        while let Some((name, left)) = way.last_mut() {
            let name = *name;
            let Some((next, rest)) = left.split_first() else {
                visits.insert(name, Visit::Done);
                way.pop();
                continue;
            };
            *left = rest;
            match visits.get(next) {
                Some(Visit::Done) => {}
                Some(Visit::Open) => {
                    let names = way.iter().map(|(name, _)| *name);
                    let cycle = names.skip_while(|name| *name != next);
                    cycles.push(cycle.chain([next]).cloned().collect());
                }
                None => {
                    visits.insert(next, Visit::Open);
                    way.push((next, successors(edges, next)));
                }
            }
        }
    }
    cycles
}

fn successors<'e>(edges: &'e HashMap<Arc<str>, Vec<Arc<str>>>, name: &str) -> &'e [Arc<str>] {
    edges.get(name).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn member(name: &str, role: &str, depends_on: Vec<Dependency>) -> Member {
        Member {
            name: name.into(),
            labels: Arc::new([("role".to_owned(), role.to_owned())].into()),
            depends_on,
        }
    }

    fn named(name: &str) -> Dependency {
        Dependency::Name(name.into())
    }

    fn with_role(role: &str) -> Dependency {
        Dependency::Labels([("role".to_owned(), role.to_owned())].into())
    }

    fn names(names: &[Arc<str>]) -> Vec<&str> {
        names.iter().map(|name| &**name).collect()
    }

    #[test]
    fn names_and_labels_are_dependencies_each_once_and_never_the_monitor_itself() {
        let members = [
            member("router-a", "gateway", vec![]),
            member("router-b", "gateway", vec![]),
            member(
                "web",
                "server",
                vec![with_role("gateway"), named("router-b"), named("gone")],
            ),
            member("loop", "server", vec![named("loop"), with_role("nobody")]),
        ];
        let (graph, left_out) = DependencyGraph::new(&members);
        assert_eq!(left_out, []);
        let of_web = graph.depends_on("web");
        assert_eq!(names(&of_web), ["router-a", "router-b", "gone"]);
        assert!(graph.depends_on("loop").is_empty());
        assert_eq!(names(graph.dependents("router-a")), ["web"]);
        assert!(graph.dependents("web").is_empty());
    }

    #[test]
    fn a_cycle_is_named_and_broken() {
        let members = [
            member("a", "", vec![named("b")]),
            member("b", "", vec![named("c")]),
            member("c", "", vec![named("a"), named("d")]),
            member("d", "", vec![]),
        ];
        let (graph, left_out) = DependencyGraph::new(&members);
        let cycle = ["a", "b", "c", "a"].map(Arc::from).to_vec();
        assert_eq!(left_out, [LeftOut::Cycle(cycle)]);
        assert_eq!(names(&graph.depends_on("c")), ["d"]);
    }

    #[test]
    fn dependencies_are_bounded() {
        let mut members: Vec<_> = (0..10_000)
            .map(|n| member(&format!("m{n}"), "server", vec![]))
            .collect();
        members.push(member("all", "x", vec![with_role("server")]));
        let (graph, left_out) = DependencyGraph::new(&members);
        assert_eq!(left_out, [LeftOut::TooMany("all".into())]);
        assert_eq!(graph.depends_on("all").len(), MAX_DEPENDENCIES);
    }

    proptest! {
        #[test]
        fn whatever_depends_on_whatever_no_cycle_is_left(
            edges in prop::collection::vec((0_usize..12, 0_usize..12), 0..60),
        ) {
            let members: Vec<_> = (0..12)
                .map(|n| {
                    let on = edges.iter().filter(|(from, _)| *from == n).map(|(_, to)| named(&to.to_string()));
                    member(&n.to_string(), "", on.collect())
                })
                .collect();
            let (graph, left_out) = DependencyGraph::new(&members);
            // Without what nothing is left to depend on, again and again, nothing is left.
            let mut left: Vec<_> = members.iter().map(|member| member.name.clone()).collect();
            for _ in 0..12 {
                let known = left.clone();
                left.retain(|name| graph.depends_on(name).iter().any(|on| known.contains(on)));
            }
            prop_assert_eq!(left, Vec::<Arc<str>>::new());
            let has_edge = |from: &str, to: &str| edges.iter().any(|(a, b)| a.to_string() == from && b.to_string() == to);
            for left_out in left_out {
                let LeftOut::Cycle(cycle) = left_out else { panic!("{left_out:?}") };
                prop_assert!(cycle.windows(2).all(|pair| has_edge(&pair[0], &pair[1])));
                prop_assert_eq!(cycle.first(), cycle.last());
            }
        }
    }
}
