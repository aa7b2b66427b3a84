//! The names to ask for in place of one that is relative, in the C library's order.

use hickory_proto::rr::Name;

use super::{name::parse_name, resolv_conf::Options};

/// Names to look up one after the other: never none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Candidates {
    pub names: Vec<Name>,
    /// The first is the name itself, whose error counts if no name is found.
    pub(crate) starts_as_is: bool,
}

impl Candidates {
    /// The names to ask for in place of `text`; `None` if DNS cannot carry it.
    pub(super) fn new(text: &str, search: &[Name], options: Options) -> Option<Self> {
        let absolute = parse_name(text)?;
        if text.ends_with('.') {
            return Some(Self {
                names: vec![absolute],
                starts_as_is: true,
            });
        }
        let dots = text.bytes().filter(|byte| *byte == b'.').count();
        let starts_as_is = dots >= options.ndots;
        let mut names = Vec::with_capacity(search.len() + 1);
        if starts_as_is {
            names.push(absolute.clone());
        }
        for domain in search {
            // Too long with the domain: then there is no such name.
            if let Ok(name) = absolute.clone().append_domain(domain)
                && !names.contains(&name)
            {
                names.push(name);
            }
        }
        let is_wanted = dots > 0 || !options.no_tld_query || names.is_empty();
        if is_wanted && !names.contains(&absolute) {
            names.push(absolute);
        }
        Some(Self {
            names,
            starts_as_is,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, options: Options, expected: &[&str]) {
        let search = ["a.test", "b.test"].map(|domain| parse_name(domain).expect("a name"));
        let found = Candidates::new(text, &search, options);
        let names = found.map(|found| found.names).unwrap_or_default();
        let names: Vec<_> = names.iter().map(Name::to_ascii).collect();
        assert_eq!(names, expected, "{text:?}");
    }

    #[test]
    fn names_with_few_dots_are_searched_for_first() {
        let options = Options::default();
        check("svc", options, &["svc.a.test.", "svc.b.test.", "svc."]);
        check("svc.", options, &["svc."]);
        check("a.b", options, &["a.b.", "a.b.a.test.", "a.b.b.test."]);
        let ndots = |ndots| Options { ndots, ..options };
        check("a.b", ndots(5), &["a.b.a.test.", "a.b.b.test.", "a.b."]);
        check("svc", ndots(0), &["svc.", "svc.a.test.", "svc.b.test."]);
        let no_tld_query = Options {
            no_tld_query: true,
            ..options
        };
        check("svc", no_tld_query, &["svc.a.test.", "svc.b.test."]);
        check("a.b", no_tld_query, &["a.b.", "a.b.a.test.", "a.b.b.test."]);
    }

    #[test]
    fn any_label_that_dns_can_carry_is_a_name() {
        for text in [
            "a_b.test",
            "-a-.test",
            "*.test",
            "a b.test",
            "_tcp.a",
            "bücher.test",
        ] {
            assert!(parse_name(text).is_some(), "{text:?}");
        }
        let label = "x".repeat(63);
        let longest = [&*label, &label, &label, &label[..61]].join(".");
        assert_eq!(longest.len(), 253);
        assert!(parse_name(&longest).is_some() && parse_name(&format!("{longest}.")).is_some());
        let too_long = [&*label, &label, &label, &label[..62]].join(".");
        for text in ["", "a..b", ".a", "..", &format!("x{label}.a"), &too_long] {
            assert!(parse_name(text).is_none(), "{text:?}");
        }
        // One that fits alone and with no domain of the search list is still asked for.
        let options = Options::default();
        check(&longest, options, &[&format!("{longest}.")]);
    }
}
