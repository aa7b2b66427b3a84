//! Log lines as OTLP has them: a layer beside the one that writes to stdout.

use std::{
    fmt::Debug,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    logs::v1::{LogRecord, SeverityNumber},
};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

use super::{
    batch,
    queue::Queue,
    resource::{attribute, text},
};
use crate::text::bounded;

/// Modules whose lines are exported: lines of the libraries that export would never end.
const EXPORTED_TARGETS: &str = "monitoringdaemon";

/// Bytes of a text in a line.
const MAX_TEXT_BYTES: usize = 4 << 10;

/// Queues each line while log lines are exported.
pub(crate) struct LogLayer {
    queue: Arc<Queue>,
}

impl LogLayer {
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Self { queue }
    }
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if !self.queue.is_open() || !event.metadata().target().starts_with(EXPORTED_TARGETS) {
            return;
        }
        let mut item = Vec::new();
        batch::put_item(&record(event), &mut item);
        self.queue.push(item.into());
    }
}

fn record(event: &Event<'_>) -> LogRecord {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = since_epoch.unwrap_or_default().as_nanos();
    let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
    let (number, name) = match *event.metadata().level() {
        Level::TRACE => (SeverityNumber::Trace, "TRACE"),
        Level::DEBUG => (SeverityNumber::Debug, "DEBUG"),
        Level::INFO => (SeverityNumber::Info, "INFO"),
        Level::WARN => (SeverityNumber::Warn, "WARNING"),
        Level::ERROR => (SeverityNumber::Error, "ERROR"),
    };
    let mut fields = Fields::default();
    event.record(&mut fields);
    let logger = event.metadata().target().replace("::", ".");
    fields.attributes.push(text("logger.name", logger));
    LogRecord {
        time_unix_nano: nanos,
        observed_time_unix_nano: nanos,
        severity_number: number.into(),
        severity_text: name.to_owned(),
        body: Some(AnyValue {
            value: Some(Value::StringValue(fields.message)),
        }),
        attributes: fields.attributes,
        trace_id: fields.trace_id,
        ..LogRecord::default()
    }
}

/// The fields of an event, with the types that they have.
#[derive(Default)]
struct Fields {
    message: String,
    trace_id: Vec<u8>,
    attributes: Vec<KeyValue>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        self.attributes.push(attribute(field.name(), value));
    }

    fn add_text(&mut self, field: &Field, value: String) {
        let value = bounded(value, MAX_TEXT_BYTES);
        match field.name() {
            "message" if self.message.is_empty() => self.message = value,
            "trace_id" => match u128::from_str_radix(&value, 16) {
                Ok(id) => self.trace_id = id.to_be_bytes().into(),
                Err(_) => self.add(field, Value::StringValue(value)),
            },
            _ => self.add(field, Value::StringValue(value)),
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, Value::DoubleValue(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Value::IntValue(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match i64::try_from(value) {
            Ok(value) => self.add(field, Value::IntValue(value)),
            Err(_) => self.add_text(field, value.to_string()),
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Value::BoolValue(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add_text(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add_text(field, format!("{value:?}"));
    }
}
