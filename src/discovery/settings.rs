//! `discovery`: named blocks of sources, with Prometheus' keys and defaults.

use std::{sync::Arc, time::Duration};

use super::{dns, file, http, relabel, static_list};
use crate::value::{EntryPart, Fields, Warning, WarningKind, nearest};

/// The section `discovery`.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The blocks in the order of the file.
    pub(super) blocks: Vec<Block>,
    /// Overrides the intervals between polls.
    pub(super) poll_interval: Option<Duration>,
}

/// Sources whose targets share rules and a template.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub name: Arc<str>,
    /// The template of the monitors.
    pub template: Arc<str>,
    pub sources: Vec<SourceSettings>,
    pub rules: relabel::Rules,
    /// The shortest interval that a target may set.
    pub(crate) min_check_every: Duration,
}

/// The settings of a source.
#[derive(Clone, Debug)]
pub(super) enum SourceSettings {
    File(file::Settings),
    Http(Box<http::Settings>),
    Dns(dns::Settings),
    Static(static_list::Settings),
}

/// Default of the shortest interval that a target may set.
const MIN_CHECK_EVERY: Duration = Duration::from_secs(1);

/// Maximum length of a block's name, which is a label value and part of monitor names.
const MAX_NAME_CHARS: usize = 100;

impl Settings {
    /// Reads the section; `templates` are the names of all templates, if known.
    #[must_use]
    pub fn read(fields: &Fields<'_>, templates: Option<&[&str]>) -> Self {
        let problems = fields.problems();
        let mut blocks = Vec::new();
        for (name, node, path) in fields.entries() {
            let length = name.chars().count();
            if !(1..=MAX_NAME_CHARS).contains(&length) || name.chars().any(char::is_control) {
                let expected = "1 to 100 characters without control characters";
                problems.add(path.clone(), EntryPart::Key, "invalid name", expected);
            }
            problems.warn(Warning {
                path: path.clone(),
                part: EntryPart::Key,
                message: "targets are not looked up here, so their monitors are not validated; \
                          `targets` looks them up"
                    .to_owned(),
                kind: WarningKind::Note,
            });
            if let Some(fields) = Fields::from_node(node, path, problems) {
                blocks.extend(Block::read(name, templates, fields));
            }
        }
        Self {
            blocks,
            poll_interval: None,
        }
    }

    /// Polls all sources at this interval, for tests.
    #[must_use]
    pub fn with_poll_interval(self, interval: Duration) -> Self {
        Self {
            poll_interval: Some(interval),
            ..self
        }
    }

    /// Returns true if there are no sources.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }
}

impl Block {
    fn read(name: &str, templates: Option<&[&str]>, mut fields: Fields<'_>) -> Option<Self> {
        let template: Option<String> = fields.optional("template");
        if fields.node("template").is_none() {
            fields.add_problem("template is missing", "the name of a template");
        }
        if let (Some(template), Some(templates)) = (&template, templates)
            && !templates.contains(&template.as_str())
        {
            let wrong = format_args!("unknown template {template:?}");
            match nearest(template, templates) {
                Some(near) => {
                    fields.add_value_problem(
                        "template",
                        wrong,
                        format_args!("did you mean {near}?"),
                    );
                }
                None => fields.add_value_problem("template", wrong, "the name of a template"),
            }
        }
        let mut sources = Vec::new();
        let files = fields.list_of(file::KEY, |fields| Some(file::Settings::read(fields)));
        sources.extend(files.into_iter().map(SourceSettings::File));
        let http = fields
            .list_of(http::KEY, http::Settings::read)
            .into_iter()
            .map(Box::new);
        sources.extend(http.map(SourceSettings::Http));
        let dns = fields.list_of(dns::KEY, dns::Settings::read);
        sources.extend(dns.into_iter().map(SourceSettings::Dns));
        let groups = fields.list_of(static_list::KEY, |fields| {
            Some(static_list::read_group(fields))
        });
        if !groups.is_empty() {
            let list = static_list::Settings::new(groups);
            sources.push(SourceSettings::Static(list));
        }
        let keys = [file::KEY, http::KEY, dns::KEY, static_list::KEY];
        if keys.iter().all(|key| fields.node(key).is_none()) {
            fields.add_problem(
                "no target source",
                format_args!("one of {}", keys.join(", ")),
            );
        }
        let rules = relabel::Rules::read(&mut fields);
        let min_check_every = fields.optional("min_check_every");
        fields.reject_unknown_keys();
        Some(Self {
            name: name.into(),
            template: template?.into(),
            sources,
            rules,
            min_check_every: min_check_every.unwrap_or(MIN_CHECK_EVERY),
        })
    }

    /// The names of the sources, such as `http_sd/0`.
    pub(super) fn source_names(&self) -> Vec<String> {
        let mut counts = [0; 4];
        let name = |source: &SourceSettings| {
            let (kind, word) = match source {
                SourceSettings::File(_) => (0, "file_sd"),
                SourceSettings::Http(_) => (1, "http_sd"),
                SourceSettings::Dns(_) => (2, "dns_sd"),
                SourceSettings::Static(_) => (3, "static"),
            };
            let index = counts[kind];
            counts[kind] += 1;
            format!("{word}/{index}")
        };
        self.sources.iter().map(name).collect()
    }
}
