//! Translates Gatus conditions on the body to regular expressions and CEL.

use super::{
    conditions::{Condition, Operand, Operator, Subject},
    patterns::regex_of_glob,
    variables::has_reference,
};
use crate::commands::import::{durations, json_path::quoted};

/// The meaning of a condition on the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It is always true.
    Always,
    /// The body must match a regular expression.
    Matches(String),
    /// The body must not match it.
    MatchesNot(String),
    /// An expression over the JSON of the body must be true.
    Cel(String),
}

/// The judgement that `condition` on the body stands for.
///
/// # Errors
/// Why it has no equal here.
pub(super) fn judgement(condition: &Condition) -> Result<Judgement, String> {
    if texts(&condition.operand)
        .iter()
        .any(|text| has_reference(text))
    {
        return Err("a variable in a condition".to_owned());
    }
    match &condition.subject {
        Subject::Body(None) => whole_body(condition),
        Subject::Length(None) if is_not_empty(condition) => {
            Ok(Judgement::Matches(r"\S".to_owned()))
        }
        Subject::Length(None) => length(condition, "body"),
        Subject::Body(Some(path)) => compared(condition, &path.value(), &path.exists()),
        Subject::Length(Some(path)) => length(condition, &path.value()),
        Subject::Has(path) => {
            let is_wanted = match (&condition.operand, condition.operator) {
                (Operand::Literal(word), Operator::Equal) => word.parse().ok(),
                (Operand::Literal(word), Operator::Unequal) => {
                    word.parse().ok().map(|flag: bool| !flag)
                }
                _ => None,
            };
            match is_wanted {
                Some(true) => Ok(Judgement::Cel(path.exists())),
                Some(false) => Ok(Judgement::Cel(format!("!({})", path.exists()))),
                None => Err("has() compared with something else than true or false".to_owned()),
            }
        }
        _ => Err("not about the body".to_owned()),
    }
}

fn texts(operand: &Operand) -> Vec<&String> {
    match operand {
        Operand::Pattern(text) | Operand::Literal(text) => vec![text],
        Operand::Any(texts) => texts.iter().collect(),
    }
}

/// Returns whether it is `len([BODY]) > 0` in one of its forms.
fn is_not_empty(condition: &Condition) -> bool {
    let limit = match &condition.operand {
        Operand::Literal(limit) => limit.as_str(),
        _ => "",
    };
    matches!(
        (condition.operator, limit),
        (Operator::Above | Operator::Unequal, "0") | (Operator::AtLeast, "1")
    )
}

/// A condition on the body as a whole, which Gatus trims.
fn whole_body(condition: &Condition) -> Result<Judgement, String> {
    let regex = match &condition.operand {
        Operand::Pattern(pattern) => {
            let regex = regex_of_glob(pattern).replacen("(?s)^", r"(?s)^\s*", 1);
            match regex.strip_suffix('$') {
                Some(regex) => format!(r"{regex}\s*$"),
                None => regex,
            }
        }
        Operand::Literal(text) => format!(r"^\s*{}\s*$", regex_syntax::escape(text)),
        Operand::Any(options) => {
            let options: Vec<_> = options
                .iter()
                .map(|text| regex_syntax::escape(text))
                .collect();
            format!(r"^\s*(?:{})\s*$", options.join("|"))
        }
    };
    match condition.operator {
        Operator::Equal if regex == "(?s)" => Ok(Judgement::Always),
        Operator::Equal => Ok(Judgement::Matches(regex)),
        Operator::Unequal => Ok(Judgement::MatchesNot(regex)),
        _ => Err("compares the whole body with a number".to_owned()),
    }
}

/// A condition on the value `value` of the body, which is there if `exists` is true.
fn compared(condition: &Condition, value: &str, exists: &str) -> Result<Judgement, String> {
    let equal = match &condition.operand {
        Operand::Literal(text) => equality(value, text),
        Operand::Any(options) => {
            let options: Vec<_> = options.iter().map(|text| equality(value, text)).collect();
            format!("({})", options.join(" || "))
        }
        Operand::Pattern(pattern) => {
            format!("{value}.matches({})", quoted(&regex_of_glob(pattern)))
        }
    };
    let cel = match condition.operator {
        Operator::Equal => equal,
        // A value that is not there is different from all others.
        Operator::Unequal => format!("(!({exists}) || !({equal}))"),
        operator => format!("{value} {} {}", operator.symbol(), limit(condition)?),
    };
    Ok(Judgement::Cel(cel))
}

/// Texts, numbers and booleans are equal in Gatus if they are written alike.
fn equality(value: &str, text: &str) -> String {
    let is_number = text.parse::<f64>().is_ok_and(f64::is_finite)
        && text.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    if is_number || matches!(text, "true" | "false") {
        format!("({value} == {text} || {value} == {})", quoted(text))
    } else {
        format!("{value} == {}", quoted(text))
    }
}

/// A condition on the size of `value`, an array or a text.
fn length(condition: &Condition, value: &str) -> Result<Judgement, String> {
    let limit = match &condition.operand {
        Operand::Literal(limit) if limit.parse::<u32>().is_ok() => limit,
        _ => return Err("len() compared with something else than a number".to_owned()),
    };
    let symbol = condition.operator.symbol();
    Ok(Judgement::Cel(format!("size({value}) {symbol} {limit}")))
}

/// The number that `condition` compares with; a duration is milliseconds.
fn limit(condition: &Condition) -> Result<String, String> {
    let wrong = || "compares with something else than a number".to_owned();
    let Operand::Literal(text) = &condition.operand else {
        return Err(wrong());
    };
    let number = match text.parse::<f64>() {
        Ok(number) => number,
        Err(_) => durations::parse(text).ok_or_else(wrong)?.as_secs_f64() * 1000.0,
    };
    // A number of JSON is a double.
    Ok(format!("{number:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &Judgement) {
        let condition = Condition::parse(text).expect("a condition");
        assert_eq!(judgement(&condition).as_ref(), Ok(expected), "{text}");
    }

    fn cel(text: &str) -> Judgement {
        Judgement::Cel(text.to_owned())
    }

    #[test]
    fn conditions_on_json_become_cel() {
        check("[BODY].status == UP", &cel(r#"body.status == "UP""#));
        check(
            "[BODY].id == 5",
            &cel(r#"(body.id == 5 || body.id == "5")"#),
        );
        check(
            "[BODY].ok == any(true, yes)",
            &cel(r#"((body.ok == true || body.ok == "true") || body.ok == "yes")"#),
        );
        check(
            "[BODY].a != x",
            &cel(r#"(!("a" in body) || !(body.a == "x"))"#),
        );
        check("[BODY].age < 1m", &cel("body.age < 60000.0"));
        check("len([BODY].items) >= 2", &cel("size(body.items) >= 2"));
        check(
            "has([BODY].errors) == false",
            &cel(r#"!("errors" in body)"#),
        );
        check(
            "[BODY].name == pat(john*)",
            &cel(r#"body.name.matches("(?s)^john")"#),
        );
    }

    #[test]
    fn conditions_on_the_whole_body_become_regular_expressions() {
        check(
            "[BODY] == OK",
            &Judgement::Matches(r"^\s*OK\s*$".to_owned()),
        );
        check(
            "[BODY] == pat(*served by*)",
            &Judgement::Matches("(?s)served by".to_owned()),
        );
        check(
            "[BODY] != pat(a*b)",
            &Judgement::MatchesNot(r"(?s)^\s*a.*b\s*$".to_owned()),
        );
        check("[BODY] == pat(*)", &Judgement::Always);
        check("len([BODY]) > 0", &Judgement::Matches(r"\S".to_owned()));
    }

    #[test]
    fn what_has_no_equal_is_refused() {
        for text in [
            "[BODY] > 5",
            "[BODY].a < b",
            "len([BODY].a) == pat(1*)",
            "has([BODY].a) == maybe",
            "[BODY].a == ${VALUE}",
        ] {
            let condition = Condition::parse(text).expect("a condition");
            assert!(judgement(&condition).is_err(), "{text}");
        }
    }
}
