//! Parses Gatus conditions such as `[STATUS] == 200` and `len([BODY].items) > 0`, taken apart.

use std::time::Duration;

use super::patterns;
use crate::commands::import::{durations, json_path::JsonPath};

/// A fact of the response that a condition is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// `[STATUS]`
    Status,
    /// `[RESPONSE_TIME]`
    ResponseTime,
    /// `[IP]`
    Ip,
    /// `[CONNECTED]`
    Connected,
    /// `[CERTIFICATE_EXPIRATION]`
    CertificateExpiration,
    /// `[DOMAIN_EXPIRATION]`
    DomainExpiration,
    /// `[DNS_RCODE]`
    Rcode,
    /// `[BODY]`, or a value in it.
    Body(Option<JsonPath>),
    /// `len(…)` of the body or of a value in it.
    Length(Option<JsonPath>),
    /// `has(…)` of a value in the body.
    Has(JsonPath),
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    /// `==`
    Equal,
    /// `!=`
    Unequal,
    /// `<=`
    AtMost,
    /// `>=`
    AtLeast,
    /// `>`
    Above,
    /// `<`
    Below,
}

/// The other side of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    /// `pat(…)`
    Pattern(String),
    /// `any(…)`
    Any(Vec<String>),
    /// Anything else.
    Literal(String),
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    /// The fact.
    pub subject: Subject,
    /// The comparison.
    pub(crate) operator: Operator,
    /// The value that the fact is compared with.
    pub(crate) operand: Operand,
}

/// In the order in which Gatus looks for them.
const OPERATORS: [(&str, Operator); 6] = [
    (" == ", Operator::Equal),
    (" != ", Operator::Unequal),
    (" <= ", Operator::AtMost),
    (" >= ", Operator::AtLeast),
    (" > ", Operator::Above),
    (" < ", Operator::Below),
];

impl Operator {
    /// The operator for swapped sides.
    fn swapped(self) -> Self {
        match self {
            Self::AtMost => Self::AtLeast,
            Self::AtLeast => Self::AtMost,
            Self::Above => Self::Below,
            Self::Below => Self::Above,
            same => same,
        }
    }

    /// The operator as CEL writes it.
    #[must_use]
    pub(super) fn symbol(self) -> &'static str {
        let known = OPERATORS.iter().find(|(_, operator)| *operator == self);
        known.map_or("==", |(symbol, _)| symbol.trim())
    }
}

impl Condition {
    /// The condition that `text` is.
    ///
    /// # Errors
    /// Why it is not understood.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let found = OPERATORS
            .iter()
            .find_map(|(symbol, operator)| Some((text.split_once(symbol)?, *operator)));
        let Some(((left, right), operator)) = found else {
            return Err("no comparison".to_owned());
        };
        let (left, right) = (left.trim(), right.trim());
        if let Some(subject) = Subject::parse(left)? {
            return Ok(Self {
                subject,
                operator,
                operand: Operand::parse(right)?,
            });
        }
        match Subject::parse(right)? {
            Some(subject) => Ok(Self {
                subject,
                operator: operator.swapped(),
                operand: Operand::parse(left)?,
            }),
            None => Err("compares constants".to_owned()),
        }
    }

    /// Returns whether it is true of the number `value`.
    #[must_use]
    pub(super) fn is_true_of(&self, value: i64) -> bool {
        let text = value.to_string();
        let equals = |option: &str| number(option) == Some(value) || option == text;
        let is_equal = match &self.operand {
            Operand::Pattern(pattern) => patterns::matches(pattern, &text),
            Operand::Any(options) => options.iter().any(|option| equals(option)),
            Operand::Literal(literal) => equals(literal),
        };
        let limit = match &self.operand {
            Operand::Literal(literal) => number(literal).unwrap_or(0),
            _ => 0,
        };
        match self.operator {
            Operator::Equal => is_equal,
            Operator::Unequal => !is_equal,
            Operator::AtMost => value <= limit,
            Operator::AtLeast => value >= limit,
            Operator::Above => value > limit,
            Operator::Below => value < limit,
        }
    }

    /// The duration that it compares with: a number is milliseconds.
    #[must_use]
    pub(super) fn duration(&self) -> Option<Duration> {
        let Operand::Literal(literal) = &self.operand else {
            return None;
        };
        let millis = literal.parse::<u64>().ok().map(Duration::from_millis);
        millis.or_else(|| durations::parse(literal))
    }
}

fn number(text: &str) -> Option<i64> {
    text.parse().ok()
}

impl Subject {
    /// The subject that `text` is; `None` if it is not one.
    fn parse(text: &str) -> Result<Option<Self>, String> {
        let upper = text.to_uppercase();
        let simple = match upper.as_str() {
            "[STATUS]" => Some(Self::Status),
            "[RESPONSE_TIME]" => Some(Self::ResponseTime),
            "[IP]" => Some(Self::Ip),
            "[CONNECTED]" => Some(Self::Connected),
            "[CERTIFICATE_EXPIRATION]" => Some(Self::CertificateExpiration),
            "[DOMAIN_EXPIRATION]" => Some(Self::DomainExpiration),
            "[DNS_RCODE]" => Some(Self::Rcode),
            _ => None,
        };
        if simple.is_some() {
            return Ok(simple);
        }
        if upper.starts_with("[CONTEXT]") {
            return Err("contexts of suites are not supported".to_owned());
        }
        let wrapped = |function: &str| text.strip_prefix(function)?.strip_suffix(')');
        if let Some(inner) = wrapped("len(") {
            let part = BodyPart::parse(inner).ok_or("len() of something else than the body")?;
            return Ok(Some(Self::Length(part.path())));
        }
        if let Some(inner) = wrapped("has(") {
            let path = BodyPart::parse(inner)
                .and_then(BodyPart::path)
                .ok_or("has() of something else than a value in the body")?;
            return Ok(Some(Self::Has(path)));
        }
        Ok(BodyPart::parse(text).map(|part| Self::Body(part.path())))
    }
}

/// The body, or a value in it.
enum BodyPart {
    Whole,
    Value(JsonPath),
}

impl BodyPart {
    /// The part that `[BODY]`, `[BODY].path` or `[BODY][0]` is; `None` if `text` is something else.
    fn parse(text: &str) -> Option<Self> {
        const BODY: &str = "[BODY]";
        let start = text.get(..BODY.len())?;
        if !start.eq_ignore_ascii_case(BODY) {
            return None;
        }
        match &text[BODY.len()..] {
            "" => Some(Self::Whole),
            path => JsonPath::parse(path).map(Self::Value),
        }
    }

    fn path(self) -> Option<JsonPath> {
        match self {
            Self::Whole => None,
            Self::Value(path) => Some(path),
        }
    }
}

impl Operand {
    fn parse(text: &str) -> Result<Self, String> {
        if Subject::parse(text)?.is_some() {
            return Err("compares facts of the response with each other".to_owned());
        }
        let wrapped = |function: &str| text.strip_prefix(function)?.strip_suffix(')');
        if let Some(pattern) = wrapped("pat(") {
            return Ok(Self::Pattern(pattern.to_owned()));
        }
        Ok(match wrapped("any(") {
            Some(options) => {
                let options = options.split(',').map(|option| option.trim().to_owned());
                Self::Any(options.collect())
            }
            None => Self::Literal(text.to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_taken_apart() {
        let condition = Condition::parse("len([BODY].items) > 0").expect("a condition");
        assert_eq!(
            condition.subject,
            Subject::Length(JsonPath::parse(".items"))
        );
        assert_eq!(condition.operator, Operator::Above);
        let condition = Condition::parse("500 >= [response_time]").expect("a condition");
        assert_eq!(condition.subject, Subject::ResponseTime);
        assert_eq!(condition.operator, Operator::AtMost);
        assert_eq!(condition.duration(), Some(Duration::from_millis(500)));
        for wrong in [
            "[STATUS]==200",
            "1 == 1",
            "[BODY].a == [BODY].b",
            "[CONTEXT].x == 1",
            "len([IP]) == 1",
        ] {
            assert!(Condition::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_condition_is_true_of_numbers() {
        for (text, yes, no) in [
            ("[STATUS] == 200", 200, 201),
            ("[STATUS] != 200", 201, 200),
            ("[STATUS] == any(200, 429)", 429, 430),
            ("[STATUS] == pat(2*)", 204, 304),
            ("[STATUS] < 300", 299, 300),
            ("[STATUS] >= 300", 300, 299),
        ] {
            let condition = Condition::parse(text).expect("a condition");
            assert!(condition.is_true_of(yes), "{text}");
            assert!(!condition.is_true_of(no), "{text}");
        }
    }
}
