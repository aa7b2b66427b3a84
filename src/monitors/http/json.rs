//! Evaluates CEL expressions (<https://cel.dev>) over a JSON body, which they call `body`.

use std::{
    cell::Cell,
    collections::HashMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use cel::{
    Context, Env, ExecutionError, IdedExpr, Value,
    common::{
        ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators},
        types::CelBool,
        value::CowVal,
    },
    context::VariableResolver,
    objects::{Key, Map},
};
use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};

use crate::{
    offload::CancelFlag,
    value::{FromNode, Node},
};

/// An expression that has been found to be one, of bounded depth.
#[derive(Clone)]
pub(crate) struct Expression(Arc<CompiledExpression>);

struct CompiledExpression {
    source: String,
    tree: IdedExpr,
    is_unbounded: bool,
}

/// The standard library, without times and durations.
static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// The name of the body.
pub(super) const BODY: &str = "body";

/// Name that a loop looks up at each step. No user can write it, and its dot leads past the names that are
/// bound by loops to the outermost names, whose [`StepBudget`] is asked each time.
const STEP: &str = ".@step";

/// Steps of loops that one evaluation may take: some tenths of a second.
const MAX_STEPS: u32 = 1_000_000;

/// Bytes of an expression, and how deep it may be: its evaluation is recursive.
const MAX_EXPRESSION_BYTES: usize = 2048;
const MAX_DEPTH: usize = 100;

/// Bytes of stack for the deepest expression of [`MAX_EXPRESSION_BYTES`] bytes.
const PARSER_STACK_BYTES: usize = 64 << 20;

/// An error of the CEL parser, in words instead of its lists of tokens.
fn plain_syntax_error(message: &str) -> String {
    let message = message.trim_start_matches("Syntax error: ");
    let starts = ["mismatched", "extraneous", "no viable alternative at"];
    let is_token_list = starts.iter().any(|start| message.starts_with(start));
    let Some((_, token)) = message.split_once(" input '").filter(|_| is_token_list) else {
        return message.to_owned();
    };
    let end = token.find("' expecting ").or_else(|| token.rfind('\''));
    match &token[..end.unwrap_or(token.len())] {
        "<EOF>" => "unexpected end".to_owned(),
        token => format!("unexpected {token:?}"),
    }
}

impl Expression {
    /// Compiles `source` on a thread whose stack is large enough for any source: parsing is
    /// recursive, and how deep it is, is known afterwards.
    fn parse(source: &str) -> Result<Self, String> {
        if source.len() > MAX_EXPRESSION_BYTES {
            return Err(format!("longer than {MAX_EXPRESSION_BYTES} bytes"));
        }
        let failed = |_| "cannot be compiled: no thread available".to_owned();
        thread::scope(|scope| {
            let parsing = thread::Builder::new()
                .stack_size(PARSER_STACK_BYTES)
                .spawn_scoped(scope, || Self::parse_here(source))
                .map_err(failed)?;
            let broken = |_| Err("does not compile: the compiler failed".to_owned());
            parsing.join().unwrap_or_else(broken)
        })
    }

    fn parse_here(source: &str) -> Result<Self, String> {
        let parsed = ENVIRONMENT.parser().parse(source);
        let mut tree = parsed.map_err(|errors| match errors.errors.first() {
            Some(error) => {
                let (line, column) = error.pos;
                let first = error.msg.lines().next().unwrap_or_default();
                format!(
                    "does not compile at {line}:{column}: {}",
                    plain_syntax_error(first)
                )
            }
            None => "does not compile".to_owned(),
        })?;
        let mut preparation = ExpressionRewriter::default();
        preparation.visit(&mut tree, 0)?;
        Ok(Self(Arc::new(CompiledExpression {
            source: source.to_owned(),
            tree,
            is_unbounded: preparation.is_unbounded,
        })))
    }

    pub(super) fn tree(&self) -> &IdedExpr {
        &self.0.tree
    }

    /// Returns whether it can take long for a short body: it has a loop, or compiles a pattern at each evaluation.
    pub(super) fn is_unbounded(&self) -> bool {
        self.0.is_unbounded
    }

    /// Evaluates the expression on `body`. Errors do not quote the body.
    ///
    /// The evaluation ends soon once `cancel` is set, with any result.
    pub(super) fn evaluate(&self, body: &Value, cancel: &CancelFlag) -> Result<bool, String> {
        let steps = StepBudget {
            cancel,
            taken: AtomicU32::new(0),
        };
        let mut context = Context::with_env(ENVIRONMENT.clone());
        context.set_variable_resolver(&steps);
        context.add_variable_from_value(BODY, body.clone());
        let wrong = |wrong: &str| Err(format!("\"{self}\" {wrong}"));
        let evaluate = || Value::resolve(&self.0.tree, &context);
        match catch_unwind(AssertUnwindSafe(evaluate)) {
            Ok(Ok(Value::Bool(verdict))) => Ok(verdict),
            Ok(Ok(_)) => wrong("is neither true nor false"),
            Ok(Err(error)) => wrong(&format!("cannot be evaluated: {}", describe(&error))),
            Err(panic) if panic.is::<TooManySteps>() => wrong("takes too many steps"),
            Err(panic) => resume_unwind(panic),
        }
    }
}

/// A description of the error, without the values of the body in it.
fn describe(error: &ExecutionError) -> &'static str {
    match error {
        ExecutionError::NoSuchKey(_) => "a key is missing",
        ExecutionError::IndexOutOfBounds(_) => "a list is too short",
        ExecutionError::NoSuchOverload(_)
        | ExecutionError::UnexpectedType { .. }
        | ExecutionError::UnsupportedBinaryOperator(..)
        | ExecutionError::UnsupportedTargetType { .. }
        | ExecutionError::UnsupportedIndex(..)
        | ExecutionError::ValuesNotComparable(..) => "a value is of another type",
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "it divides by 0",
        ExecutionError::Overflow(..) => "a number is too large",
        _ => "a function failed",
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.source)
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0.source, f)
    }
}

impl FromNode for Expression {
    const EXPECTED: &'static str = "a CEL expression over `body`, see https://cel.dev";

    fn from_node(node: &Node) -> Result<Self, String> {
        Self::parse(&String::from_node(node)?)
    }
}

/// Counts the steps of loops, and ends an evaluation that is cancelled or takes too many.
struct StepBudget<'s> {
    cancel: &'s CancelFlag,
    taken: AtomicU32,
}

/// Unwinds from an evaluation that has to end.
struct TooManySteps;

impl VariableResolver for StepBudget<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        if name != &STEP[1..] {
            return None;
        }
        // An error would not do: loops go on behind those.
        let taken = self.taken.fetch_add(1, Ordering::Relaxed);
        if taken >= MAX_STEPS || self.cancel.is_set() {
            resume_unwind(Box::new(TooManySteps));
        }
        Some(CowVal::owned(CelBool::from(true)))
    }
}

/// Finds names that mean nothing, and makes loops ask for [`STEP`].
#[derive(Default)]
struct ExpressionRewriter {
    bound: Vec<String>,
    is_unbounded: bool,
}

impl ExpressionRewriter {
    fn visit(&mut self, node: &mut IdedExpr, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("nested more than {MAX_DEPTH} levels deep"));
        }
        let deeper = depth + 1;
        match &mut node.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.check_name(name),
            Expr::Select(select) => self.visit(&mut select.operand, deeper),
            Expr::Call(call) => {
                check_function(&call.func_name)?;
                self.is_unbounded |= call.func_name == "matches";
                let target = call.target.as_deref_mut();
                let mut parts = target.into_iter().chain(&mut call.args);
                parts.try_for_each(|part| self.visit(part, deeper))
            }
            Expr::List(list) => {
                let mut parts = list.elements.iter_mut();
                parts.try_for_each(|part| self.visit(part, deeper))
            }
            Expr::Map(map) => map.entries.iter_mut().try_for_each(|entry| {
                let EntryExpr::MapEntry(entry) = &mut entry.expr else {
                    return Ok(());
                };
                self.visit(&mut entry.key, deeper)?;
                self.visit(&mut entry.value, deeper)
            }),
            Expr::Struct(_) => Err("structures are not supported".to_owned()),
            Expr::Comprehension(inner) => self.visit_loop(inner, deeper),
        }
    }

    fn visit_loop(&mut self, inner: &mut ComprehensionExpr, depth: usize) -> Result<(), String> {
        self.is_unbounded = true;
        self.visit(&mut inner.iter_range, depth)?;
        self.visit(&mut inner.accu_init, depth)?;
        let outside = self.bound.len();
        self.bound.push(inner.accu_var.clone());
        self.visit(&mut inner.result, depth)?;
        self.bound.push(inner.iter_var.clone());
        self.bound.extend(inner.iter_var2.clone());
        self.visit(&mut inner.loop_cond, depth)?;
        self.visit(&mut inner.loop_step, depth)?;
        self.bound.truncate(outside);
        inject_step_check(&mut inner.loop_step);
        Ok(())
    }

    fn check_name(&self, name: &str) -> Result<(), String> {
        let known = name == BODY
            || self.bound.iter().any(|bound| bound == name)
            || ENVIRONMENT.types().find_type(name).is_some();
        if known {
            return Ok(());
        }
        Err(format!("unknown name {name:?}"))
    }
}

/// Puts the question where it leaves the step's shape, by which the library knows what it can do
/// without copies.
fn inject_step_check(step: &mut IdedExpr) {
    let part = match &mut step.expr {
        Expr::Call(call) => match (&*call.func_name, &mut call.args[..]) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR, [_, operand]) => Some(operand),
            (operators::CONDITIONAL, [condition, ..]) => Some(condition),
            (operators::ADD, [_, added]) => match &mut added.expr {
                Expr::List(list) => list.elements.first_mut(),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    };
    let Some(part) = part else {
        return guard_with_step(step);
    };
    guard_with_step(part);
}

/// `part` becomes `STEP ? part : null`.
fn guard_with_step(part: &mut IdedExpr) {
    let id = part.id;
    let node = |expr| IdedExpr { id, expr };
    let step = node(Expr::Ident(STEP.to_owned()));
    let never = node(Expr::Literal(LiteralValue::Null));
    let call = CallExpr {
        func_name: operators::CONDITIONAL.to_owned(),
        target: None,
        args: vec![step, std::mem::take(part), never],
    };
    *part = node(Expr::Call(call));
}

/// Calls the function with nothing: one that there is complains of that, and not of its name.
fn check_function(name: &str) -> Result<(), String> {
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Ok(());
    }
    let context = Context::with_env(ENVIRONMENT.clone());
    let called_on = |target: Option<Expr>| {
        let target = target.map(|expr| Box::new(IdedExpr { id: 0, expr }));
        let call = CallExpr {
            func_name: name.to_owned(),
            target,
            args: Vec::new(),
        };
        let call = IdedExpr {
            id: 0,
            expr: Expr::Call(call),
        };
        let result = Value::resolve(&call, &context);
        !matches!(result, Err(ExecutionError::UndeclaredReference(_)))
    };
    let null = Expr::Literal(LiteralValue::Null);
    if called_on(None) || called_on(Some(null)) {
        return Ok(());
    }
    Err(format!("unknown function {name:?}"))
}

/// The reason why a body cannot be read as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InvalidJson {
    /// It is something else.
    NotJson,
    /// It has more values than the limit: in memory, each takes up to 250 bytes.
    TooManyValues,
}

/// Reads `body`, of at most `max_values`, as CEL sees it: all numbers are doubles, as
/// blackbox_exporter has them. A byte order mark is ignored, as RFC 8259 allows.
pub(super) fn read(body: &[u8], max_values: usize) -> Result<Value, InvalidJson> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let left = Cell::new(max_values);
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = Json(&left)
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    value.map_err(|error| {
        // An error of the data is one of ours: the parser's are of the syntax.
        if error.is_data() {
            InvalidJson::TooManyValues
        } else {
            InvalidJson::NotJson
        }
    })
}

/// Reads one value, and counts it.
#[derive(Clone, Copy)]
struct Json<'l>(&'l Cell<usize>);

impl<'de> DeserializeSeed<'de> for Json<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left = self.0.get().checked_sub(1);
        self.0
            .set(left.ok_or_else(|| D::Error::custom("too many values"))?);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Json<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "as in blackbox_exporter, and JavaScript"
    )]
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Float(value as f64))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "as in blackbox_exporter, and JavaScript"
    )]
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Float(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(Arc::new(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(Arc::new(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::List(Arc::new(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = HashMap::new();
        while let Some(key) = entries.next_key::<String>()? {
            map.insert(Key::String(Arc::new(key)), entries.next_value_seed(self)?);
        }
        Ok(Value::Map(Map { map: Arc::new(map) }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn evaluate(expression: &str, body: &str) -> Result<bool, String> {
        let expression = Expression::parse(expression)?;
        let body = read(body.as_bytes(), 1000).map_err(|wrong| format!("{wrong:?}"))?;
        expression.evaluate(&body, &CancelFlag::default())
    }

    #[test]
    fn expressions_are_true_or_false() {
        for (expression, body, expected) in [
            ("body.foo == 'bar'", r#"{"foo":"bar"}"#, true),
            ("body.foo == 'bar'", r#"{"foo":"baz"}"#, false),
            ("body.foo.bar == 1", r#"{"foo":{"bar":1}}"#, true),
            ("body.n > 1.5 && body.n * 2.0 == 6.0", r#"{"n":3}"#, true),
            ("body.n < 2", r#"{"n":1.5}"#, true),
            ("body.list[1] == 2", r#"{"list":[1,2]}"#, true),
            ("body['a-b'] == null", r#"{"a-b":null}"#, true),
            ("body == 'text'", r#""text""#, true),
            ("body", "true", true),
            ("size(body) == 3 && body.size() == 3", "[1,2,3]", true),
            ("!has(body.foo)", "{}", true),
            ("body.foo == '🦀'", r#"{"foo":"🦀"}"#, true),
            (
                "body.s.matches('^a+$') && matches(body.s, 'a')",
                r#"{"s":"aaa"}"#,
                true,
            ),
            (
                "body.s.startsWith('ab') && body.s.contains('b')",
                r#"{"s":"abc"}"#,
                true,
            ),
            ("'a' in body && !('b' in body)", r#"{"a":1}"#, true),
            ("body.all(x, x > 0)", "[1,2]", true),
            ("body.all(x, x > 1)", "[1,2]", false),
            ("body.exists(x, x > 1)", "[1,2]", true),
            ("body.exists_one(x, x > 0)", "[1,2]", false),
            ("body.filter(x, x > 1).size() == 1", "[1,2]", true),
            ("body.map(x, x * 2.0) == [2.0, 4.0]", "[1,2]", true),
            ("body.map(x, x > 1, x * 2.0) == [4.0]", "[1,2]", true),
            ("body.all(x, x.all(y, y == 1))", "[[1],[1,1]]", true),
            ("body.all(x, x in ['a', 'b'])", r#"{"a":1,"b":2}"#, true),
            ("type(body) == list && type(body[0]) == double", "[1]", true),
            ("[1, 2].map(body, body + 1) == [2, 3]", "{}", true),
        ] {
            assert_eq!(
                evaluate(expression, body),
                Ok(expected),
                "{expression} {body}"
            );
        }
    }

    #[test]
    fn an_evaluation_error_is_neither_true_nor_false() {
        for (expression, body, expected) in [
            (
                "body.foo == 1",
                "{}",
                "\"body.foo == 1\" cannot be evaluated: a key is missing",
            ),
            (
                "body[3] == 1",
                "[1]",
                "\"body[3] == 1\" cannot be evaluated: a list is too short",
            ),
            (
                "body.foo",
                r#"{"foo":"bar"}"#,
                "\"body.foo\" is neither true nor false",
            ),
            (
                "body + 1 == 2",
                "1",
                "\"body + 1 == 2\" cannot be evaluated: a value is of another type",
            ),
            ("true", "", "NotJson"),
            ("true", "hunter2", "NotJson"),
            ("true", "{} x", "NotJson"),
        ] {
            assert_eq!(
                evaluate(expression, body),
                Err(expected.to_owned()),
                "{expression}"
            );
        }
    }

    #[test]
    fn every_value_counts_towards_the_limit() {
        for (body, values) in [
            ("1", 1),
            ("[]", 1),
            ("[[],{},1]", 4),
            (r#"{"a":1,"b":[true,null,"text"]}"#, 6),
            (r#"{"a":1,"a":2}"#, 3),
        ] {
            assert!(read(body.as_bytes(), values).is_ok(), "{body}");
            let read = read(body.as_bytes(), values - 1);
            assert_eq!(read.err(), Some(InvalidJson::TooManyValues), "{body}");
        }
        assert_eq!(read(b"[1,", 9).err(), Some(InvalidJson::NotJson));
    }

    #[test]
    fn a_byte_order_mark_is_ignored() {
        assert_eq!(evaluate("body.a == 1", "\u{feff}{\"a\":1}"), Ok(true));
        assert!(evaluate("true", "\u{feff}\u{feff}1").is_err());
    }

    #[test]
    fn no_error_repeats_the_body() {
        let body = r#"{"hunter2":["hunter2"]}"#;
        for expression in [
            "body + 1 == 2",
            "body < 1",
            "body.map(x, x + 1)",
            "body.map(x, body[x])",
            "body.map(x, body[x][7])",
            "body.map(x, [1][x])",
            "body.all(x, int(x) > 1)",
            "body.all(x, 'a'.matches(x + '('))",
            "{body: 1}",
        ] {
            let wrong = evaluate(expression, body).expect_err("no verdict");
            assert!(!wrong.contains("hunter2"), "{wrong}");
        }
    }

    #[test]
    fn invalid_expressions_are_refused_when_read() {
        let wrong = |text: &str| {
            Expression::parse(text)
                .map(|_| ())
                .expect_err("no expression")
        };
        assert!(wrong("").starts_with("does not compile"), "{}", wrong(""));
        assert!(
            wrong("body.").starts_with("does not compile at 1:"),
            "{}",
            wrong("body.")
        );
        assert_eq!(wrong("foo.bar"), "unknown name \"foo\"");
        assert_eq!(wrong("body.all(x, y)"), "unknown name \"y\"");
        assert_eq!(wrong("body.all(x, x) && x"), "unknown name \"x\"");
        assert_eq!(wrong("bodi.foo"), "unknown name \"bodi\"");
        assert_eq!(wrong("foo(body)"), "unknown function \"foo\"");
        assert_eq!(wrong("body.lenght() == 1"), "unknown function \"lenght\"");
        assert_eq!(wrong("body.all(x)"), "unknown function \"all\"");
        assert_eq!(wrong(&"!".repeat(5000)), "longer than 2048 bytes");
        let sum = format!("body == {}", ["1"; 500].join(" + "));
        assert_eq!(wrong(&sum), "nested more than 100 levels deep");
        for part in [
            "(",
            "[",
            "!",
            "-",
            "1+",
            "body.",
            "body?1:",
            "body[",
            "body.all(x,",
        ] {
            let deep = part.repeat(200);
            // Whatever it is taken for, there is an end to it.
            let _ = Expression::parse(&deep);
            let _ = Expression::parse(&format!("{deep}1"));
        }
        let longest = "1+".repeat(MAX_EXPRESSION_BYTES / 2 - 1);
        assert_eq!(
            wrong(&format!("{longest}1")),
            "nested more than 100 levels deep"
        );
    }

    fn is_ended(expression: &str, cancel: bool) -> bool {
        let body = read(format!("[{}1]", "1,".repeat(2000)).as_bytes(), 9000).expect("JSON");
        let expression = Expression::parse(expression).expect("an expression");
        assert!(expression.is_unbounded());
        let flag = CancelFlag::default();
        if cancel {
            flag.set();
        }
        let result = expression.evaluate(&body, &flag);
        result.is_err_and(|error| error.ends_with("takes too many steps"))
    }

    #[test]
    fn every_loop_ends() {
        assert!(is_ended("body.all(x, body.all(y, y == 1))", false));
        for expression in [
            "body.all(x, x == 1)",
            "body.exists(x, x == 2)",
            "body.filter(x, x == 2).size() == 0",
            "body.map(x, x).size() == 0",
            "body.map(x, x == 2, x).size() == 0",
            "body.exists_one(x, x == 2)",
            "body.all(x, x.foo == 1)",
        ] {
            assert!(!is_ended(expression, false), "{expression}");
            assert!(is_ended(expression, true), "{expression}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_compiled_without_panic(text in "[a-z0-9().,\\[\\]{}<>=!&|?: '\"+*/%-]{0,40}") {
            if let Ok(expression) = Expression::parse(&text) {
                let _ = expression.evaluate(&Value::Null, &CancelFlag::default());
            }
        }

        #[test]
        fn any_body_is_parsed_without_panic(body in any::<Vec<u8>>(), depth in 0_usize..2000) {
            let _ = read(&body, 100);
            let _ = read("[".repeat(depth).as_bytes(), 5000);
        }
    }
}
