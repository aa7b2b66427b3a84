//! `templates`: builds monitors from templates and defaults.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    sync::Arc,
};

use super::{
    key_hints,
    monitor::{Defaults, Monitor},
    sections::Named,
    template_name::{TemplateName, read_extends},
};
use crate::{
    discovery::DiscoveredMonitor,
    metrics,
    monitors::Type,
    probe::{ModuleTemplate, TEMPLATE_PREFIX},
    value::{Context, EntryPart, Fields, FromNode, Node, Path, Problem, Problems, nearest},
};

/// Templates and defaults that monitors are built from.
#[derive(Clone, Default)]
pub struct MonitorBuilder(pub(super) Arc<TemplateSet>);

#[derive(Default)]
pub(super) struct TemplateSet {
    pub(super) defaults: Defaults,
    pub(super) metrics: metrics::Settings,
    templates: BTreeMap<String, Template>,
    /// Folders and patterns of the files with the templates.
    pub(super) context: Context,
    /// True if some templates could not be read.
    is_partial: bool,
}

struct Template {
    node: Node,
    path: Path,
    /// The template that it extends.
    parent: Option<String>,
    /// The size that it adds to each monitor, together with the templates it extends.
    size: Size,
}

/// The size of a tree.
#[derive(Clone, Copy, Default)]
pub(super) struct Size {
    nodes: usize,
    text: usize,
}

impl Size {
    /// Maximum size that templates may add to all monitors together.
    const MAX: Self = Self {
        nodes: 5_000_000,
        text: 64 << 20,
    };

    pub(super) const EXPECTED: &'static str = "all together at most 5000000 values and 64 MiB";

    pub(super) fn measure(node: &Node) -> Self {
        let mut size = Self { nodes: 1, text: 0 };
        match node {
            Node::Text(text) | Node::FromEnvironment(text) => size.text += text.len(),
            Node::Binary(bytes) => size.text += bytes.len(),
            Node::List(items) => items.iter().for_each(|item| size.add(Self::measure(item))),
            Node::Map(entries) => {
                for (name, node) in entries {
                    size.text += name.len();
                    size.add(Self::measure(node));
                }
            }
            Node::Null | Node::Bool(_) | Node::Int(_) | Node::Float(_) => {}
        }
        size
    }

    pub(super) fn add(&mut self, other: Self) {
        self.nodes = self.nodes.saturating_add(other.nodes);
        self.text = self.text.saturating_add(other.text);
    }

    pub(super) fn exceeds_limit(self) -> bool {
        self.nodes > Self::MAX.nodes || self.text > Self::MAX.text
    }
}

/// Maximum length of a chain of templates.
const MAX_EXTENDS_DEPTH: usize = 10;

impl MonitorBuilder {
    /// Reads the templates, whose names are unique.
    pub(super) fn read(
        defaults: Defaults,
        metrics: metrics::Settings,
        templates: Vec<Named<'_>>,
        modules: &[ModuleTemplate],
        is_partial: bool,
        problems: &Problems,
    ) -> Self {
        let mut known = BTreeMap::new();
        for (name, node, path) in templates {
            if name.starts_with(TEMPLATE_PREFIX) {
                let wrong = "reserved: the name of a module of probe";
                problems.add(path, EntryPart::Key, wrong, "another name");
                continue;
            }
            let template = || Template {
                parent: read_extends(node, &path).and_then(|extended| extended.name.ok()),
                size: Size::measure(node),
                node: node.clone(),
                path: path.shared(),
            };
            known.entry(name.to_owned()).or_insert_with(template);
        }
        let mut set = TemplateSet {
            defaults,
            metrics,
            templates: known,
            context: problems.context(),
            is_partial,
        };
        for name in set.templates.keys() {
            set.check_extends(name, problems);
        }
        for module in modules {
            let template = Template {
                parent: read_extends(&module.node, &module.path)
                    .and_then(|extended| extended.name.ok())
                    .filter(|_| !module.is_foreign),
                size: Size::measure(&module.node),
                node: module.node.clone(),
                path: module.path.clone().shared(),
            };
            set.templates.insert(module.name.clone(), template);
        }
        for module in modules {
            set.check_module(module, problems);
        }
        let sizes: Vec<_> = set.templates.keys().map(|name| set.size(name)).collect();
        for (template, size) in set.templates.values_mut().zip(sizes) {
            template.size = size;
        }
        Self(Arc::new(set))
    }

    /// Builds the monitor `name` from its `own` keys, a mapping, and `template`, as if it were in the file.
    ///
    /// # Errors
    /// All problems with their paths.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "whoever makes the keys has no other use for them"
    )]
    pub fn build(&self, name: &str, template: &str, own: Node) -> Result<Monitor, Vec<String>> {
        let problems = Problems::within_context(self.0.context.clone());
        let path = Path::default().entry("monitors", 0).entry(name, 0);
        let monitor = if let Some(base) = self.0.layers(template) {
            self.0.monitor(name, &own, path, base, &problems)
        } else {
            self.0
                .report_unknown_template(&path, template, true, &problems);
            None
        };
        match (monitor, problems.into_vec()) {
            (Some(monitor), (problems, 0)) if problems.is_empty() => Ok(monitor),
            (_, (problems, _)) => {
                let shown = |Problem { path, message, .. }: &Problem| format!("{path}: {message}");
                Err(problems.iter().map(shown).collect())
            }
        }
    }

    /// Builds the monitor of a discovered target.
    ///
    /// # Errors
    /// As in [`build`](Self::build).
    pub fn build_discovered(&self, wanted: DiscoveredMonitor) -> Result<Monitor, Vec<String>> {
        let DiscoveredMonitor {
            name,
            template,
            target,
            url,
            hostname,
            mut keys,
        } = wanted;
        let monitor_type = self.0.type_of(&template);
        let (key, value) = match monitor_type {
            Type::Http => ("url", url),
            _ => ("target", target),
        };
        keys.extend(hostname.and_then(|name| self.0.hostname_key(&template, monitor_type, name)));
        keys.insert(0, (key.to_owned(), Node::Text(value)));
        self.build(&name, &template, Node::Map(keys))
    }

    /// The names of all templates; `None` if some could not be read.
    pub(super) fn names(&self) -> Option<Vec<&str>> {
        let names = self.0.templates.keys().map(String::as_str);
        (!self.0.is_partial).then(|| names.collect())
    }

    /// Reads the monitor `name` of the file, and returns the size that its templates add.
    pub(super) fn read_monitor(
        &self,
        (name, node, path): Named<'_>,
        problems: &Problems,
    ) -> (Option<Monitor>, Size) {
        let Some(extended) = read_extends(node, &path) else {
            let monitor = self.0.monitor(name, node, path, Vec::new(), problems);
            return (monitor, Size::default());
        };
        let template = match &extended.name {
            Ok(template) => template,
            Err(wrong) => {
                problems.add(
                    extended.path,
                    EntryPart::Value,
                    wrong,
                    TemplateName::EXPECTED,
                );
                return (None, Size::default());
            }
        };
        let Some(base) = self.0.layers(template) else {
            // Problems with an existing template are reported for the template.
            if !self.0.templates.contains_key(template) {
                self.0.report_unknown_template(
                    &extended.path,
                    template,
                    extended.is_shown,
                    problems,
                );
            }
            return (None, Size::default());
        };
        let size = self
            .0
            .templates
            .get(template)
            .map(|template| template.size)
            .unwrap_or_default();
        (self.0.monitor(name, node, path, base, problems), size)
    }
}

impl TemplateSet {
    fn monitor(
        &self,
        name: &str,
        own: &Node,
        path: Path,
        base: Vec<(&Node, Path)>,
        problems: &Problems,
    ) -> Option<Monitor> {
        let mut values = vec![(own, path)];
        values.extend(base);
        problems.within(format_args!("monitor {name:?}"), || {
            Monitor::read(
                name,
                values,
                &self.defaults,
                &self.metrics,
                Type::Http,
                problems,
            )
        })
    }

    /// `template` and those that it extends, the nearest first; `None` if one is unknown or they are too many.
    pub(super) fn layers(&self, template: &str) -> Option<Vec<(&Node, Path)>> {
        let mut layers = Vec::new();
        let mut next = Some(template);
        while let Some(name) = next {
            let template = self.templates.get(name)?;
            if layers.len() == MAX_EXTENDS_DEPTH {
                return None;
            }
            layers.push((&template.node, template.path.clone()));
            next = template.parent.as_deref();
        }
        Some(layers)
    }

    /// The key that requests `hostname`, like the parameter of blackbox_exporter: a Host header, which also
    /// sets the name for the TLS handshake, or the name for the handshake only.
    pub(super) fn hostname_key(
        &self,
        template: &str,
        monitor_type: Type,
        hostname: String,
    ) -> Option<(String, Node)> {
        let (section, key) = match monitor_type {
            Type::Http | Type::Websocket => ("headers", "Host"),
            Type::Tcp | Type::Tls | Type::Grpc => ("tls_config", "server_name"),
            _ => return None,
        };
        if section == "tls_config" {
            let scratch = Problems::default();
            let mut fields = Fields::from_layers(self.layers(template)?, &scratch)?;
            let mut settings = fields.section(section);
            let is_given = settings.as_mut().is_some_and(|s| s.node(key).is_some());
            let speaks_tls = monitor_type == Type::Tls
                || settings.is_some()
                || fields.optional("tls") == Some(true)
                || fields
                    .items("query_response", "")
                    .iter()
                    .any(|(entry, _)| has_starttls(entry));
            if is_given || !speaks_tls {
                return None;
            }
        }
        let value = Node::Map(vec![(key.to_owned(), Node::Text(hostname))]);
        Some((section.to_owned(), value))
    }

    /// The type of the monitors of `template`.
    pub(super) fn type_of(&self, template: &str) -> Type {
        let scratch = Problems::default();
        let layers = self.layers(template).unwrap_or_default();
        let fields =
            Fields::from_layers(layers, &scratch).filter(|_| self.templates.contains_key(template));
        let given = fields.and_then(|mut fields| fields.optional("type"));
        given.unwrap_or(Type::Http)
    }

    fn size(&self, template: &str) -> Size {
        let mut size = Size::default();
        let mut next = self.templates.get(template);
        for _ in 0..MAX_EXTENDS_DEPTH {
            let Some(template) = next else { break };
            size.add(template.size);
            next = template
                .parent
                .as_ref()
                .and_then(|base| self.templates.get(base));
        }
        size
    }

    /// Reports that `template` is unknown. Its name is shown unless it may be secret.
    fn report_unknown_template(
        &self,
        path: &Path,
        template: &str,
        is_shown: bool,
        problems: &Problems,
    ) {
        if self.is_partial {
            return;
        }
        let names: Vec<_> = self.templates.keys().map(String::as_str).collect();
        let wrong = if is_shown {
            format!("unknown template {template:?}")
        } else {
            "unknown template".to_owned()
        };
        let expected = match nearest(template, &names) {
            Some(near) => format!("did you mean {near}?"),
            None if names.is_empty() => "the name of a template, and none is defined".to_owned(),
            None => format!("{}", Listed(&names)),
        };
        problems.add(path.clone(), EntryPart::Value, wrong, expected);
    }

    /// Reports problems of the template `name` itself.
    fn check_extends(&self, name: &str, problems: &Problems) {
        if !self.check_parent(name, problems) {
            return;
        }
        if let Some(layers) = self.layers(name) {
            self.report_context_free_problems(name, &layers, problems);
        }
    }

    /// Returns true if all templates that it extends exist, without a cycle.
    pub(super) fn check_parent(&self, name: &str, problems: &Problems) -> bool {
        let template = &self.templates[name];
        let Some(base) = &template.parent else {
            return true;
        };
        let Some(extended) = read_extends(&template.node, &template.path) else {
            return true;
        };
        let path = extended.path.clone();
        if !self.templates.contains_key(base) {
            self.report_unknown_template(&path, base, extended.is_shown, problems);
            return false;
        }
        let mut seen = HashSet::from([name]);
        let mut next = Some(&**base);
        while let Some(other) = next {
            if other == name {
                let wrong = "extends itself through other templates";
                let allowed = "a template that does not extend this one";
                problems.add(path, EntryPart::Value, wrong, allowed);
                return false;
            }
            if !seen.insert(other) {
                return false;
            }
            next = self
                .templates
                .get(other)
                .and_then(|other| other.parent.as_deref());
        }
        if seen.len() > MAX_EXTENDS_DEPTH {
            let wrong = format_args!("{} templates deep", seen.len());
            let allowed = format_args!("at most {MAX_EXTENDS_DEPTH}");
            problems.add(path, EntryPart::Value, wrong, allowed);
            return false;
        }
        true
    }

    /// Reports problems that the template has with every type of monitor.
    fn report_context_free_problems(
        &self,
        name: &str,
        layers: &[(&Node, Path)],
        problems: &Problems,
    ) {
        // The default type comes first, so that its messages are used.
        let types = [Type::Http].into_iter().chain(Type::ALL.iter().copied());
        let mut common: Option<Vec<Problem>> = None;
        for assumed in types {
            let scratch = Problems::within_context(self.context.clone());
            scratch.set_key_hint(key_hints::hint);
            let layers = layers.to_vec();
            let _ = Monitor::read(
                name,
                layers,
                &self.defaults,
                &self.metrics,
                assumed,
                &scratch,
            );
            let (mut found, _) = scratch.into_vec();
            found.retain(|problem| problem.is_context_free);
            let places: HashSet<_> = found.iter().map(Problem::location).collect();
            match &mut common {
                Some(common) => common.retain(|problem| places.contains(&problem.location())),
                None => common = Some(found),
            }
            if common.as_ref().is_some_and(Vec::is_empty) {
                break;
            }
        }
        for problem in common.unwrap_or_default() {
            problems.push(problem);
        }
    }
}

/// Returns true if an entry of `query_response` starts TLS.
fn has_starttls(entry: &Node) -> bool {
    let Node::Map(keys) = entry else { return false };
    keys.iter().any(|(key, _)| key == "starttls")
}

/// A list of names, shortened if it is long.
struct Listed<'n>(&'n [&'n str]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 20;
        let shown = &self.0[..self.0.len().min(SHOWN)];
        write!(f, "one of: {}", shown.join(", "))?;
        if self.0.len() > SHOWN {
            write!(f, " and {} more", self.0.len() - SHOWN)?;
        }
        Ok(())
    }
}

/// Shows only the names of templates, which may contain secrets.
impl fmt::Debug for MonitorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MonitorBuilder")
            .field(&self.0.templates.keys().collect::<Vec<_>>())
            .finish()
    }
}
