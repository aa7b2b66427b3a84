//! Replaces imported secrets with references to environment variables.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use url::Url;

use super::entry::Keys;
use crate::value::{Node, Path};

/// Headers whose values are no secrets.
const HARMLESS_HEADERS: [&str; 20] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "connection",
    "content-encoding",
    "content-language",
    "content-type",
    "date",
    "dnt",
    "host",
    "if-modified-since",
    "if-none-match",
    "origin",
    "pragma",
    "range",
    "referer",
    "user-agent",
    "x-requested-with",
];

/// Words that a text with a secret in it mostly has.
const TELLTALES: [&str; 11] = [
    "api-key",
    "api_key",
    "apikey",
    "auth",
    "credential",
    "pass",
    "private",
    "secret",
    "session",
    "signature",
    "token",
];

/// The variables that stand for secrets.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    include: bool,
    variables: RefCell<Vec<(String, Path)>>,
    names: RefCell<BTreeSet<String>>,
    /// The next number for a name that is taken.
    numbers: RefCell<BTreeMap<String, usize>>,
}

impl Secrets {
    /// With `include`, secrets are printed and not replaced.
    #[must_use]
    pub(super) fn new(include: bool) -> Self {
        Self {
            include,
            ..Self::default()
        }
    }

    /// The printed form of the secret `value`: a reference to a variable named after `owner` and `key`.
    pub(super) fn reference(&self, owner: &str, key: &str, value: &str, path: &Path) -> Node {
        // A reference is one already.
        if self.include || value.is_empty() || value.contains("${") {
            return Node::Text(value.to_owned());
        }
        Node::FromEnvironment(format!("${{{}}}", self.variable(owner, key, path)))
    }

    /// Gives nothing else the name of a variable that is referred to already.
    pub(super) fn reserve(&self, name: &str) {
        self.names.borrow_mut().insert(name.to_owned());
    }

    /// The name of a new variable.
    fn variable(&self, owner: &str, key: &str, path: &Path) -> String {
        let upper = |c: char| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        };
        let owner = owner.split_once("://").map_or(owner, |(_, rest)| rest);
        let name: String = format!("{owner}_{key}").chars().map(upper).collect();
        let words = name.split('_').filter(|word| !word.is_empty());
        let mut name = words.collect::<Vec<_>>().join("_");
        name.truncate(100);
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            name.insert(0, '_');
        }
        let mut names = self.names.borrow_mut();
        let mut unique = name.clone();
        let mut numbers = self.numbers.borrow_mut();
        while !names.insert(unique.clone()) {
            let number = numbers.entry(name.clone()).or_insert(1);
            *number += 1;
            unique = format!("{name}_{number}");
        }
        self.variables
            .borrow_mut()
            .push((unique.clone(), path.clone()));
        unique
    }

    /// The value of a header, which is a secret unless its name is known to be harmless.
    pub(super) fn header(&self, owner: &str, name: &str, value: &str, path: &Path) -> Node {
        if is_harmless_header(name) {
            Node::Text(value.to_owned())
        } else {
            self.reference(owner, name, value, path)
        }
    }

    /// A text that is a secret if it looks like one.
    pub(super) fn text(&self, owner: &str, key: &str, value: &str, path: &Path) -> Node {
        if looks_secret(value) {
            self.reference(owner, key, value, path)
        } else {
            Node::Text(value.to_owned())
        }
    }

    /// `url` without secrets. Its userinfo becomes `basic_auth` of `keys`, if that is wanted.
    pub(super) fn url(&self, owner: &str, url: &str, path: &Path, keys: Option<&mut Keys>) -> Node {
        let Ok(mut parsed) = Url::parse(url) else {
            return Node::Text(url.to_owned());
        };
        let mut text = url.to_owned();
        if !parsed.username().is_empty() || parsed.password().is_some() {
            let decode = |text: &str| {
                let decoded = percent_encoding::percent_decode_str(text);
                decoded.decode_utf8_lossy().into_owned()
            };
            let username = decode(parsed.username());
            let password = parsed.password().map(decode).unwrap_or_default();
            match keys {
                Some(keys) => {
                    keys.set_in("basic_auth", "username", username);
                    let password = self.reference(owner, "password", &password, path);
                    keys.set_in("basic_auth", "password", password);
                    let _ = parsed.set_username("");
                    let _ = parsed.set_password(None);
                    parsed.as_str().clone_into(&mut text);
                }
                // As it stands in the URL, so the variable needs what is special there encoded.
                None => return self.reference(owner, "proxy_url", url, path),
            }
        }
        let Some((front, query)) = text.split_once('?') else {
            return Node::Text(text);
        };
        let (query, fragment) = query.split_once('#').unwrap_or((query, ""));
        if self.include || !query.split('&').any(is_secret_parameter) {
            return Node::Text(text);
        }
        let mut shown = escaped(front) + "?";
        for (index, parameter) in query.split('&').enumerate() {
            if index > 0 {
                shown.push('&');
            }
            match parameter.split_once('=') {
                Some((name, value)) if is_secret_parameter(parameter) && !value.is_empty() => {
                    let variable = self.variable(owner, name, path);
                    shown += &escaped(name);
                    shown += &["=${", &variable, "}"].concat();
                }
                _ => shown += &escaped(parameter),
            }
        }
        if !fragment.is_empty() {
            shown.push('#');
            shown += &escaped(fragment);
        }
        Node::FromEnvironment(shown)
    }

    /// The variables to set, each with the place of what it stands for.
    #[must_use]
    pub(super) fn variables(&self) -> Vec<(String, Path)> {
        self.variables.borrow().clone()
    }
}

fn is_harmless_header(name: &str) -> bool {
    HARMLESS_HEADERS
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name))
}

fn is_secret_parameter(parameter: &str) -> bool {
    let name = parameter.split_once('=').map_or("", |(name, _)| name);
    is_secret_name(name)
}

/// Returns whether a value called `name` is mostly a secret.
#[must_use]
pub(super) fn is_secret_name(name: &str) -> bool {
    looks_secret(name) || matches!(name.to_lowercase().as_str(), "key" | "sig" | "pwd" | "code")
}

/// Returns whether `text` has a word that texts with secrets have.
fn looks_secret(text: &str) -> bool {
    let text = text.to_lowercase();
    TELLTALES.iter().any(|word| text.contains(word))
}

/// `text` with nothing in it that is a reference to a variable.
#[must_use]
pub(super) fn escaped(text: &str) -> String {
    text.replace("${", "$${")
}
