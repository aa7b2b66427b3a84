//! The configuration as a JSON Schema, for editors.

/// A schema (draft 2020-12) of the whole configuration.
///
/// It is written by hand. Tests compare its keys with those that are read, and validate the corpus with it.
pub(crate) const SCHEMA: &str = include_str!("schema.json");

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        ffi::OsStr,
        fs,
    };

    use boon::{Compiler, ErrorKind, SchemaIndex, Schemas, ValidationError};
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        config::Config,
        monitors::Type,
        value::{Fields, Node, Path, Problem, Problems, Segment, yaml},
    };

    fn schema() -> Value {
        serde_json::from_str(SCHEMA).expect("JSON")
    }

    struct Validator {
        schemas: Schemas,
        index: SchemaIndex,
    }

    impl Validator {
        fn new() -> Self {
            let mut schemas = Schemas::new();
            let mut compiler = Compiler::new();
            compiler.enable_format_assertions();
            let url = "schema.json";
            compiler.add_resource(url, schema()).expect("JSON");
            let index = match compiler.compile(url, &mut schemas) {
                Ok(index) => index,
                Err(error) => panic!("{error:#}"),
            };
            Self { schemas, index }
        }

        /// JSON pointers to the problems of `value`.
        fn refused(&self, value: &Value) -> BTreeSet<String> {
            let mut found = BTreeSet::new();
            if let Err(error) = self.schemas.validate(value, self.index) {
                places(&error, &mut found);
            }
            found
        }
    }

    fn places(error: &ValidationError<'_, '_>, found: &mut BTreeSet<String>) {
        let here = error.instance_location.to_string();
        match &error.kind {
            ErrorKind::AdditionalProperties { got } => {
                found.extend(got.iter().map(|key| format!("{here}/{}", escaped(key))));
            }
            _ if error.causes.is_empty() => {
                found.insert(here);
            }
            _ => {}
        }
        for cause in &error.causes {
            places(cause, found);
        }
    }

    /// Escapes a key for a JSON pointer.
    fn escaped(key: &str) -> String {
        key.replace('~', "~0").replace('/', "~1")
    }

    /// The tree as an editor sees it, with merged mappings.
    fn value(node: &Node) -> Value {
        match node {
            Node::Null => Value::Null,
            Node::Bool(value) => json!(value),
            Node::Int(value) => json!(i64::try_from(*value).unwrap_or(i64::MAX)),
            Node::Float(value) => json!(value),
            Node::Text(text) | Node::FromEnvironment(text) => json!(text),
            Node::Binary(bytes) => json!(String::from_utf8_lossy(bytes)),
            Node::List(items) => items.iter().map(value).collect(),
            Node::Map(_) => {
                let problems = Problems::default();
                let fields =
                    Fields::from_node(node, Path::default(), &problems).expect("a mapping");
                let entries = fields
                    .entries()
                    .into_iter()
                    .rev()
                    .map(|(name, node, _)| (name.to_owned(), value(node)));
                Value::Object(entries.collect())
            }
        }
    }

    /// The files of a folder of the corpus that are YAML, by name.
    fn corpus(folder: &str) -> BTreeMap<String, Node> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(folder).expect("the corpus is there") {
            let path = entry.expect("the corpus can be listed").path();
            let name = path.display().to_string();
            let is_yaml = path.extension().is_some_and(|extension| {
                [OsStr::new("yml"), OsStr::new("yaml")].contains(&extension)
            });
            if !is_yaml
                || path
                    .file_name()
                    .is_some_and(|name| name.as_encoded_bytes()[0] == b'.')
            {
                continue;
            }
            let text = fs::read_to_string(path).unwrap_or_default();
            if let Ok(node) = yaml::parse(&text) {
                found.insert(name, node);
            }
        }
        assert!(!found.is_empty());
        found
    }

    #[test]
    fn good_files_of_the_corpus_are_valid() {
        let validator = Validator::new();
        for folder in [
            "tests/config/good",
            "tests/config/included/good",
            "tests/config",
        ] {
            for (name, node) in corpus(folder) {
                let refused = validator.refused(&value(&node));
                assert!(refused.is_empty(), "{name}: {refused:?}");
            }
        }
        let shipped = yaml::parse(include_str!("../../config.yml")).expect("YAML");
        assert_eq!(validator.refused(&value(&shipped)), BTreeSet::new());
    }

    /// The problems of a file by itself.
    fn problems_of(node: &Node) -> Vec<Problem> {
        let problems = Problems::default();
        let fields = Fields::from_node(node, Path::default(), &problems);
        if let Some(mut fields) = fields {
            let _ = fields.node("include");
            let _ = Config::read(fields, std::iter::empty(), None, true);
        }
        problems.into_vec().0
    }

    /// The place of a problem as a JSON pointer; what is merged is where it is merged into.
    fn pointer(path: &Path) -> String {
        let mut pointer = String::new();
        let mut merged = false;
        for segment in &path.segments {
            match segment {
                Segment::Entry { name, .. } if name == "<<" => {
                    merged = true;
                    continue;
                }
                Segment::Item(_) if merged => {}
                Segment::Entry { name, .. } => pointer.extend(["/", &escaped(name)]),
                Segment::Item(index) => pointer.extend(["/", &index.to_string()]),
            }
            merged = false;
        }
        pointer
    }

    /// True if a schema sees such a problem.
    ///
    /// Unknown keys it sees always, and values of the wrong kind. Beyond it are keys that stand twice,
    /// merge keys, what does not compile, files, variables, and what is wrong only beside something else.
    fn is_seen(problem: &Problem) -> bool {
        let is = |start: &str| problem.message.starts_with(start);
        let is_merge = match problem.path.segments.last() {
            Some(Segment::Entry { name, .. }) => name == "<<",
            _ => false,
        };
        let message = problem.message.trim_end_matches("; quote it");
        let kinds = ["text", "a number", "a boolean", "a list", "a mapping"];
        let is_kind = kinds
            .iter()
            .any(|kind| message.ends_with(&format!(", found {kind}")));
        let required = [
            "url",
            "target",
            "endpoint",
            "query_name",
            "name",
            "value",
            "header",
            "regexp",
        ];
        let is_missing = required.iter().any(|key| is(&format!("{key} is missing")));
        let is_no_word = [
            "unknown selection",
            "unknown monitor type",
            "invalid value \"",
            "unknown IP family",
            "unknown TLS version",
        ]
        .iter()
        .any(|wrong| problem.message.contains(wrong));
        !is_merge && (is("unknown key") || is_kind || is_missing || is_no_word || is("the name is"))
    }

    #[test]
    fn the_schema_rejects_bad_files_of_the_corpus_at_the_same_places() {
        let validator = Validator::new();
        let (mut seen, mut missed) = (0, Vec::new());
        for folder in ["tests/config/bad", "tests/config/included/bad"] {
            for (name, node) in corpus(folder) {
                let problems = problems_of(&node);
                let whole = value(&node);
                let refused = validator.refused(&whole);
                for problem in problems.iter().filter(|problem| is_seen(problem)) {
                    let place = pointer(&problem.path);
                    let there = whole.pointer(&place).and_then(Value::as_str);
                    if there.is_some_and(|text| text.contains("${")) {
                        continue;
                    }
                    let near =
                        |at: &String| at.starts_with(&place) || place.starts_with(at.as_str());
                    let is_refused = if problem.message.starts_with("unknown key") {
                        refused.contains(&place)
                    } else {
                        refused.iter().any(near)
                    };
                    seen += 1;
                    if !is_refused {
                        missed.push(format!("{name}: {place}: {}", problem.message));
                    }
                }
            }
        }
        assert!(missed.is_empty(), "{missed:#?}");
        assert!(seen > 100, "{seen} are not what the corpus has");
    }

    const UNKNOWN: &str = "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq";

    /// One of each mapping that there is, with a key that it does not have.
    const ONE_OF_EACH: &str = "
?: 1
log: {?: 1}
server: {?: 1, tls: {?: 1, cert_file: x, key_file: x}}
discovery:
  one:
    ?: 1
    template: x
    file_sd_configs: [{?: 1}]
    http_sd_configs: [{?: 1, url: 'http://x'}]
    dns_sd_configs: [{?: 1}]
    static_configs: [{?: 1}]
    relabel_configs: [{?: 1}]
defaults: {?: 1}
dispatcher: {?: 1}
metrics: {?: 1, native_histograms: {?: 1}}
probe: {?: 1}
storage: {?: 1}
heartbeat: {?: 1, url: 'http://x'}
self_check: {?: 1, monitors: [http]}
telemetry:
  ?: 1
  traces: {?: 1, endpoint: http://x, sample: {?: 1}}
  logs: {?: 1, endpoint: http://x}
  metrics: {?: 1, endpoint: http://x}
maintenance: {one: {?: 1, every: '02:00-03:00'}}
monitors:
  dns:
    {type: dns, target: x, query_name: x, ?: 1, validate_answer_rrs: {?: 1}}
  grpc: {type: grpc, target: x, ?: 1}
  http:
    type: http
    url: http://x
    ?: 1
    headers: {X: {?: 1}}
    slo: {?: 1, latency: {?: 1}}
    confirm: {?: 1}
    depends_on: {?: 1, labels: {a: b}}
    authorization: {?: 1}
    basic_auth: {?: 1}
    oauth2: {?: 1}
    tls_config: {?: 1}
    fail_if_header_matches: [{?: 1}]
  icmp: {type: icmp, target: x, ?: 1, depends_on: [{?: 1, labels: {a: b}}]}
  tcp:
    {type: tcp, target: 'x:1', ?: 1, query_response: [{?: 1, labels: [{?: 1}]}]}
  tls: {type: tls, target: x, ?: 1}
  unix: {type: unix, target: /x, ?: 1}
  websocket: {type: websocket, target: 'ws://x', ?: 1, query_response: [{?: 1}]}
";

    /// The schema behind a reference, and where that is.
    fn resolved(root: &Value, at: String) -> (&Value, String) {
        let schema = root.pointer(&at).unwrap_or_else(|| panic!("no {at}"));
        match schema.get("$ref").and_then(Value::as_str) {
            Some(other) => resolved(root, other.trim_start_matches('#').to_owned()),
            None => (schema, at),
        }
    }

    /// The schema of a mapping of the configuration, and where that is.
    fn schema_of<'s>(root: &'s Value, path: &Path) -> (&'s Value, String) {
        const MONITORS: &str = "/properties/monitors";
        const DISCOVERY: &str = "/properties/discovery";
        const MAINTENANCE: &str = "/properties/maintenance";
        const HEADERS: &str = "/$defs/headers";
        let mut at = String::new();
        for segment in &path.segments {
            at = match segment {
                Segment::Item(_) => format!("{at}/items"),
                // Of each type there is one, which is called as the type is.
                Segment::Entry { name, .. } if at == MONITORS => format!("/$defs/{name}"),
                Segment::Entry { .. } if at == HEADERS => format!("{at}/additionalProperties"),
                Segment::Entry { .. } if at == DISCOVERY => format!("{at}/additionalProperties"),
                Segment::Entry { .. } if at == MAINTENANCE => {
                    format!("{at}/additionalProperties")
                }
                Segment::Entry { name, .. } => format!("{at}/properties/{name}"),
            };
            at = resolved(root, at).1;
        }
        resolved(root, at)
    }

    /// Every place in the schema that has its keys counted up.
    fn closed(schema: &Value, at: &str, found: &mut BTreeSet<String>) {
        match schema {
            Value::Object(entries) => {
                if entries.get("additionalProperties") == Some(&Value::Bool(false)) {
                    found.insert(at.to_owned());
                }
                for (key, value) in entries {
                    closed(value, &format!("{at}/{}", escaped(key)), found);
                }
            }
            Value::Array(items) => {
                for (index, value) in items.iter().enumerate() {
                    closed(value, &format!("{at}/{index}"), found);
                }
            }
            _ => {}
        }
    }

    #[test]
    fn the_schema_has_the_keys_that_are_read() {
        let root = schema();
        let node = yaml::parse(&ONE_OF_EACH.replace('?', UNKNOWN)).expect("YAML");
        let mut seen = BTreeSet::new();
        for problem in problems_of(&node) {
            let Some(known) = problem
                .message
                .strip_prefix("unknown key: expected one of ")
            else {
                continue;
            };
            let known: BTreeSet<_> = known.split(", ").collect();
            let mut path = problem.path;
            path.segments.pop();
            let (schema, at) = schema_of(&root, &path);
            let keys = schema["properties"]
                .as_object()
                .unwrap_or_else(|| panic!("no keys at {at}"));
            assert_eq!(
                keys.keys().map(String::as_str).collect::<BTreeSet<_>>(),
                known,
                "{path}"
            );
            seen.insert(at);
        }
        let mut all = BTreeSet::new();
        closed(&root, "", &mut all);
        assert_eq!(
            seen, all,
            "a mapping of the schema that is not asked for here, or the reverse"
        );
    }

    /// A default as it is shown in a description.
    fn shown(default: &Value) -> String {
        match default {
            Value::String(text) if text.is_empty() => "empty".to_owned(),
            Value::String(text) => text.clone(),
            Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
            other => other.to_string(),
        }
    }

    #[test]
    fn descriptions_end_with_the_default() {
        fn check(schema: &Value, found: &mut usize) {
            if let (Some(Value::String(description)), Some(default)) =
                (schema.get("description"), schema.get("default"))
            {
                let end = format!("(default: {})", shown(default));
                assert!(description.ends_with(&end), "{description:?}: {end}");
                *found += 1;
            }
            match schema {
                Value::Object(members) => members.values().for_each(|value| check(value, found)),
                Value::Array(items) => items.iter().for_each(|value| check(value, found)),
                _ => {}
            }
        }
        let mut found = 0;
        check(&schema(), &mut found);
        assert!(found > 60, "{found} defaults");
    }

    /// A configuration with every mapping that has keys with defaults.
    const WITHOUT_OPTIONAL_KEYS: &str = "
log: {}
server:
  basic_auth_users: {a: $2b$10$QNdzJX6ok7Qg87AWGJI.WuJgfXjZUxqVfXaxtsqGmdU.WHdAzFw7a}
defaults: {}
dispatcher: {}
metrics: {native_histograms: {}}
probe: {}
discovery:
  one:
    template: one
    file_sd_configs: [{files: [/nowhere/targets.json]}]
    http_sd_configs: [{url: 'http://x'}]
    dns_sd_configs: [{names: [x]}]
    relabel_configs: [{source_labels: [a], target_label: b}]
maintenance: {one: {every: '02:00-03:00'}}
storage: {path: /nowhere}
heartbeat: {url: 'http://x'}
telemetry: {traces: {endpoint: 'http://x', sample: {}}, logs: {endpoint: 'http://x'}, metrics: {endpoint: 'http://x'}}
templates: {one: {}}
monitors:
  dns: {type: dns, target: x, query_name: x}
  grpc: {type: grpc, target: x}
  http:
    url: http://x
    authorization: {credentials: x}
    confirm: {}
    tls_config: {}
    fail_if_header_matches: [{header: a, regexp: b}]
    fail_if_body_json_matches_cel: body.a
  oauth2: {url: 'http://x', oauth2: {client_id: x, token_url: 'http://x'}}
  icmp: {type: icmp, target: x, timeout: 4}
  tcp: {type: tcp, target: 'x:1', query_response: [{send: a}]}
  tls: {type: tls, target: x}
  unix: {type: unix, target: /x}
  websocket: {type: websocket, target: 'ws://x'}
";

    /// The pointer into [`WITHOUT_OPTIONAL_KEYS`] that belongs to the pointer `at` into the schema; `None` if it has
    /// no such mapping.
    fn instance_pointer(at: &str) -> Option<String> {
        let inner = |name: &str| match name {
            "discovery" | "maintenance" => format!("/{name}/one"),
            "authorization" | "confirm" | "tls_config" => format!("/monitors/http/{name}"),
            "header_matchers" => "/monitors/http/fail_if_header_matches".to_owned(),
            "oauth2" => "/monitors/oauth2/oauth2".to_owned(),
            "query_response" => "/monitors/tcp/query_response".to_owned(),
            of_type => format!("/monitors/{of_type}"),
        };
        let is_elsewhere = [
            "/$defs/monitor/",
            "/$defs/template/",
            "/properties/server/properties/tls/",
        ];
        if is_elsewhere.iter().any(|start| at.starts_with(start)) {
            return None;
        }
        let at = match at.strip_prefix("/$defs/") {
            Some(rest) => {
                let (name, rest) = rest.split_once('/')?;
                format!("{}/{rest}", inner(name))
            }
            None => at.to_owned(),
        };
        Some(at.replace("/properties/", "/").replace("/items/", "/0/"))
    }

    /// Every default of the schema with its pointer.
    fn defaults_of(schema: &Value, at: &str, found: &mut Vec<(String, Value)>) {
        match schema {
            Value::Object(members) => {
                if let Some(default) = members.get("default") {
                    found.push((at.to_owned(), default.clone()));
                }
                for (key, value) in members.iter().filter(|(key, _)| *key != "default") {
                    defaults_of(value, &format!("{at}/{key}"), found);
                }
            }
            Value::Array(items) => {
                for (index, value) in items.iter().enumerate() {
                    defaults_of(value, &format!("{at}/{index}"), found);
                }
            }
            _ => {}
        }
    }

    /// The settings in `configuration` as text, or its problems.
    fn read_all(configuration: &Value) -> Result<String, String> {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::io::Write::write_all(&mut file, configuration.to_string().as_bytes()).expect("room");
        let config = crate::config::read(file.path()).map_err(|invalid| invalid.to_string())?;
        let Config {
            log,
            server,
            dispatcher,
            metrics,
            probe,
            mut monitors,
            discovery,
            states,
            storage,
            telemetry,
            heartbeat,
            ..
        } = config;
        for monitor in &mut monitors {
            monitor.fingerprint = crate::check::Fingerprint::default();
        }
        Ok(format!(
            "{log:?} {server:?} {dispatcher:?} {metrics:?} {probe:?} {monitors:?} {discovery:?} {states:?} \
             {storage:?} {:?} {:?}",
            telemetry.settings, heartbeat.settings
        ))
    }

    #[test]
    fn the_defaults_of_the_schema_are_those_that_are_read() {
        let base = value(&yaml::parse(WITHOUT_OPTIONAL_KEYS).expect("YAML"));
        let expected = read_all(&base).expect("a valid configuration");
        let with = |pointer: &str, given: Value| {
            let (mapping, key) = pointer.rsplit_once('/').expect("a key");
            let mut changed = base.clone();
            let mapping = changed
                .pointer_mut(mapping)
                .unwrap_or_else(|| panic!("no mapping for {pointer}"));
            mapping[key] = given;
            read_all(&changed)
        };
        let mut defaults = Vec::new();
        defaults_of(&schema(), "", &mut defaults);
        let (mut checked, mut noticed, mut wrong) = (0, 0, Vec::new());
        for (at, default) in defaults {
            let Some(pointer) = instance_pointer(&at) else {
                continue;
            };
            match with(&pointer, default.clone()) {
                Ok(read) if read == expected => {}
                Ok(_) => wrong.push(format!("{pointer}: {default} is not the default")),
                Err(problems) => wrong.push(format!("{pointer}: {problems}")),
            }
            checked += 1;
            let another = match default {
                Value::Bool(default) => json!(!default),
                Value::Number(default) => json!(default.as_i64().unwrap_or_default() + 1),
                _ => continue,
            };
            noticed += usize::from(with(&pointer, another).as_ref() != Ok(&expected));
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert!(checked > 80, "{checked} defaults");
        assert!(
            noticed > 40,
            "another value makes a difference in {noticed} cases"
        );
    }

    #[test]
    fn the_schema_has_every_type() {
        let root = schema();
        for of_type in Type::ALL.iter().map(|of_type| of_type.as_str()) {
            let validator = Validator::new();
            let words = &root["$defs"][of_type]["properties"]["type"]["const"];
            assert_eq!(words, of_type);
            let template = json!({"templates": {"one": {"type": of_type, UNKNOWN: 1}}});
            let expected = format!("/templates/one/{UNKNOWN}");
            assert_eq!(validator.refused(&template), [expected].into());
            let monitor = json!({"monitors": {"one": {"type": of_type}}});
            assert_eq!(
                validator.refused(&monitor),
                ["/monitors/one".to_owned()].into()
            );
        }
    }
}
