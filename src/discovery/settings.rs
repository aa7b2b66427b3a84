//! `discovery`: named blocks of sources, with Prometheus' names and defaults for what is in them.

use std::{sync::Arc, time::Duration};

use super::{dns, file, http, relabel, static_list};
use crate::value::{EntryPart, Fields, Warning, nearest};

/// The whole section.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// In the order of the file.
    pub(super) blocks: Vec<Block>,
    /// The time from one look at a source to the next, in place of the sources' own.
    pub(super) poll_interval: Option<Duration>,
}

/// Sources whose targets become monitors by the same rules.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub name: Arc<str>,
    /// The template of the monitors.
    pub template: Arc<str>,
    pub sources: Vec<SourceSettings>,
    pub rules: relabel::Rules,
    /// The shortest interval that a target may ask for.
    pub min_check_every: Duration,
}

/// Where lists come from.
#[derive(Clone, Debug)]
pub(super) enum SourceSettings {
    File(file::Settings),
    Http(Box<http::Settings>),
    Dns(dns::Settings),
    Static(static_list::Settings),
}

/// A list that others write does not make the daemon check more often than that.
const MIN_CHECK_EVERY: Duration = Duration::from_secs(1);

/// Names are values of labels, and begin the names of monitors.
const MAX_NAME_CHARS: usize = 100;

impl Settings {
    /// Reads the section; `templates` are the names that `template` may have, where all are known.
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
                message: "targets are not looked up here, so their monitors are not validated"
                    .to_owned(),
                is_validate_only: true,
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

    /// Looks at all sources this often, whatever their refresh intervals are: tests need not wait for
    /// those.
    #[must_use]
    pub fn with_poll_interval(self, interval: Duration) -> Self {
        Self {
            poll_interval: Some(interval),
            ..self
        }
    }

    /// Whether there is nothing to discover.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }
}

impl Block {
    fn read(name: &str, templates: Option<&[&str]>, mut fields: Fields<'_>) -> Option<Self> {
        let template: Option<String> = fields.required("template");
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
        let http = fields.list_of(http::KEY, http::Settings::read);
        let http = http.into_iter().map(Box::new);
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
    pub fn source_names(&self) -> Vec<String> {
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
