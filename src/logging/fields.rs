//! The content of an event: its message, and its fields with the types that the formats distinguish.

use std::fmt::{self, Debug, Display};

use tracing::{
    Event,
    field::{Field, Visit},
};

/// A field's value, with the types that the formats distinguish.
pub(super) enum Value<'a> {
    Str(&'a str),
    Text(fmt::Arguments<'a>),
    /// A number or a boolean, which needs no escaping.
    Plain(fmt::Arguments<'a>),
    Float(f64),
}

/// Shows an event's message, if it has one.
pub(super) fn visit_message(event: &Event<'_>, each: impl FnMut(fmt::Arguments<'_>)) {
    event.record(&mut Message {
        each,
        is_seen: false,
    });
}

/// Shows an event's fields in their order, without the message.
pub(super) fn visit_fields(
    event: &Event<'_>,
    each: impl FnMut(&str, Value<'_>) -> fmt::Result,
) -> fmt::Result {
    let mut visitor = Fields {
        each,
        is_message_seen: false,
        result: Ok(()),
    };
    event.record(&mut visitor);
    visitor.result
}

/// Finds the message among an event's fields.
struct Message<F> {
    each: F,
    is_seen: bool,
}

impl<F: FnMut(fmt::Arguments<'_>)> Message<F> {
    fn take(&mut self, field: &Field, text: fmt::Arguments<'_>) {
        if !self.is_seen && field.name() == "message" {
            self.is_seen = true;
            (self.each)(text);
        }
    }
}

impl<F: FnMut(fmt::Arguments<'_>)> Visit for Message<F> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.take(field, format_args!("{value:?}"));
    }
}

/// Goes over an event's fields without the message.
struct Fields<F> {
    each: F,
    is_message_seen: bool,
    result: fmt::Result,
}

impl<F: FnMut(&str, Value<'_>) -> fmt::Result> Fields<F> {
    fn take(&mut self, field: &Field, value: Value<'_>) {
        let name = field.name();
        if !self.is_message_seen && name == "message" {
            self.is_message_seen = true;
        } else if self.result.is_ok() {
            self.result = (self.each)(name, value);
        }
    }

    fn take_plain(&mut self, field: &Field, value: impl Display) {
        self.take(field, Value::Plain(format_args!("{value}")));
    }
}

impl<F: FnMut(&str, Value<'_>) -> fmt::Result> Visit for Fields<F> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.take(field, Value::Float(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.take_plain(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.take_plain(field, value);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.take_plain(field, value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.take_plain(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.take_plain(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, Value::Str(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.take(field, Value::Text(format_args!("{value:?}")));
    }
}
