//! The values of a JSON body that an expression of CEL looks at, for the steps of a check.

use std::fmt::Write;

use cel::{
    IdedExpr, Value,
    common::ast::{Expr, LiteralValue, operators},
    objects::Key,
};

use super::json::{BODY, Expression};

/// Values that are shown of one expression, and characters of each.
const MAX_VALUES: usize = 6;
const MAX_CHARS: usize = 60;

/// One step from a value into what it holds.
enum Part<'e> {
    Field(&'e str),
    Index(usize),
}

impl Expression {
    /// The values of `body` that the expression looks at, such as `; body.status is "down"`. What loops
    /// look at is left out.
    pub(super) fn compared(&self, body: &Value) -> String {
        let mut shown = Vec::new();
        visit(self.tree(), body, &mut shown);
        shown.dedup();
        match shown.len() {
            0 => String::new(),
            _ => format!("; {}", shown.join(", ")),
        }
    }
}

fn visit(node: &IdedExpr, body: &Value, shown: &mut Vec<String>) {
    if shown.len() >= MAX_VALUES {
        return;
    }
    let mut parts = Vec::new();
    if let Some(()) = path(node, &mut parts) {
        if !parts.is_empty() {
            shown.push(describe(&parts, body));
        }
        return;
    }
    match &node.expr {
        Expr::Select(select) => visit(&select.operand, body, shown),
        Expr::Call(call) => {
            let target = call.target.as_deref();
            let parts = target.into_iter().chain(&call.args);
            parts.for_each(|part| visit(part, body, shown));
        }
        Expr::List(list) => list
            .elements
            .iter()
            .for_each(|part| visit(part, body, shown)),
        Expr::Comprehension(inner) => visit(&inner.iter_range, body, shown),
        _ => {}
    }
}

/// The way from the body to what `node` stands for, if that is a part of the body.
fn path<'e>(node: &'e IdedExpr, parts: &mut Vec<Part<'e>>) -> Option<()> {
    match &node.expr {
        Expr::Ident(name) if name == BODY => Some(()),
        Expr::Select(select) => {
            path(&select.operand, parts)?;
            parts.push(Part::Field(&select.field));
            Some(())
        }
        Expr::Call(call) if call.func_name == operators::INDEX => {
            let mut operands = call.target.as_deref().into_iter().chain(&call.args);
            path(operands.next()?, parts)?;
            let Expr::Literal(index) = &operands.next()?.expr else {
                return None;
            };
            parts.push(match index {
                LiteralValue::String(field) => Part::Field(field.inner()),
                LiteralValue::Int(index) => Part::Index(usize::try_from(*index.inner()).ok()?),
                _ => return None,
            });
            Some(())
        }
        _ => None,
    }
}

fn describe(parts: &[Part<'_>], body: &Value) -> String {
    let mut name = BODY.to_owned();
    let mut value = Some(body);
    for part in parts {
        match part {
            Part::Field(field) => {
                name.push('.');
                name.push_str(field);
                value = value.and_then(|value| match value {
                    Value::Map(map) => map
                        .map
                        .get(&Key::String(std::sync::Arc::new((*field).to_owned()))),
                    _ => None,
                });
            }
            Part::Index(index) => {
                let _ = write!(name, "[{index}]");
                value = value.and_then(|value| match value {
                    Value::List(list) => list.get(*index),
                    _ => None,
                });
            }
        }
    }
    let value = match value {
        None => "missing".to_owned(),
        Some(Value::Null) => "null".to_owned(),
        Some(Value::Bool(value)) => value.to_string(),
        Some(Value::Float(value)) => value.to_string(),
        Some(Value::String(text)) => {
            let start: String = text.chars().take(MAX_CHARS).collect();
            let more = if start.len() < text.len() { "…" } else { "" };
            format!("{start:?}{more}")
        }
        Some(Value::List(list)) => format!("a list of {}", list.len()),
        Some(Value::Map(map)) => format!("an object of {}", map.map.len()),
        Some(_) => "another value".to_owned(),
    };
    format!("{name} is {value}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{FromNode, Node};

    #[test]
    fn the_values_that_an_expression_looks_at_are_shown() {
        let body = super::super::json::read(
            br#"{"status":"down","checks":[{"ok":false},2],"n":1.5,"z":null}"#,
            100,
        )
        .unwrap_or_else(|wrong| panic!("{wrong:?}"));
        for (expression, shown) in [
            ("body.status == 'up'", "; body.status is \"down\""),
            (
                "body.checks[0].ok && body['n'] > 2.0",
                "; body.checks[0].ok is false, body.n is 1.5",
            ),
            ("has(body.x)", "; body.x is missing"),
            ("body.checks.all(x, x == 1)", "; body.checks is a list of 2"),
            ("size(body) == 3", ""),
            ("body.z.y == 1", "; body.z.y is missing"),
            ("true", ""),
        ] {
            let expression = Expression::from_node(&Node::Text(expression.to_owned()));
            assert_eq!(expression.expect("CEL").compared(&body), shown);
        }
    }
}
