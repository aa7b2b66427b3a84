//! Matchers of the body and the headers of a response.

use http::{HeaderMap, HeaderValue, header::HeaderName};

use super::json::{self, Expression, InvalidJson};
use crate::{
    check::{Reason, StepKind, Steps},
    net::http::shown_value,
    offload::CancelFlag,
    text::counted,
    value::{Fields, Pattern},
};

/// JSON values of a body by default: some 50 MB in memory.
const JSON_VALUES_LIMIT: usize = 200_000;

/// Bytes of memory that a JSON value takes, beside its text.
const JSON_VALUE_BYTES: u64 = 250;

/// Matchers of the body of a response.
#[derive(Debug, Default)]
pub(crate) struct BodyMatchers {
    /// None of them may match.
    pub(crate) must_not_match: Vec<Pattern>,
    /// All of them must match.
    pub(crate) must_match: Vec<Pattern>,
    /// Must not be true of the body, which must be JSON.
    pub(crate) cel_must_be_false: Option<Expression>,
    /// Must be true of it.
    pub(crate) cel_must_be_true: Option<Expression>,
    /// JSON values that the body may have.
    pub json_values_limit: usize,
}

impl BodyMatchers {
    /// Reads the keys `fail_if_body_…`; `None` if there is no matcher.
    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let json_values_limit = fields.optional("json_values_limit");
        let matchers = Self {
            must_not_match: fields.patterns("fail_if_body_matches_regexp"),
            must_match: fields.patterns("fail_if_body_not_matches_regexp"),
            cel_must_be_false: fields.optional("fail_if_body_json_matches_cel"),
            cel_must_be_true: fields.optional("fail_if_body_json_not_matches_cel"),
            json_values_limit: json_values_limit.unwrap_or(JSON_VALUES_LIMIT),
        };
        if json_values_limit.is_some() && !matchers.has_expressions() {
            let wrong = "has no effect without an expression over the body";
            let allowed = "fail_if_body_json_matches_cel or fail_if_body_json_not_matches_cel";
            fields.add_value_problem("json_values_limit", wrong, allowed);
        }
        (!matchers.is_empty()).then_some(matchers)
    }

    fn has_expressions(&self) -> bool {
        self.cel_must_be_false.is_some() || self.cel_must_be_true.is_some()
    }

    /// Returns whether there is no matcher.
    fn is_empty(&self) -> bool {
        self.must_not_match.is_empty()
            && self.must_match.is_empty()
            && self.cel_must_be_false.is_none()
            && self.cel_must_be_true.is_none()
    }

    /// The most memory that a body of so many bytes takes to be checked, in bytes: the body, a copy of it
    /// in one piece, and its JSON values.
    pub(super) fn max_memory(&self, body_length: u64) -> u64 {
        let values = if self.has_expressions() {
            u64::try_from(self.json_values_limit).unwrap_or(u64::MAX)
        } else {
            0
        };
        let values = values.saturating_mul(JSON_VALUE_BYTES);
        body_length.saturating_mul(2).saturating_add(values)
    }

    /// An upper estimate of the steps that a body of so many bytes takes to be checked.
    pub(super) fn cost(&self, body_length: usize) -> u64 {
        let patterns: u64 = self
            .must_not_match
            .iter()
            .chain(&self.must_match)
            .map(Pattern::steps_per_byte)
            .sum();
        let expressions: Vec<_> = self
            .cel_must_be_false
            .iter()
            .chain(&self.cel_must_be_true)
            .collect();
        if expressions
            .iter()
            .any(|expression| expression.is_unbounded())
        {
            return u64::MAX;
        }
        let json = if expressions.is_empty() { 0 } else { JSON_COST };
        let length = u64::try_from(body_length).unwrap_or(u64::MAX);
        length.saturating_mul(patterns.saturating_add(json))
    }

    /// The first mismatch of `body`, without quoting it. The search ends early once `cancel` is set.
    pub(super) fn mismatch(
        &self,
        body: &[u8],
        cancel: &CancelFlag,
        steps: &Steps,
    ) -> Option<(Reason, String)> {
        let mismatch = |error| Some((Reason::BodyMismatch, error));
        let length = || counted(body.len(), "byte");
        // The result of a cancelled search is not used.
        let matches = |pattern: &Pattern| {
            let matches = pattern.matches_unless(body, || cancel.is_set());
            matches.unwrap_or_default()
        };
        for pattern in &self.must_not_match {
            let found = matches(pattern);
            steps.add(StepKind::verdict(!found), || {
                let found = if found { "matches" } else { "no match" };
                format!(
                    "fail_if_body_matches_regexp \"{pattern}\": {found} in {}",
                    length()
                )
            });
            if found {
                return mismatch(format!("the body matches \"{pattern}\""));
            }
        }
        for pattern in &self.must_match {
            let found = matches(pattern);
            steps.add(StepKind::verdict(found), || {
                let found = if found { "matches" } else { "no match" };
                format!(
                    "fail_if_body_not_matches_regexp \"{pattern}\": {found} in {}",
                    length()
                )
            });
            if !found {
                return mismatch(format!("the body does not match \"{pattern}\""));
            }
        }
        self.check_json(body, cancel, steps).err()
    }

    fn check_json(
        &self,
        body: &[u8],
        cancel: &CancelFlag,
        steps: &Steps,
    ) -> Result<(), (Reason, String)> {
        if !self.has_expressions() {
            return Ok(());
        }
        let body = json::read(body, self.json_values_limit).map_err(|wrong| match wrong {
            InvalidJson::NotJson => (Reason::JsonMismatch, "the body is not JSON".to_owned()),
            InvalidJson::TooManyValues => {
                let limit = self.json_values_limit;
                let error =
                    format!("the body has more than {limit} JSON values (json_values_limit)");
                (Reason::BodyTooLarge, error)
            }
        })?;
        let mismatch = |error| (Reason::JsonMismatch, error);
        let is_true = |key: &str, expression: &Expression, expected: bool| {
            let result = expression.evaluate(&body, cancel);
            steps.add(StepKind::verdict(result == Ok(expected)), || {
                let compared = expression.compared(&body);
                match &result {
                    Ok(result) => format!("{key} \"{expression}\": {result}{compared}"),
                    Err(error) => format!("{key}: {error}{compared}"),
                }
            });
            result.map_err(mismatch)
        };
        if let Some(cel_must_be_false) = &self.cel_must_be_false
            && is_true("fail_if_body_json_matches_cel", cel_must_be_false, false)?
        {
            return Err(mismatch(format!(
                "\"{cel_must_be_false}\" is true, expected false"
            )));
        }
        if let Some(cel_must_be_true) = &self.cel_must_be_true
            && !is_true("fail_if_body_json_not_matches_cel", cel_must_be_true, true)?
        {
            return Err(mismatch(format!(
                "\"{cel_must_be_true}\" is false, expected true"
            )));
        }
        Ok(())
    }
}

/// Steps that a byte of JSON takes: parsed, evaluated and dropped.
const JSON_COST: u64 = 10;

/// A matcher of one response header.
#[derive(Clone, Debug)]
pub(crate) struct HeaderMatcher {
    header: HeaderName,
    pattern: Pattern,
    allow_missing: bool,
    expectation: Expectation,
}

/// The expectation of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expectation {
    Present,
    Absent,
}

impl HeaderMatcher {
    /// Reads the keys `fail_if_header_…`.
    pub(super) fn read_all(fields: &mut Fields<'_>) -> Vec<Self> {
        let mut matchers = fields.list_of("fail_if_header_matches", |fields| {
            Self::read(fields, Expectation::Absent)
        });
        matchers.extend(fields.list_of("fail_if_header_not_matches", |fields| {
            Self::read(fields, Expectation::Present)
        }));
        matchers
    }

    fn read(mut fields: Fields<'_>, expectation: Expectation) -> Option<Self> {
        let name: Option<String> = fields.required("header");
        let pattern = fields.required_pattern("regexp");
        let allow_missing = fields.optional("allow_missing").unwrap_or(false);
        let header = name.and_then(|name| {
            let header = HeaderName::try_from(name);
            if header.is_err() {
                fields.add_value_problem("header", "invalid header name", "letters, digits and -");
            }
            header.ok()
        });
        fields.reject_unknown_keys();
        Some(Self {
            header: header?,
            pattern: pattern?,
            allow_missing,
            expectation,
        })
    }

    /// An upper estimate of the steps that `headers` take to be checked.
    pub(super) fn cost(&self, headers: &HeaderMap) -> u64 {
        let values = headers.get_all(&self.header).iter();
        let bytes: usize = values.map(HeaderValue::len).sum();
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        bytes.saturating_mul(self.pattern.steps_per_byte())
    }

    /// The mismatch of `headers`, without quoting their values.
    pub(super) fn mismatch(&self, headers: &HeaderMap, steps: &Steps) -> Option<String> {
        let mismatch = self.judge(headers);
        steps.add(StepKind::verdict(mismatch.is_none()), || {
            let Self {
                header, pattern, ..
            } = self;
            let key = match self.expectation {
                Expectation::Present => "fail_if_header_not_matches",
                Expectation::Absent => "fail_if_header_matches",
            };
            let values: Vec<_> = headers
                .get_all(header)
                .iter()
                .map(|value| shown_value(header, value))
                .collect();
            let values = if values.is_empty() {
                "no such header".to_owned()
            } else {
                values.join(", ")
            };
            format!("{key} {header} \"{pattern}\": {values}")
        });
        mismatch
    }

    fn judge(&self, headers: &HeaderMap) -> Option<String> {
        let Self {
            header, pattern, ..
        } = self;
        let mut values = headers.get_all(header).iter().peekable();
        if values.peek().is_none() {
            return (!self.allow_missing).then(|| format!("the header {header} is missing"));
        }
        let matches = values.any(|value| pattern.matches(value.as_bytes()));
        match (self.expectation, matches) {
            (Expectation::Absent, true) => {
                Some(format!("the header {header} matches \"{pattern}\""))
            }
            (Expectation::Present, false) => {
                Some(format!("the header {header} does not match \"{pattern}\""))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{FromNode, Node};

    fn pattern(source: &str) -> Pattern {
        Pattern::from_node(&Node::Text(source.to_owned())).expect("a pattern")
    }

    #[test]
    fn a_counted_repetition_costs_its_count() {
        let cost = |source| {
            let matchers = BodyMatchers {
                must_not_match: vec![pattern("ok"), pattern(source)],
                ..BodyMatchers::default()
            };
            matchers.cost(1000)
        };
        assert!((1_000..5_000).contains(&cost("ok")), "{}", cost("ok"));
        let counted = cost("(a{10}){20,}b");
        assert!((200_000..1_000_000).contains(&counted), "{counted}");
    }
}
