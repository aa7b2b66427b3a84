//! Translates `pat(…)` of Gatus, a shell pattern, to a regular expression.

/// The regular expression that matches all of a text that `pattern` matches.
///
/// Gatus takes slashes out of both; here they are compared.
#[must_use]
pub(super) fn regex_of_glob(pattern: &str) -> String {
    let mut regex = String::from("(?s)");
    let starts_open = pattern.starts_with('*');
    let ends_open = pattern.ends_with('*') && !pattern.ends_with(r"\*");
    let mut inner = pattern.trim_start_matches('*');
    if ends_open {
        inner = inner.trim_end_matches('*');
    }
    if !starts_open {
        regex.push('^');
    }
    let mut chars = inner.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '\\' => {
                let escaped = chars.next().unwrap_or('\\');
                regex.push_str(&regex_syntax::escape(&escaped.to_string()));
            }
            '[' => {
                let mut class = String::from("[");
                let mut is_closed = false;
                while let Some(c) = chars.next() {
                    match c {
                        ']' if class.len() > 1 => {
                            is_closed = true;
                            break;
                        }
                        '\\' => {
                            let escaped = chars.next().unwrap_or('\\');
                            class.push_str(&regex_syntax::escape(&escaped.to_string()));
                        }
                        '[' | '&' | '~' => {
                            class.push('\\');
                            class.push(c);
                        }
                        c => class.push(c),
                    }
                }
                if is_closed {
                    regex.push_str(&class);
                    regex.push(']');
                } else {
                    // Go matches nothing with a class that does not end.
                    regex.push_str(&regex_syntax::escape(&class));
                }
            }
            c => regex.push_str(&regex_syntax::escape(&c.to_string())),
        }
    }
    if !ends_open {
        regex.push('$');
    }
    regex
}

/// Returns whether `pattern` matches all of `text`; for patterns of numbers, which have no slashes.
#[must_use]
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let regex = regex_automata::meta::Regex::new(&regex_of_glob(pattern));
    regex.is_ok_and(|regex| regex.is_match(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_becomes_a_regular_expression() {
        for (pattern, regex) in [
            ("*", "(?s)"),
            ("john*", "(?s)^john"),
            ("*<h1>Shop</h1>*", "(?s)<h1>Shop</h1>"),
            ("a.b?c", r"(?s)^a\.b.c$"),
            ("v[0-9]*", "(?s)^v[0-9]"),
            (r"\*", r"(?s)^\*$"),
            ("a*b", "(?s)^a.*b$"),
        ] {
            assert_eq!(regex_of_glob(pattern), regex, "{pattern}");
        }
        assert!(matches("2*", "204"));
        assert!(!matches("2*", "302"));
        assert!(matches("20[0-4]", "203"));
    }
}
