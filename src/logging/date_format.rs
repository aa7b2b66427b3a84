//! The format of `%(asctime)s`, as `datefmt` of Python's `logging`.

use std::{
    fmt::{self, Write},
    str::FromStr,
    time::Duration,
};

use chrono::{
    DateTime, Local,
    format::{Item, StrftimeItems},
};

/// Maximum size of a format.
const MAX_BYTES: usize = 200;

/// A format of local times, in the notation of strftime(3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DateFormat(Vec<Item<'static>>);

/// The reason why a text is not a format of dates.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DateFormatError {
    /// A `%` with a letter that strftime does not have.
    #[error("unknown conversion in {0:?}")]
    UnknownConversion(String),
    /// Text alone, which would make every time the same.
    #[error("no conversion such as %H in {0:?}")]
    NoConversion(String),
    /// A line break, which would split a line of the log.
    #[error("line break in {0:?}")]
    LineBreak(String),
    /// The format is too long.
    #[error("longer than {MAX_BYTES} bytes")]
    TooLong,
}

impl FromStr for DateFormat {
    type Err = DateFormatError;

    fn from_str(text: &str) -> Result<Self, DateFormatError> {
        if text.len() > MAX_BYTES {
            return Err(DateFormatError::TooLong);
        }
        let items = StrftimeItems::new(text).parse_to_owned();
        let items = items.map_err(|_| DateFormatError::UnknownConversion(text.to_owned()))?;
        let (mut is_constant, mut breaks_line) = (true, false);
        for item in &items {
            match item {
                Item::OwnedLiteral(text) | Item::OwnedSpace(text) => {
                    breaks_line |= text.contains(char::is_control);
                }
                Item::Literal(text) | Item::Space(text) => {
                    breaks_line |= text.contains(char::is_control);
                }
                _ => is_constant = false,
            }
        }
        if breaks_line {
            return Err(DateFormatError::LineBreak(text.to_owned()));
        }
        if is_constant {
            return Err(DateFormatError::NoConversion(text.to_owned()));
        }
        Ok(Self(items))
    }
}

impl DateFormat {
    /// Writes a local time.
    pub(super) fn write(&self, out: &mut impl Write, since_epoch: Duration) -> fmt::Result {
        let seconds = i64::try_from(since_epoch.as_secs()).ok();
        let time = seconds
            .and_then(|seconds| DateTime::from_timestamp(seconds, since_epoch.subsec_nanos()));
        let local = time.unwrap_or_default().with_timezone(&Local);
        write!(out, "{}", local.format_with_items(self.0.iter()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2023-11-14 22:13:20.007123 UTC.
    const MOMENT: Duration = Duration::new(1_700_000_000, 7_123_000);

    fn rendered(format: &str) -> Result<String, DateFormatError> {
        let mut text = String::new();
        let format: DateFormat = format.parse()?;
        format.write(&mut text, MOMENT).expect("a String takes all");
        Ok(text)
    }

    #[test]
    fn a_time_has_the_zone_and_the_digits_that_are_asked_for() {
        let local = DateTime::from_timestamp(1_700_000_000, 7_123_000)
            .expect("the moment exists")
            .with_timezone(&Local);
        for format in [
            "%Y-%m-%dT%H:%M:%S%z",
            "%d/%b/%Y:%H:%M:%S %:z",
            "%H:%M:%S%.3f",
            "100%% %s",
        ] {
            let expected = local.format(format).to_string();
            assert_eq!(rendered(format), Ok(expected), "{format}");
        }
        let zone = rendered("%z").expect("a format");
        assert_eq!(zone.len(), 5, "{zone}");
        assert!(rendered("%H.%3f").is_ok_and(|text| text.ends_with(".007")));
    }

    #[test]
    fn what_strftime_does_not_have_is_refused() {
        for (format, expected) in [
            ("%Y %!", "unknown conversion in \"%Y %!\""),
            ("%", "unknown conversion in \"%\""),
            ("now", "no conversion such as %H in \"now\""),
            ("", "no conversion such as %H in \"\""),
            ("%Y%n%m", "line break in \"%Y%n%m\""),
            (&"%Y".repeat(101), "longer than 200 bytes"),
        ] {
            let error = rendered(format).expect_err(format).to_string();
            assert_eq!(error, expected);
        }
    }
}
