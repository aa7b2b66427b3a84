//! Request headers: each a text, a list of texts, or values, secrets and files.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{EntryPart, Fields, FileContents, FromNode, Node, Path};

/// The key for Prometheus' form, in which each header is a mapping.
const HTTP_HEADERS: &str = "http_headers";

/// The reason why a header is rejected, and the expectation.
type Refusal = Result<(), (&'static str, &'static str)>;

impl Fields<'_> {
    /// Reads `headers` and `http_headers`; `check_name` rejects headers that the request sets itself.
    pub fn headers(&mut self, check_name: impl Fn(&HeaderName) -> Refusal) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for key in ["headers", HTTP_HEADERS] {
            self.add_headers(key, &check_name, &mut headers);
        }
        headers
    }

    /// Reads `http_headers`.
    pub fn http_headers(&mut self, check_name: impl Fn(&HeaderName) -> Refusal) -> HeaderMap {
        let mut headers = HeaderMap::new();
        self.add_headers(HTTP_HEADERS, &check_name, &mut headers);
        headers
    }

    fn add_headers(
        &mut self,
        key: &'static str,
        check_name: &impl Fn(&HeaderName) -> Refusal,
        headers: &mut HeaderMap,
    ) {
        let problems = self.problems();
        let Some(section) = self.section(key) else {
            return;
        };
        for (name, node, path) in section.entries() {
            let wrong = |wrong: &str, expected: &str| {
                problems.add(path.clone(), EntryPart::Key, wrong, expected);
            };
            let Ok(header) = HeaderName::try_from(name) else {
                wrong("invalid header name", "letters, digits and -");
                continue;
            };
            if let Err((case, expected)) = check_name(&header) {
                wrong(case, expected);
                continue;
            }
            let values = self.header_values(key, node, path.clone());
            if headers.contains_key(&header) {
                let case = format_args!("duplicate header {name} (names ignore case)");
                self.add_value_problem(key, case, "each header once, with a list of values");
            }
            for value in values {
                headers.append(&header, value);
            }
        }
    }

    fn header_values(&self, key: &str, node: &Node, path: Path) -> Vec<HeaderValue> {
        let problems = self.problems();
        let value = |node: &Node, path: Path| match HeaderValue::read_node(node) {
            Ok(value) => Some(value),
            Err(wrong) => {
                problems.add(path, EntryPart::Value, wrong, HeaderValue::EXPECTED);
                None
            }
        };
        match node {
            Node::Map(_) => {
                let Some(mut fields) = Fields::from_node(node, path, problems) else {
                    return Vec::new();
                };
                let mut values: Vec<HeaderValue> = fields.list("values");
                values.extend(fields.list::<HeaderValue>("secrets"));
                for file in fields.files("files") {
                    values.extend(read_file(&file, &fields));
                }
                let keys = ["values", "secrets", "files"];
                if keys.iter().all(|key| fields.node(key).is_none()) {
                    fields.add_problem("header without a value", "values, secrets or files");
                }
                fields.reject_unknown_keys();
                values
            }
            Node::List(items) if key != HTTP_HEADERS => {
                let items = items.iter().enumerate();
                items
                    .filter_map(|(index, item)| value(item, path.item(index)))
                    .collect()
            }
            _ if key == HTTP_HEADERS => {
                let wrong = super::node::unexpected_kind(node);
                problems.add(
                    path,
                    EntryPart::Value,
                    wrong,
                    "a mapping with values, secrets or files",
                );
                Vec::new()
            }
            node => Vec::from_iter(value(node, path)),
        }
    }
}

fn read_file(file: &FileContents, fields: &Fields<'_>) -> Option<HeaderValue> {
    let value = file.text().ok().and_then(|text| {
        let mut value = HeaderValue::from_bytes(text.as_bytes()).ok()?;
        value.set_sensitive(true);
        Some(value)
    });
    if value.is_none() {
        let wrong = "file contains characters that a header cannot have";
        fields.add_value_problem("files", wrong, "text in one line");
    }
    value
}
