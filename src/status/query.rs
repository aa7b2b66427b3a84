//! The query of a URL, which selects monitors.

use std::collections::BTreeSet;

use url::form_urlencoded;

/// Monitors on one page.
pub(super) const PER_PAGE: usize = 1000;

/// Selects, groups and pages monitors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Text that is part of a name, a target, a type or the value of a label.
    pub text: String,
    /// `NAME:VALUE` or `NAME`, of labels that a monitor must have.
    pub labels: Vec<String>,
    /// `up`, `down` or `unknown`.
    pub state: String,
    /// The label whose values monitors are grouped by.
    pub group: String,
    /// Counted from 1.
    pub page: usize,
    /// The ids of the only monitors to show.
    pub rows: Option<BTreeSet<u32>>,
}

impl Query {
    /// Reads the known parameters of `query` and ignores others.
    #[must_use]
    pub fn parse(query: &str) -> Self {
        let mut read = Self {
            page: 1,
            ..Self::default()
        };
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.trim();
            if value.is_empty() {
                continue;
            }
            match &*key {
                "q" => value.clone_into(&mut read.text),
                "label" => read.labels.push(value.to_owned()),
                "state" => value.clone_into(&mut read.state),
                "group" => value.clone_into(&mut read.group),
                "page" => read.page = value.parse().unwrap_or(1).max(1),
                "rows" => {
                    let ids = value.split(',').filter_map(|id| id.parse().ok());
                    read.rows = Some(ids.collect());
                }
                _ => {}
            }
        }
        read
    }

    /// The URL of another page with the same query.
    pub(super) fn address_of(&self, page: usize) -> String {
        let mut query = form_urlencoded::Serializer::for_suffix("/?".to_owned(), 2);
        let labels = self.labels.iter().map(|label| ("label", label));
        let texts = [
            ("q", &self.text),
            ("state", &self.state),
            ("group", &self.group),
        ];
        for (key, value) in texts.into_iter().chain(labels) {
            if !value.is_empty() {
                query.append_pair(key, value);
            }
        }
        query.append_pair("page", &page.to_string());
        query.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_survives_a_round_trip() {
        let query = Query {
            text: "a&b=<c> ü".to_owned(),
            labels: vec!["team:a b".to_owned(), "env".to_owned()],
            state: "down".to_owned(),
            group: "team".to_owned(),
            page: 3,
            rows: None,
        };
        let address = query.address_of(3);
        let (path, read) = address.split_once('?').expect("a query");
        assert_eq!((path, Query::parse(read)), ("/", query));
        assert_eq!(Query::parse("").address_of(2), "/?page=2");
    }

    #[test]
    fn invalid_values_are_ignored() {
        let query = Query::parse("page=-1&q=+&x=1&label=&=&rows=1,x,99999999999,3");
        let rows = Some(BTreeSet::from([1, 3]));
        let expected = Query {
            page: 1,
            rows,
            ..Query::default()
        };
        assert_eq!(query, expected);
    }
}
