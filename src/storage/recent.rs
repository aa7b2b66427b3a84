//! The last checks of a monitor in bytes.

use std::{collections::VecDeque, sync::Arc};

use super::{
    bytes::{Reader, Writer},
    journal::{read_failure, read_measurements, write_failure, write_measurements},
};
use crate::history::{PastFailure, RecentChecks, Record};

/// `checks` in bytes.
pub(super) fn encode(checks: &RecentChecks) -> Vec<u8> {
    let mut out = Writer::default();
    out.number(checks.count().into());
    out.number(checks.recent().len() as u64);
    for record in checks.recent() {
        write_record(record, &mut out);
    }
    let mut last: Option<&str> = None;
    for failure in checks.failures() {
        out.number(failure.number.into());
        write_record(&failure.record, &mut out);
        let is_same = last.replace(&failure.error) == Some(&failure.error);
        out.text(if is_same { "" } else { &failure.error });
    }
    out.0
}

/// The checks in `bytes`.
pub(super) fn decode(bytes: &[u8]) -> Option<RecentChecks> {
    let mut reader = Reader::new(bytes);
    let count = reader.small()?;
    let length: usize = reader.small()?;
    let recent: VecDeque<_> = (0..length)
        .map_while(|_| read_record(&mut reader))
        .collect();
    if recent.len() < length {
        return None;
    }
    let mut failures: VecDeque<PastFailure> = VecDeque::new();
    while !reader.is_empty() {
        let number = reader.small()?;
        let record = read_record(&mut reader)?;
        let error = match (reader.text()?, failures.back()) {
            ("", Some(last)) => last.error.clone(),
            (text, _) => Arc::from(text),
        };
        failures.push_back(PastFailure {
            number,
            record,
            error,
        });
    }
    Some(RecentChecks::new(count, recent, failures))
}

fn write_record(record: &Record, out: &mut Writer) {
    out.number(record.unix_seconds().into());
    write_measurements(record, out);
    let failure = record.failure();
    out.byte(failure.is_some().into());
    if let Some(failure) = failure {
        write_failure(failure, out);
    }
}

fn read_record(reader: &mut Reader<'_>) -> Option<Record> {
    let ended_at = reader.small()?;
    let record = read_measurements(reader, ended_at)?;
    Some(match reader.byte()? {
        0 => record,
        _ => record.with_failure(read_failure(reader)?),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::check::{Phase, Reason};

    #[test]
    fn the_last_checks_are_read_as_they_were_written() {
        let mut checks = RecentChecks::default();
        for second in 0..100 {
            let record = Record::from_compact(second, 0.5, &[(Phase::Resolve, 0x3C00)]);
            if second % 7 == 0 {
                let record = record.with_failure((Phase::Resolve, Reason::DnsFailure));
                let error = format!("error {}", second / 30);
                checks.push(record, Some(&error));
            } else {
                checks.push(record, None);
            }
        }
        let read = decode(&encode(&checks)).expect("it was written");
        assert_eq!(read, checks);
        assert_eq!(read.count(), 100);
        let none = RecentChecks::default();
        assert_eq!(decode(&encode(&none)), Some(none));
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }
}
