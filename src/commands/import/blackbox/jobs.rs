//! Scrape jobs over `/probe`: targets that are listed become monitors, lists of targets blocks of discovery.

use std::{collections::BTreeMap, time::Duration};

use url::Url;

use super::{
    http_client::{self, copy_same},
    modules::Module,
    relabelling::{self, JobLabels, Relabelling},
};
use crate::{
    commands::import::{
        context::Context,
        entry::{Entry, Keys},
        names::label_name,
        section::{Section, scalar_text},
        yaml,
    },
    discovery::relabel::Labels,
    value::{Node, Path},
};

/// Monitors of all jobs; a list with more of them was made for it.
const MAX_MONITORS: usize = 100_000;

/// By how much a probe ends before the scrape that asks for it, in blackbox_exporter.
const TIMEOUT_OFFSET: Duration = Duration::from_millis(500);

/// The sources of targets that are understood.
const LISTS: [&str; 3] = ["file_sd_configs", "http_sd_configs", "dns_sd_configs"];

/// `scrape_interval` and `scrape_timeout`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    interval: Duration,
    timeout: Duration,
}

impl Timing {
    /// The values of the section `global` of prometheus.yml.
    pub(super) fn global(section: &mut Section<'_>) -> Self {
        let defaults = Self {
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(10),
        };
        match section.section("global") {
            Some(mut global) => defaults.overridden(&mut global),
            None => defaults,
        }
    }

    fn overridden(self, section: &mut Section<'_>) -> Self {
        let interval = section.duration("scrape_interval").unwrap_or(self.interval);
        let timeout = section.duration("scrape_timeout");
        Self {
            interval,
            timeout: timeout.unwrap_or(self.timeout.min(interval)),
        }
    }

    /// The timeout of a probe by a module with the timeout `own`.
    fn of_probe(self, own: Option<Duration>) -> Duration {
        let scrape = self.timeout.saturating_sub(TIMEOUT_OFFSET);
        let scrape = if scrape.is_zero() {
            self.timeout
        } else {
            scrape
        };
        own.map_or(scrape, |own| own.min(scrape))
    }
}

/// The jobs of prometheus.yml.
pub(super) struct Jobs<'m> {
    modules: &'m [Module],
    global: Timing,
    /// Number of jobs that scrape something else.
    others: usize,
}

/// One job.
struct Job {
    name: String,
    path: Path,
    timing: Timing,
    relabelling: Relabelling,
}

impl<'m> Jobs<'m> {
    /// Jobs that probe with `modules`.
    pub(super) fn new(modules: &'m [Module], global: Timing) -> Self {
        Self {
            modules,
            global,
            others: 0,
        }
    }

    /// Imports the `scrape_configs` of `section`.
    pub(super) fn read(&mut self, section: &mut Section<'_>, context: &mut Context) {
        for mut job in section.sections("scrape_configs") {
            let is_probe = job
                .text("metrics_path")
                .is_some_and(|path| path.trim_end_matches('/').ends_with("/probe"));
            if is_probe {
                self.read_job(job, context);
            } else {
                self.others += 1;
            }
        }
    }

    /// Says what was not a matter of this import.
    pub(super) fn finish(self, context: &mut Context) {
        if self.others > 0 {
            let others = self.others;
            let jobs = if others == 1 {
                "scrape job does not scrape /probe and stays"
            } else {
                "scrape jobs do not scrape /probe and stay"
            };
            let remark = format!(
                "{others} {jobs} in Prometheus. There, replace the others with one that scrapes this daemon."
            );
            context.configuration.comments.push(remark);
        }
    }

    fn read_job(&self, mut section: Section<'_>, context: &mut Context) {
        let report = context.report.clone();
        let path = section.path().clone();
        report.begin(&path);
        let name = section.text("job_name").unwrap_or_default();
        let timing = self.global.overridden(&mut section);
        let parameters = read_parameters(&mut section);
        section.drop_keys(
            &[
                "scheme",
                "basic_auth",
                "authorization",
                "oauth2",
                "bearer_token",
                "bearer_token_file",
                "tls_config",
                "proxy_url",
                "no_proxy",
                "proxy_from_environment",
                "proxy_connect_header",
                "follow_redirects",
                "enable_http2",
                "http_headers",
                "enable_compression",
                "honor_labels",
                "honor_timestamps",
                "sample_limit",
                "label_limit",
                "label_name_length_limit",
                "label_value_length_limit",
                "body_size_limit",
                "target_limit",
                "scrape_protocols",
                "fallback_scrape_protocol",
                "track_timestamps_staleness",
                "keep_dropped_targets",
                "metric_name_validation_scheme",
                "metric_name_escaping_scheme",
                "scrape_classic_histograms",
                "always_scrape_classic_histograms",
                "convert_classic_histograms_to_nhcb",
                "scrape_native_histograms",
                "native_histogram_bucket_limit",
                "native_histogram_min_bucket_factor",
                "extra_scrape_metrics",
            ],
            "belongs to the scrape; set it on the job that scrapes this daemon",
        );
        section.leave_out(
            &["metric_relabel_configs"],
            "move it to the job that scrapes this daemon, for the names of its metrics",
        );
        let rules = section.node("relabel_configs");
        let relabelling = relabelling::read(
            rules,
            &JobLabels {
                job: &name,
                parameters: &parameters,
                timing: (timing.interval, timing.timeout),
            },
            &report,
        );
        let Some(relabelling) = relabelling else {
            Self::end(section, &name, context);
            return;
        };
        let job = Job {
            name,
            path,
            timing,
            relabelling,
        };
        let monitors = self.read_static(&job, &mut section, context);
        let blocks = self.read_lists(&job, &mut section, context);
        let used = monitors
            .iter()
            .map(|probe| probe.module)
            .chain(blocks.iter().map(|(module, _)| *module));
        let comments = report.take_comments();
        let templates = add_templates(&job, used, comments, context);
        for mut probe in monitors {
            let template = templates[&probe.module.name].as_str();
            probe.keys.set("extends", template);
            report.begin(&probe.origin);
            context.add_monitor(probe.name, probe.keys, &probe.origin);
        }
        for (module, mut entry) in blocks {
            entry.keys.set("template", templates[&module.name].as_str());
            report.carried_over(
                &entry.origin,
                format!("discovery {}", yaml::scalar(&entry.name)),
            );
            context.configuration.discovery.push(entry);
        }
        report.begin(&job.path);
        Self::end(section, &job.name, context);
    }

    /// Reports what was not understood of a job.
    fn end(mut section: Section<'_>, name: &str, context: &mut Context) {
        section.ignore(&["job_name", "metrics_path", "params", "relabel_configs"]);
        section.ignore(&["static_configs", "scrape_interval", "scrape_timeout"]);
        section.ignore(&LISTS);
        let unsupported: Vec<_> = section
            .names()
            .into_iter()
            .filter(|(key, _)| key.ends_with("_sd_configs") && !LISTS.contains(key))
            .collect();
        for (key, path) in &unsupported {
            let detail = "not supported; write the targets to files for file_sd_configs";
            section.report().left_out(path, detail);
            section.acknowledge(key);
        }
        section.finish();
        context.add_remarks(&format!("Job {name}"));
    }

    fn module(&self, name: &str) -> Option<&'m Module> {
        self.modules.iter().find(|module| module.name == name)
    }

    /// Monitors for the targets in `static_configs`.
    fn read_static(
        &self,
        job: &Job,
        section: &mut Section<'_>,
        context: &mut Context,
    ) -> Vec<Probe<'m>> {
        let report = context.report.clone();
        let mut probes = Vec::new();
        for mut group in section.sections("static_configs") {
            let labels: Labels = group
                .text_map("labels")
                .into_iter()
                .filter(|(_, value, _)| !value.is_empty())
                .map(|(name, value, _)| (name, value))
                .collect();
            for (target, place) in group.texts("targets") {
                if context.configuration.monitors.len() + probes.len() >= MAX_MONITORS {
                    report.left_out(&place, format!("more than {MAX_MONITORS} targets"));
                    break;
                }
                match self.probe(job, &target, &labels, &place, context) {
                    Ok(Some(probe)) => probes.push(probe),
                    Ok(None) => report.changed(&place, "dropped by relabel_configs"),
                    Err(why) => report.left_out(&place, why),
                }
            }
            group.finish();
        }
        probes
    }

    /// The monitor for one target; `None` if the rules drop it.
    fn probe(
        &self,
        job: &Job,
        address: &str,
        labels: &Labels,
        place: &Path,
        context: &mut Context,
    ) -> Result<Option<Probe<'m>>, String> {
        let Some(mut labels) = job.relabelling.apply(address, labels) else {
            return Ok(None);
        };
        let Some(target) = labels.remove("__param_target") else {
            return Err("no rule sets __param_target".to_owned());
        };
        let word = labels
            .remove("__param_module")
            .unwrap_or_else(|| "http_2xx".to_owned());
        let Some(module) = self.module(&word) else {
            return Err(format!("unknown module {word:?}"));
        };
        let hostname = labels.remove("__param_hostname");
        let mut keys = Keys::default();
        keys.set("extends", "");
        let secrets = context.secrets.clone();
        let shown = without_secrets(&target);
        let name = context
            .names
            .choose(&[&shown, &format!("{}/{shown}", job.name)]);
        if module.prober == "http" {
            let url = if target.starts_with("http://") || target.starts_with("https://") {
                target.clone()
            } else {
                format!("http://{target}")
            };
            let node = secrets.url(&name, &url, place, Some(&mut keys));
            keys.set("url", node);
        } else {
            keys.set("target", secrets.url(&name, &target, place, None));
        }
        if let Some(hostname) = hostname {
            if matches!(module.prober, "http" | "websocket") {
                keys.set_in("headers", "Host", hostname);
            } else if module.tls || module.prober == "dns" {
                keys.set_in("tls_config", "server_name", hostname);
            }
        }
        for (label, key) in [
            ("__scrape_interval__", "check_every"),
            ("__scrape_timeout__", "timeout"),
        ] {
            let Some(value) = labels.remove(label) else {
                continue;
            };
            let duration = crate::commands::import::durations::parse(&value)
                .ok_or_else(|| format!("{label} is not a duration"))?;
            if key == "check_every" && duration != job.timing.interval {
                keys.set(key, duration);
            } else if key == "timeout" && duration != job.timing.timeout {
                let timing = Timing {
                    timeout: duration,
                    ..job.timing
                };
                keys.set(key, timing.of_probe(module.timeout));
            }
        }
        for (name, value) in labels {
            let says_nothing = name == "job" && value == job.name
                || name == "instance" && (value == target || value == shown);
            if !name.starts_with("__") && !says_nothing {
                let name = label_name(&name, place, &context.report);
                keys.set_in("labels", &name, value);
            }
        }
        Ok(Some(Probe {
            module,
            name,
            keys,
            origin: place.clone(),
        }))
    }

    /// Blocks of discovery for the lists of targets.
    fn read_lists(
        &self,
        job: &Job,
        section: &mut Section<'_>,
        context: &mut Context,
    ) -> Vec<(&'m Module, Entry)> {
        let report = context.report.clone();
        let mut sources = Keys::default();
        for key in LISTS {
            for source in section.sections(key) {
                sources.push(key, read_source(source, key, &job.name, context));
            }
        }
        if sources.0.is_empty() {
            return Vec::new();
        }
        let modules: Vec<_> = match job.relabelling.module() {
            Some(name) => {
                let module = self.module(name);
                if module.is_none() {
                    report.left_out(&job.path, format!("unknown module {name:?}"));
                }
                module.into_iter().collect()
            }
            None => self.modules.iter().collect(),
        };
        let is_chosen = job.relabelling.module().is_none();
        if is_chosen {
            let detail =
                "the module depends on the target: a block for each module keeps its targets";
            report.changed(&job.path, detail);
        }
        let comments = report.take_comments();
        let block = |module: &'m Module| {
            let mut keys = Keys::default();
            keys.set("template", "");
            keys.0.extend(sources.0.clone());
            let rules = job.relabelling.rules(is_chosen.then_some(&module.name));
            if !rules.is_empty() {
                keys.set("relabel_configs", Node::List(rules));
            }
            let name = if is_chosen {
                format!("{}/{}", job.name, module.name)
            } else {
                job.name.clone()
            };
            let entry = Entry {
                name: name.chars().take(100).collect(),
                comments: comments.clone(),
                keys,
                origin: job.path.clone(),
            };
            (module, entry)
        };
        modules.into_iter().map(block).collect()
    }
}

/// A monitor in the making, for one target.
struct Probe<'m> {
    module: &'m Module,
    name: String,
    keys: Keys,
    origin: Path,
}

/// Adds a template for each module that the job uses, the first one with the `comments` on the job;
/// returns their names by module.
fn add_templates<'m>(
    job: &Job,
    used: impl Iterator<Item = &'m Module>,
    mut comments: Vec<String>,
    context: &mut Context,
) -> BTreeMap<String, String> {
    let used: BTreeMap<_, _> = used.map(|module| (&module.name, module)).collect();
    let alone = used.len() == 1;
    let mut names = BTreeMap::new();
    for module in used.into_values() {
        let mut keys = Keys::default();
        keys.set("extends", module.name.as_str());
        keys.set("check_every", job.timing.interval);
        keys.set("timeout", job.timing.of_probe(module.timeout));
        let both = format!("{}/{}", job.name, module.name);
        let name = if alone { &job.name } else { &both };
        let name = context
            .template_names
            .choose(&[name, &format!("job/{name}")]);
        names.insert(module.name.clone(), name.clone());
        context.configuration.templates.push(Entry {
            name,
            comments: std::mem::take(&mut comments),
            keys,
            origin: job.path.clone(),
        });
    }
    let remarks = comments
        .into_iter()
        .map(|comment| format!("Job {}: {comment}", job.name));
    context.configuration.remarks.extend(remarks);
    names
}

/// The first value of each of `params`.
fn read_parameters(section: &mut Section<'_>) -> Vec<(String, String)> {
    let Some(parameters) = section.section("params") else {
        return Vec::new();
    };
    let report = parameters.report();
    let mut read = Vec::new();
    for (name, node, path) in parameters.into_entries() {
        let first = match node {
            Node::List(items) => items.first().and_then(scalar_text),
            node => scalar_text(node),
        };
        match (name, first) {
            ("debug", _) | (_, None) => {}
            ("module" | "target" | "hostname", Some(value)) => {
                read.push((name.to_owned(), value));
            }
            _ => report.changed(&path, "has no effect: not a parameter of blackbox_exporter"),
        }
    }
    read
}

/// One source of targets, whose keys mean the same here.
fn read_source(mut section: Section<'_>, kind: &str, job: &str, context: &Context) -> Keys {
    let mut keys = Keys::default();
    let same: &[&'static str] = match kind {
        "file_sd_configs" => &["files", "refresh_interval"],
        "http_sd_configs" => &["refresh_interval"],
        _ => &["names", "type", "port", "refresh_interval"],
    };
    copy_same(&mut section, same, &mut keys);
    let secrets = context.secrets.clone();
    let owner = format!("{job}_http_sd");
    if kind == "http_sd_configs" {
        let place = section.path_of("url");
        if let Some(url) = section.text("url") {
            let url = secrets.url(&owner, &url, &place, Some(&mut keys));
            keys.set("url", url);
        }
        http_client::copy(&mut section, &owner, &secrets, &mut keys);
    }
    let relative = |node: &Node| matches!(node, Node::Text(file) if !file.starts_with('/'));
    if let Some(Node::List(files)) = keys.get("files")
        && files.iter().any(relative)
    {
        let detail = "relative to the folder of config.yml, no longer to that of prometheus.yml";
        section.report().changed(&section.path_of("files"), detail);
    }
    section.finish();
    keys
}

/// `target` without what may be a secret in a URL, for names.
fn without_secrets(target: &str) -> String {
    let Ok(mut url) = Url::parse(target) else {
        return target.to_owned();
    };
    if !url.has_host() {
        return target.to_owned();
    }
    let has_secrets = !url.username().is_empty() || url.password().is_some();
    if !has_secrets && url.query().is_none() {
        return target.to_owned();
    }
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.into()
}
