//! Modules of `probe`, read as monitors: validated with a placeholder target, and bound to real ones.

use std::sync::Arc;

use super::{Config, Monitor, MonitorBuilder, templates::TemplateSet};
use crate::{
    monitors::Type,
    net::Net,
    probe::{Bind, BindError, BindRequest, Bound, ModuleTemplate, TEMPLATE_PREFIX, Traits},
    value::{EntryPart, Fields, Node, Problem, Problems, Warning, WarningKind},
};

/// Longer than any probe takes: its deadline comes with the request.
const UNLIMITED: &str = "366d";

impl TemplateSet {
    /// The problem of `module`, for any target.
    pub(super) fn check_module(&self, module: &ModuleTemplate, problems: &Problems) {
        if !self.check_parent(&module.name, problems) {
            return;
        }
        let prober = module.prober.unwrap_or_else(|| self.type_of(&module.name));
        let example = match prober {
            Type::Http => "https://target.invalid/",
            Type::Websocket => "wss://target.invalid/",
            Type::Unix => "/target",
            Type::Dns | Type::Grpc | Type::Icmp => "target.invalid",
            Type::Tcp | Type::Tls => "target.invalid:1",
        };
        let own = Node::Map(own_keys(prober, example));
        let Some(layers) = self.layers(&module.name) else {
            return;
        };
        // What is missing is missing in the module.
        let mut values = vec![(&own, module.path.clone().shared())];
        values.extend(layers);
        let scratch = Problems::within_context(self.context.clone());
        let name = module.name.strip_prefix(TEMPLATE_PREFIX);
        scratch.within(
            format_args!("module {:?}", name.unwrap_or_default()),
            || {
                let (defaults, metrics) = (&self.defaults, &self.metrics);
                Monitor::read(&module.name, values, defaults, metrics, prober, &scratch)
            },
        );
        for warning in scratch.take_warnings() {
            if !module.is_foreign {
                problems.warn(warning);
            }
        }
        for problem in scratch.into_vec().0 {
            if module.is_foreign && problem.is_of_file {
                // blackbox_exporter reads files when it probes.
                let Problem { path, message, .. } = problem;
                problems.warn(Warning {
                    path,
                    part: EntryPart::Value,
                    message: format!("its probes will fail: {message}"),
                    kind: WarningKind::Suspicious,
                });
            } else {
                problems.push(problem);
            }
        }
    }

    /// Returns whether the module `template` asks for HTTP/3, which has no http:// URLs.
    fn asks_for_http3(&self, template: &str) -> bool {
        let scratch = Problems::default();
        let layers = self.layers(template).unwrap_or_default();
        let fields = Fields::from_layers(layers, &scratch);
        let asked = fields.and_then(|mut fields| fields.optional("enable_http3"));
        asked.unwrap_or(false)
    }

    /// The Host header of the module `template`, if it is not `hostname`.
    fn other_host(&self, template: &str, hostname: &str) -> Option<String> {
        let scratch = Problems::default();
        let mut fields = Fields::from_layers(self.layers(template)?, &scratch)?;
        let headers = fields.section("headers")?;
        let mut host = headers
            .entries()
            .into_iter()
            .filter(|(name, ..)| name.eq_ignore_ascii_case("host"));
        match host.next()?.1 {
            Node::Text(host) if host == hostname => Some(String::new()),
            Node::Text(host) => Some(host.clone()),
            _ => Some("<secret>".to_owned()),
        }
    }
}

/// `url` without `scheme`, which may be in any case, if that is what it begins with.
fn without_scheme<'u>(url: &'u str, scheme: &str) -> Option<&'u str> {
    let (start, rest) = url.split_at_checked(scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// The keys of a probe of `target`, over those of its module.
fn own_keys(prober: Type, target: &str) -> Vec<(String, Node)> {
    let key = if prober == Type::Http {
        "url"
    } else {
        "target"
    };
    let text = |key: &str, text: &str| (key.to_owned(), Node::Text(text.to_owned()));
    vec![
        text(key, target),
        text("check_every", UNLIMITED),
        text("timeout", UNLIMITED),
    ]
}

impl MonitorBuilder {
    /// The monitor that a request asks for.
    fn probed(&self, request: &BindRequest<'_>) -> Result<(Monitor, Traits), BindError> {
        let set = &self.0;
        let template = format!("{TEMPLATE_PREFIX}{}", request.module);
        let prober = set.type_of(&template);
        let mut target = target_of(prober, request.target);
        if prober == Type::Http
            && let Some(authority) = without_scheme(&target, "http://")
            && set.asks_for_http3(&template)
        {
            target = format!("https://{authority}");
        }
        let mut keys = own_keys(prober, &target);
        if let Some(hostname) = request.hostname {
            let other = match prober {
                Type::Http => set.other_host(&template, hostname),
                _ => None,
            };
            match other.as_deref() {
                None => keys.extend(set.hostname_key(&template, prober, hostname.to_owned())),
                Some("") => {}
                Some(other) => {
                    return Err(BindError::HostConflict {
                        module: other.to_owned(),
                        parameter: hostname.to_owned(),
                    });
                }
            }
        }
        let mut hide = |key: &str| keys.push((key.to_owned(), Node::Null));
        match prober {
            // Those of the target count.
            Type::Http if has_userinfo(&target) => {
                for key in ["basic_auth", "authorization", "oauth2"] {
                    hide(key);
                }
            }
            Type::Websocket if target.starts_with("ws://") => hide("tls_config"),
            _ => {}
        }
        let monitor = self
            .build(&template, &template, Node::Map(keys))
            .map_err(|problems| BindError::Invalid(problems.join("; ")))?;
        let scratch = Problems::default();
        let layers = set.layers(&template).unwrap_or_default();
        let traits =
            Fields::from_layers(layers, &scratch).map(|mut fields| Traits::read(&mut fields));
        Ok((monitor, traits.unwrap_or_default()))
    }
}

/// `target` as a monitor of type `prober` has it.
fn target_of(prober: Type, target: &str) -> String {
    let after_scheme = target
        .strip_prefix("http://")
        .or_else(|| target.strip_prefix("https://"));
    match prober {
        Type::Http if after_scheme.is_none() && !has_web_scheme(target) => {
            format!("http://{target}")
        }
        Type::Grpc => {
            let authority = after_scheme.unwrap_or(target);
            let end = authority.find('/').filter(|_| after_scheme.is_some());
            authority[..end.unwrap_or(authority.len())].to_owned()
        }
        _ => target.to_owned(),
    }
}

/// Returns true if `target` begins with `http://` or `https://`, in any case.
fn has_web_scheme(target: &str) -> bool {
    let scheme = target.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| {
        scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
    })
}

/// True if there are a user's name and password in `url`.
fn has_userinfo(url: &str) -> bool {
    let authority = url.split("://").nth(1).unwrap_or_default();
    authority
        .split(['/', '?', '#'])
        .next()
        .is_some_and(|authority| authority.contains('@'))
}

impl Config {
    /// The function that binds modules of `/probe` to targets.
    #[must_use]
    pub fn probe_binder(&self, net: &Net) -> Arc<Bind> {
        let builder = self.monitor_builder.clone();
        let net = match &self.probe.allowed_targets {
            Some(allowed) => net.limited_to(allowed.clone()),
            None => net.clone(),
        };
        Arc::new(move |request: &BindRequest<'_>| {
            let (monitor, traits) = builder.probed(request)?;
            let mut job = monitor.job(&net);
            job.records_details = true;
            Ok(Bound {
                job,
                traits,
                has_files: !monitor.files.is_empty(),
            })
        })
    }
}
