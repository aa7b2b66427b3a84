//! The journal: what happened in the last minutes, in the order in which it happened, before it is folded into hours,
//! days and last checks.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    bytes::{Reader, Writer},
    codes::{Account, Coded},
};
use crate::{
    check::{Phase, Reason},
    history::Record,
};

/// Something that happened to a monitor.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Event {
    /// A check ended.
    Checked { record: Record, error: ErrorNote },
    /// From now on, its time is booked to this account.
    Account(Account),
    /// It has another target from now on.
    Retargeted,
    /// It is gone.
    Stopped,
}

/// The text of the failure of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ErrorNote {
    /// It did not fail.
    None,
    /// The same as that of the failure before.
    Same,
    Text(Box<str>),
}

/// An event with its monitor and its moment.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub monitor: u32,
    pub at: Instant,
    pub event: Event,
}

/// An event as it is read, with its time since the start of its batch.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PastEntry {
    pub monitor: u32,
    pub(crate) offset: u64,
    pub event: Event,
}

const SUCCEEDED: u8 = 0;
const FAILED: u8 = 1;
const FAILED_AS_BEFORE: u8 = 2;
const ACCOUNT: u8 = 3;
const RETARGETED: u8 = 4;
const STOPPED: u8 = 5;

/// The `entries` of a batch that began at `began`, in bytes.
pub(super) fn encode(entries: &[Entry], began: Instant) -> Vec<u8> {
    let mut out = Writer(Vec::with_capacity(24 * entries.len()));
    let mut last = 0;
    for entry in entries {
        out.number(entry.monitor.into());
        // Entries of several threads may be out of order by a little.
        let offset = millis(entry.at.saturating_duration_since(began)).max(last);
        out.number(offset - last);
        last = offset;
        match &entry.event {
            Event::Checked { record, error } => {
                out.byte(match error {
                    ErrorNote::None => SUCCEEDED,
                    ErrorNote::Text(_) => FAILED,
                    ErrorNote::Same => FAILED_AS_BEFORE,
                });
                write_measurements(record, &mut out);
                if let Some(failure) = record.failure() {
                    write_failure(failure, &mut out);
                }
                if let ErrorNote::Text(text) = error {
                    out.text(text);
                }
            }
            Event::Account(account) => {
                out.byte(ACCOUNT);
                out.byte(account.code());
            }
            Event::Retargeted => out.byte(RETARGETED),
            Event::Stopped => out.byte(STOPPED),
        }
    }
    out.0
}

/// The whole milliseconds of `duration`.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Reads the entries of a batch that began at `began` in Unix milliseconds, to its end or to where it makes no sense.
pub(super) fn decode(batch: &[u8], began: i64) -> impl Iterator<Item = PastEntry> {
    let mut reader = Reader::new(batch);
    let mut offset = 0;
    std::iter::from_fn(move || {
        let monitor = reader.small()?;
        offset += reader.number()?;
        let ended_at = began.checked_add_unsigned(offset)?.div_euclid(1000);
        let ended_at = u32::try_from(ended_at).unwrap_or_default();
        let event = match reader.byte()? {
            SUCCEEDED => Event::Checked {
                record: read_measurements(&mut reader, ended_at)?,
                error: ErrorNote::None,
            },
            tag @ (FAILED | FAILED_AS_BEFORE) => {
                let record = read_measurements(&mut reader, ended_at)?;
                let record = record.with_failure(read_failure(&mut reader)?);
                let error = if tag == FAILED {
                    ErrorNote::Text(reader.text()?.into())
                } else {
                    ErrorNote::Same
                };
                Event::Checked { record, error }
            }
            ACCOUNT => Event::Account(Account::from_code(reader.byte()?)?),
            RETARGETED => Event::Retargeted,
            STOPPED => Event::Stopped,
            _ => return None,
        };
        Some(PastEntry {
            monitor,
            offset,
            event,
        })
    })
}

/// Writes the duration and the phases of a check.
pub(super) fn write_measurements(record: &Record, out: &mut Writer) {
    out.float(record.seconds());
    let reached = record.compact_phases();
    let present = reached
        .clone()
        .fold(0, |present, (phase, _)| present | 1 << phase.code());
    out.number(present);
    let mut phases: Vec<_> = reached
        .map(|(phase, spent)| (phase.code(), spent))
        .collect();
    phases.sort_unstable();
    for (_, spent) in phases {
        out.half(spent);
    }
}

pub(super) fn write_failure((phase, reason): (Phase, Reason), out: &mut Writer) {
    out.byte(phase.code());
    out.byte(reason.code());
}

/// Reads the duration and the phases of a check that ended at `ended_at`, in Unix seconds.
pub(super) fn read_measurements(reader: &mut Reader<'_>, ended_at: u32) -> Option<Record> {
    let seconds = reader.float()?;
    let present = reader.number()?;
    let mut phases = [(Phase::Resolve, 0); Phase::ALL.len()];
    let mut count = 0;
    for code in (0..u8::try_from(u64::BITS).ok()?).filter(|code| present >> code & 1 == 1) {
        *phases.get_mut(count)? = (Phase::from_code(code)?, reader.half()?);
        count += 1;
    }
    Some(Record::from_compact(ended_at, seconds, &phases[..count]))
}

pub(super) fn read_failure(reader: &mut Reader<'_>) -> Option<(Phase, Reason)> {
    let phase = Phase::from_code(reader.byte()?)?;
    Some((phase, Reason::from_code(reader.byte()?)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(failure: Option<(Phase, Reason)>) -> Record {
        let phases = [(Phase::Transfer, 0x3C01), (Phase::Connect, 0x3B80)];
        let record = Record::from_compact(1_790_000_001, 0.25, &phases);
        failure.map_or(record, |failure| record.with_failure(failure))
    }

    #[test]
    fn a_batch_is_read_as_it_was_written() {
        let began = Instant::now();
        let failure = Some((Phase::Connect, Reason::Timeout));
        let events = [
            Event::Account(Account::from_code(4).expect("a code")),
            Event::Checked {
                record: record(None),
                error: ErrorNote::None,
            },
            Event::Checked {
                record: record(failure),
                error: ErrorNote::Text("late".into()),
            },
            Event::Checked {
                record: record(failure),
                error: ErrorNote::Same,
            },
            Event::Retargeted,
            Event::Stopped,
        ];
        let entries: Vec<_> = events
            .iter()
            .enumerate()
            .map(|(index, event)| Entry {
                monitor: 300,
                at: began + Duration::from_millis(100 * index as u64),
                event: event.clone(),
            })
            .collect();
        let batch = encode(&entries, began);
        let read: Vec<_> = decode(&batch, 1_790_000_000_900).collect();
        for (index, entry) in read.iter().enumerate() {
            assert_eq!((entry.monitor, entry.offset), (300, 100 * index as u64));
            assert_eq!(entry.event, events[index]);
        }
        assert_eq!(read.len(), events.len());
        let check = encode(&entries[1..2], began);
        assert!(check.len() <= 16, "{} bytes for a check", check.len());
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(bytes: Vec<u8>) {
            let _ = decode(&bytes, 0).count();
        }
    }
}
