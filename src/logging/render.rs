//! Renders an event as a line: template, JSON or logfmt. All content of events is
//! escaped; the literal text of a template is not.

use std::{
    cell::RefCell,
    fmt::{self, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use memchr::memchr;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use super::{
    DateFormat, Format, Settings,
    escape::{Escaped, write_quoted, write_value},
    fields::{Value, visit_fields, visit_message},
    template::{Key, Number, Part, Spec, Template},
    time::{write_asctime, write_rfc3339},
};
use crate::text;

/// Maximum size of scratch buffers that are kept.
const MAX_SCRATCH_BYTES: usize = 16 * 1024;

/// Keys that every line has. A field of the same name gets an underscore.
const RESERVED: [&str; 4] = ["time", "level", "name", "message"];

/// Turns events into lines of one format.
pub(super) struct Renderer {
    format: Format,
    date_format: Option<DateFormat>,
    clock: fn() -> SystemTime,
}

impl Renderer {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            format: settings.format.clone(),
            date_format: settings.date_format.clone(),
            clock: SystemTime::now,
        }
    }
}

impl<S, N> FormatEvent<S, N> for Renderer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let record = Record {
            event,
            date_format: self.date_format.as_ref(),
            // A clock set before 1970 reads as 1970.
            since_epoch: (self.clock)()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
        };
        // Into a buffer first: each piece of a line would cost a call through a trait object.
        with_scratch(|line| {
            match &self.format {
                Format::Template(template) => record.write_template(line, template),
                Format::Json => record.write_json(line),
                Format::Logfmt => record.write_logfmt(line),
            }?;
            line.push('\n');
            out.write_str(line)
        })
    }
}

/// An event and when it happened.
struct Record<'a> {
    event: &'a Event<'a>,
    date_format: Option<&'a DateFormat>,
    since_epoch: Duration,
}

impl Record<'_> {
    fn write_template(&self, out: &mut impl Write, template: &Template) -> fmt::Result {
        for part in &template.parts {
            match part {
                Part::Literal(text) => out.write_str(text)?,
                Part::Placeholder(key, spec) => self.write_placeholder(out, *key, spec)?,
            }
        }
        Ok(())
    }

    fn write_placeholder(&self, out: &mut impl Write, key: Key, spec: &Spec) -> fmt::Result {
        match key {
            Key::LevelName => spec.write_text(out, self.level()),
            Key::Asctime if spec.is_plain() => self.write_time(out),
            Key::Name if spec.is_plain() => self.write_name(out),
            Key::Message if spec.is_plain() => self.write_message_with_fields(out),
            Key::ThreadName if spec.is_plain() => write_thread_name(out),
            Key::Asctime | Key::Name | Key::Message | Key::ThreadName => with_scratch(|text| {
                match key {
                    Key::Asctime => self.write_time(text),
                    Key::Name => self.write_name(text),
                    Key::Message => self.write_message_with_fields(text),
                    _ => write_thread_name(text),
                }?;
                spec.write_text(out, text)
            }),
            Key::Created | Key::Msecs | Key::Process => {
                let number = match key {
                    Key::Created => Number::Float(self.since_epoch.as_secs_f64()),
                    Key::Msecs => Number::Float(self.since_epoch.subsec_millis().into()),
                    _ => Number::Integer(std::process::id()),
                };
                with_scratch(|digits| spec.write_number(out, digits, number))
            }
        }
    }

    fn write_json(&self, out: &mut impl Write) -> fmt::Result {
        out.write_str(r#"{"time":""#)?;
        write_rfc3339(out, self.since_epoch)?;
        write!(out, r#"","level":"{}","name":""#, self.level())?;
        self.write_name(out)?;
        out.write_str(r#"","message":""#)?;
        visit_message(self.event, |message| {
            write_lossy(&mut Escaped::inside_quotes(out), message);
        });
        out.write_char('"')?;
        visit_fields(self.event, |name, value| {
            out.write_str(",\"")?;
            Escaped::inside_quotes(out).write_str(name)?;
            let collides = RESERVED.contains(&name);
            out.write_str(if collides { "_\":" } else { "\":" })?;
            match value {
                Value::Str(text) => write_quoted(out, text),
                Value::Text(text) => {
                    out.write_char('"')?;
                    write_lossy(&mut Escaped::inside_quotes(out), text);
                    out.write_char('"')
                }
                Value::Plain(value) => out.write_fmt(value),
                Value::Float(value) if value.is_finite() => {
                    write!(out, "{:?}", round_to_micros(value))
                }
                Value::Float(_) => out.write_str("null"),
            }
        })?;
        out.write_char('}')
    }

    fn write_logfmt(&self, out: &mut impl Write) -> fmt::Result {
        out.write_str("time=")?;
        write_rfc3339(out, self.since_epoch)?;
        write!(out, " level={} name=", self.level())?;
        self.write_name(out)?;
        out.write_str(" message=")?;
        with_scratch(|text| {
            visit_message(self.event, |message| write_lossy(text, message));
            write_value(out, text)
        })?;
        visit_fields(self.event, |name, value| {
            out.write_char(' ')?;
            Escaped::bare(out).write_str(name)?;
            out.write_str(if RESERVED.contains(&name) { "_=" } else { "=" })?;
            match value {
                Value::Float(value) => write!(out, "{:?}", round_to_micros(value)),
                value => write_unambiguous(out, &value),
            }
        })
    }

    /// Writes the event's message and its fields, for `%(message)s`.
    fn write_message_with_fields(&self, out: &mut impl Write) -> fmt::Result {
        let mut is_empty = true;
        visit_message(self.event, |message| {
            is_empty = false;
            write_lossy(&mut Escaped::bare(out), message);
        });
        visit_fields(self.event, |name, value| {
            if !std::mem::replace(&mut is_empty, false) {
                out.write_char(' ')?;
            }
            Escaped::bare(out).write_str(name)?;
            out.write_char('=')?;
            match value {
                Value::Float(value) => text::write_rounded(out, value),
                value => write_unambiguous(out, &value),
            }
        })
    }

    fn write_time(&self, out: &mut impl Write) -> fmt::Result {
        match self.date_format {
            Some(format) => format.write(out, self.since_epoch),
            None => write_asctime(out, self.since_epoch),
        }
    }

    fn level(&self) -> &'static str {
        match *self.event.metadata().level() {
            Level::TRACE => "TRACE",
            Level::DEBUG => "DEBUG",
            Level::INFO => "INFO",
            Level::WARN => "WARNING",
            Level::ERROR => "ERROR",
        }
    }

    fn write_name(&self, out: &mut impl Write) -> fmt::Result {
        let mut out = Escaped::inside_quotes(out);
        let mut rest = self.event.metadata().target();
        while let Some(colon) = memchr(b':', rest.as_bytes()) {
            let after = &rest[colon + 1..];
            out.write_str(&rest[..colon])?;
            let inner = after.strip_prefix(':');
            out.write_char(if inner.is_some() { '.' } else { ':' })?;
            rest = inner.unwrap_or(after);
        }
        out.write_str(rest)
    }
}

/// Writes a text of an event, as far as it can be formatted: the output never fails, so an
/// error is the text's own, and must not cost the rest of the line.
fn write_lossy(out: &mut impl Write, text: fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

fn write_thread_name(out: &mut impl Write) -> fmt::Result {
    let thread = std::thread::current();
    Escaped::bare(out).write_str(thread.name().unwrap_or("unnamed"))
}

/// Rounds a float to six decimals: more digits are noise.
fn round_to_micros(value: f64) -> f64 {
    // Beyond this a float has no digits after the sixth decimal, and the product could overflow.
    if value.abs() < 1e10 {
        (value * 1e6).round() / 1e6
    } else {
        value
    }
}

/// Writes a text so that it is distinguishable from the text after it, and any other value unchanged.
fn write_unambiguous(out: &mut impl Write, value: &Value<'_>) -> fmt::Result {
    match value {
        Value::Str(text) => write_value(out, text),
        Value::Text(text) => with_scratch(|scratch| {
            write_lossy(scratch, *text);
            write_value(out, scratch)
        }),
        Value::Plain(value) => out.write_fmt(*value),
        Value::Float(value) => write!(out, "{value}"),
    }
}

/// Lends a buffer of the thread. Nested uses get separate ones.
fn with_scratch<T>(work: impl FnOnce(&mut String) -> T) -> T {
    thread_local!(static SPARE: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) });
    let mut scratch = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
    let result = work(&mut scratch);
    if scratch.capacity() <= MAX_SCRATCH_BYTES {
        scratch.clear();
        SPARE.with_borrow_mut(|spare| spare.push(scratch));
    }
    result
}

#[cfg(test)]
mod tests {
    use std::fmt::Display;

    use chrono::{DateTime, Local};
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};
    use tracing::{debug, error, info, trace, warn};

    use super::{super::start::tests::lines, *};
    use crate::logging::filter;

    /// 2023-11-14 22:13:20.007123 UTC.
    const MOMENT: Duration = Duration::new(1_700_000_000, 7_123_000);

    /// The text that `emit` logs in a format at [`MOMENT`].
    #[track_caller]
    fn rendered(format: &str, emit: impl FnOnce()) -> String {
        let renderer = Renderer {
            format: format.parse().expect("the test's format is valid"),
            date_format: None,
            clock: || UNIX_EPOCH + MOMENT,
        };
        lines(
            filter::from_level(tracing::level_filters::LevelFilter::TRACE),
            renderer,
            emit,
        )
    }

    /// Compares what follows the name, which is the same for all.
    #[track_caller]
    fn check(emit: fn(), sentence: &str, json: &str, logfmt: &str) {
        assert_eq!(rendered("%(message)s", emit), format!("{sentence}\n"));
        let head = r#"{"time":"2023-11-14T22:13:20.007Z","level":"INFO","name":"agent.net","#;
        assert_eq!(rendered("json", emit), format!("{head}{json}}}\n"));
        let head = "time=2023-11-14T22:13:20.007Z level=INFO name=agent.net";
        assert_eq!(rendered("logfmt", emit), format!("{head} {logfmt}\n"));
    }

    #[track_caller]
    fn check_template(template: &str, expected: &str) {
        let emit = || info!(target: "agent::net", answer = 42, "Hello");
        assert_eq!(
            rendered(template, emit),
            format!("{expected}\n"),
            "{template}"
        );
    }

    fn local_time() -> String {
        let time = DateTime::<Local>::from(UNIX_EPOCH + MOMENT);
        time.format("%Y-%m-%d %H:%M:%S,%3f").to_string()
    }

    #[test]
    fn the_default_format_is_that_of_the_tutorial() {
        let emit = || {
            warn!(
                target: "monitoringdaemon::monitors::http",
                monitor = "example",
                method = "GET",
                url = %"http://example.com/",
                status = 503_u16,
                bytes = 648_u64,
                seconds = 0.0741,
                "Check failed"
            );
        };
        let time = local_time();
        assert_eq!(
            rendered(crate::logging::template::DEFAULT, emit),
            format!(
                "[{time}] [WARNING] [monitoringdaemon.monitors.http]: Check failed \
                 monitor=example method=GET url=http://example.com/ status=503 bytes=648 \
                 seconds=0.074\n"
            )
        );
    }

    #[test]
    fn every_name_has_its_value() {
        check_template("%(levelname)s", "INFO");
        check_template("%(levelname)-8s|", "INFO    |");
        check_template("%(levelname).1s|", "I|");
        check_template("%(name)s", "agent.net");
        check_template("%(name)12s|", "   agent.net|");
        check_template("%(message)s", "Hello answer=42");
        check_template("%(message)-17s|", "Hello answer=42  |");
        check_template("%(message).6s|", "Hello |");
        check_template("%(created)f", "1700000000.007123");
        check_template("%(created).3f", "1700000000.007");
        check_template("%(created)d", "1700000000");
        check_template("%(msecs)d", "7");
        check_template("%(msecs)03d", "007");
        check_template("%(msecs)s", "7.0");
        check_template("%(process)d", &std::process::id().to_string());
        check_template("%(asctime)s", &local_time());
        check_template("%(asctime).4s", &local_time()[..4]);
        check_template("100%%\t%(name)s\u{1b}[0m", "100%\tagent.net\u{1b}[0m");
    }

    #[test]
    fn a_thread_has_its_name() {
        let named = std::thread::Builder::new().name("check\n7".to_owned());
        let line = named
            .spawn(|| rendered("%(threadName)s|%(threadName)10s", || info!("")))
            .expect("a test has threads to spare")
            .join()
            .expect("rendering does not panic");
        assert_eq!(line, "check\\n7|  check\\n7\n");
    }

    #[test]
    fn only_double_colons_become_dots() {
        let lines = rendered("%(name)s", || {
            info!(target: "a::b:c::d", "");
            info!(target: "::", "");
            info!(target: ":", "");
            info!(target: "a\n", "");
        });
        assert_eq!(lines, "a.b:c.d\n.\n:\na\\n\n");
    }

    #[test]
    fn a_level_has_pythons_name() {
        let lines = rendered("%(levelname)s", || {
            trace!("");
            debug!("");
            info!("");
            warn!("");
            error!("");
        });
        assert_eq!(lines, "TRACE\nDEBUG\nINFO\nWARNING\nERROR\n");
    }

    #[test]
    fn a_number_stays_a_number() {
        check(
            || info!(target: "agent::net", a = 1_u64, b = -2_i64, c = true, d = u128::MAX, "Hi"),
            "Hi a=1 b=-2 c=true d=340282366920938463463374607431768211455",
            r#""message":"Hi","a":1,"b":-2,"c":true,"d":340282366920938463463374607431768211455"#,
            "message=Hi a=1 b=-2 c=true d=340282366920938463463374607431768211455",
        );
        check(
            || info!(target: "agent::net", a = 0.074_123_9, b = 1.0, c = -1e-9, d = 1e300_f64.ln()),
            "a=0.074 b=1.000 c=-0.000 d=690.776",
            r#""message":"","a":0.074124,"b":1.0,"c":-0.0,"d":690.775528"#,
            r#"message="" a=0.074124 b=1.0 c=-0.0 d=690.775528"#,
        );
        check(
            || info!(target: "agent::net", a = f64::NAN, b = f64::NEG_INFINITY, "Hi"),
            "Hi a=NaN b=-inf",
            r#""message":"Hi","a":null,"b":null"#,
            "message=Hi a=NaN b=-inf",
        );
    }

    #[test]
    fn a_float_of_any_size_stays_finite() {
        let line = rendered("json", || info!(a = 1e305, b = f64::MIN_POSITIVE, ""));
        assert!(line.ends_with("\"a\":1e305,\"b\":0.0}\n"), "{line}");
    }

    #[test]
    fn a_text_is_quoted_if_it_is_ambiguous() {
        check(
            || info!(target: "agent::net", a = "x y", b = %"p=q", c = ?"r", d = "", e = %'f', "Hi"),
            r#"Hi a="x y" b="p=q" c="\"r\"" d="" e=f"#,
            r#""message":"Hi","a":"x y","b":"p=q","c":"\"r\"","d":"","e":"f""#,
            r#"message=Hi a="x y" b="p=q" c="\"r\"" d="" e=f"#,
        );
    }

    #[test]
    fn an_absent_value_has_no_field() {
        check(
            || info!(target: "agent::net", a = None::<u64>, b = Some("c"), "Two words"),
            "Two words b=c",
            r#""message":"Two words","b":"c""#,
            r#"message="Two words" b=c"#,
        );
    }

    #[test]
    fn a_field_never_has_the_name_of_a_reserved_key() {
        check(
            || info!(target: "agent::net", r#type = "http", time = 1, level = 2, name = 3, "Hi"),
            "Hi type=http time=1 level=2 name=3",
            r#""message":"Hi","type":"http","time_":1,"level_":2,"name_":3"#,
            "message=Hi type=http time_=1 level_=2 name_=3",
        );
        check(
            || info!(target: "agent::net", a = 1, message = 5),
            "5 a=1",
            r#""message":"5","a":1"#,
            "message=5 a=1",
        );
        check(
            || info!(target: "agent::net", message = "second", "first"),
            "first message=second",
            r#""message":"first","message_":"second""#,
            "message=first message_=second",
        );
    }

    #[test]
    fn a_value_cannot_forge_a_line() {
        check(
            || info!(target: "agent::net", a = %"x\n[2030-01-01] \u{1b}[31m\u{202e}", "Hi\r\n"),
            r#"Hi\r\n a="x\n[2030-01-01] \u001b[31m\u202e""#,
            r#""message":"Hi\r\n","a":"x\n[2030-01-01] \u001b[31m\u202e""#,
            r#"message="Hi\r\n" a="x\n[2030-01-01] \u001b[31m\u202e""#,
        );
    }

    struct Broken;

    impl Display for Broken {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("half")?;
            Err(fmt::Error)
        }
    }

    #[test]
    fn a_value_that_fails_to_format_does_not_lose_the_line() {
        check(
            || info!(target: "agent::net", a = %Broken, b = 1, "{}", Broken),
            "half a=half b=1",
            r#""message":"half","a":"half","b":1"#,
            "message=half a=half b=1",
        );
    }

    #[test]
    fn nested_use_of_the_scratch_buffer_is_safe() {
        let text = with_scratch(|outer| {
            outer.push_str("outer");
            with_scratch(|inner| inner.push_str("inner"));
            outer.clone()
        });
        assert_eq!(text, "outer");
    }

    proptest! {
        #[test]
        fn a_line_has_no_control_character_but_its_end(message: String, text: String, number: f64) {
            let emit = || {
                info!(target: "agent::net", text, shown = %text, debugged = ?text, number, "{message}");
            };
            for format in ["%(message)s", "%(message)50.40s %(name)s", "json", "logfmt"] {
                let lines = rendered(format, emit);
                let line = lines.strip_suffix('\n').expect("a line ends");
                prop_assert!(!line.contains(char::is_control), "{line:?}");
                let reorders = line.contains(['\u{2028}', '\u{2029}', '\u{202e}', '\u{2066}']);
                prop_assert!(!reorders, "{line:?}");
            }
        }

        #[test]
        fn json_reads_back_as_the_event(message: String, text: String, whole: i64, fraction: f64) {
            let line = rendered("json", || {
                info!(text, shown = %text, whole, fraction, "{message}");
            });
            let object: Json = serde_json::from_str(&line).expect("valid JSON");
            prop_assert_eq!(&object["message"], &json!(message));
            prop_assert_eq!(&object["text"], &json!(text));
            prop_assert_eq!(&object["shown"], &json!(text));
            prop_assert_eq!(&object["whole"], &json!(whole));
            match object["fraction"].as_f64() {
                Some(read) => {
                    let tolerance = fraction.abs().mul_add(1e-15, 1e-6);
                    prop_assert!((read - fraction).abs() <= tolerance, "{read} {fraction}");
                }
                None => prop_assert!(!fraction.is_finite()),
            }
        }

        #[test]
        fn a_valid_template_renders_any_event(template in "(%\\((asctime|name|message|msecs|created|process|threadName|levelname)\\)[-0+ #]{0,2}[0-9]{0,2}(\\.[0-9]{0,2})?[sdf]| ){1,4}") {
            if template.parse::<Template>().is_ok() {
                let line = rendered(&template, || info!(a = 1, "Hi"));
                prop_assert!(line.ends_with('\n'));
            }
        }
    }
}
