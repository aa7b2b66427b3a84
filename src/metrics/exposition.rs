//! A page of `/metrics`, chunk by chunk: with ten thousand monitors it has fifty megabytes, which are never in
//! memory at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    daemon::{DaemonMetrics, DaemonState},
    families::FAMILIES,
    family::{Family, MonitorWriter, Writer},
    family_writer::{FamilyWriter, PageStyle},
    format::Syntax,
    monitor::{MonitorMetrics, SlotCounts},
    otlp::{OtlpWriter, Points},
    process::ProcessStats,
    protobuf::ProtobufWriter,
    sink::Sink,
    text::TextWriter,
};
use crate::telemetry::{MetricCollection, MetricPart};

/// The size of a chunk, which may be a little more, and in protobuf that of a family: the length of a message comes
/// before it.
const CHUNK_BYTES: usize = 256 << 10;

/// The form of what is written.
pub(super) enum Form {
    /// A page in one of the text formats; in OpenMetrics with the times since which counters count if
    /// `has_created_samples`.
    Text {
        syntax: Syntax,
        has_created_samples: bool,
    },
    /// A page of messages.
    Protobuf,
    /// Metrics of OTLP. A family is several metrics if it is in several chunks.
    Otlp(Points),
}

impl Form {
    fn sink<'p>(&'p mut self, page: &'p mut Vec<u8>, family: &Family) -> Sink<'p> {
        match self {
            Self::Text {
                syntax,
                has_created_samples,
            } => {
                let writer = TextWriter::new(page, *syntax, *has_created_samples, family);
                Sink::Text(writer)
            }
            Self::Protobuf => Sink::Protobuf(ProtobufWriter::new(page)),
            Self::Otlp(points) => Sink::Otlp(OtlpWriter::new(page, points)),
        }
    }

    fn is_escaped(&self) -> bool {
        matches!(self, Self::Text { .. })
    }

    fn is_open_metrics(&self) -> bool {
        matches!(
            self,
            Self::Text {
                syntax: Syntax::OpenMetrics,
                ..
            }
        )
    }
}

/// A monitor on a page.
struct Entry {
    /// Its type, here too: most families are of one type, and each monitor is elsewhere in memory.
    kind: &'static str,
    has_ended: bool,
    monitor: Arc<MonitorMetrics>,
    slots: SlotCounts,
}

impl Entry {
    fn new(monitor: Arc<MonitorMetrics>, has_ended: bool) -> Self {
        Self {
            kind: monitor.kind,
            has_ended,
            slots: monitor.slots(),
            monitor,
        }
    }
}

/// A page that is being written: an iterator over its chunks.
///
/// The numbers of slots are copied when the page is started, so they add up; everything else is read at the moment at
/// which it is written. Writing a chunk takes a fraction of a millisecond.
pub(crate) struct Exposition {
    monitors: Vec<Entry>,
    daemon: DaemonMetrics,
    style: PageStyle,
    form: Form,
    /// The parts left to write, the next one last.
    parts: Vec<Part>,
}

enum Part {
    /// The samples of one family, of the monitors from the `from`-th on.
    Monitors {
        family: &'static Family,
        writer: MonitorWriter,
        from: usize,
        has_head: bool,
    },
    /// The families of the daemon.
    Daemon,
    /// The line that ends a page of OpenMetrics.
    End,
}

impl Exposition {
    /// A page of `monitors`, and of those that have `ended`, with the families that `exports` selects, and of the daemon.
    pub(super) fn new(
        monitors: impl Iterator<Item = Arc<MonitorMetrics>>,
        ended: impl Iterator<Item = Arc<MonitorMetrics>>,
        exports: impl Fn(&Family) -> bool,
        daemon: DaemonMetrics,
        style: PageStyle,
        form: Form,
    ) -> Self {
        let monitors = monitors.map(|monitor| Entry::new(monitor, false));
        let ended = ended.map(|monitor| Entry::new(monitor, true));
        let monitors: Vec<_> = monitors.chain(ended).collect();
        let kinds: BTreeSet<_> = monitors.iter().map(|entry| entry.kind).collect();
        let of_monitors = FAMILIES.iter().rev().filter_map(|family| {
            let Writer::Monitor(writer) = family.writer else {
                return None;
            };
            let has_some = kinds.iter().any(|kind| family.is_of(kind, style.profile));
            (has_some && exports(family)).then_some(Part::Monitors {
                family,
                writer,
                from: 0,
                has_head: false,
            })
        });
        Self {
            monitors,
            daemon,
            style,
            parts: [Part::End, Part::Daemon]
                .into_iter()
                .filter(|part| !matches!(part, Part::End) || form.is_open_metrics())
                .chain(of_monitors)
                .collect(),
            form,
        }
    }

    /// Returns whether there are no more chunks.
    #[must_use]
    pub(crate) fn is_finished(&self) -> bool {
        self.parts.is_empty()
    }

    /// Writes a part, or as much of it as a chunk has room for; returns what is left of it.
    fn write(&mut self, part: &Part, chunk: &mut Vec<u8>) -> Option<Part> {
        match *part {
            Part::Monitors {
                family,
                writer,
                from,
                has_head,
            } => {
                let (is_escaped, splits) =
                    (self.form.is_escaped(), !matches!(self.form, Form::Protobuf));
                let sink = self.form.sink(chunk, family);
                let since = self.daemon.since;
                let mut out = FamilyWriter::new(sink, family, self.style, since, has_head);
                for (index, entry) in self.monitors.iter().enumerate().skip(from) {
                    if out.page_len() >= CHUNK_BYTES && splits {
                        return Some(Part::Monitors {
                            family,
                            writer,
                            from: index,
                            has_head: out.finish(),
                        });
                    }
                    if !family.is_of(entry.kind, self.style.profile) {
                        continue;
                    }
                    let Entry { monitor, slots, .. } = entry;
                    out.set_monitor(monitor.name(is_escaped), monitor.since());
                    monitor.write(writer, slots, &mut out);
                }
                out.finish();
            }
            Part::Daemon => self.write_daemon(chunk),
            Part::End => chunk.extend_from_slice(b"# EOF\n"),
        }
        None
    }

    fn write_daemon(&mut self, chunk: &mut Vec<u8>) {
        let mut monitors = BTreeMap::<_, u64>::new();
        let mut checks_in_flight = 0;
        for entry in self.monitors.iter().filter(|entry| !entry.has_ended) {
            *monitors.entry(entry.kind).or_default() += u64::from(!entry.monitor.is_paused());
            checks_in_flight += entry.slots.in_flight;
        }
        let state = DaemonState {
            metrics: &self.daemon,
            monitors,
            checks_in_flight,
            process: ProcessStats::read(),
        };
        for family in FAMILIES {
            if let Writer::Daemon(write) = family.writer {
                let (sink, since) = (self.form.sink(chunk, family), self.daemon.since);
                let mut out = FamilyWriter::new(sink, family, self.style, since, false);
                write(&state, &mut out);
                out.finish();
            }
        }
    }
}

impl Iterator for Exposition {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES + (CHUNK_BYTES >> 3));
        while chunk.len() < CHUNK_BYTES
            && let Some(part) = self.parts.pop()
        {
            let rest = self.write(&part, &mut chunk);
            self.parts.extend(rest);
        }
        Some(chunk).filter(|chunk| !chunk.is_empty())
    }
}

impl MetricCollection for Exposition {
    fn next_part(&mut self) -> Option<MetricPart> {
        // A chunk of deltas that are all 0 is empty, and so is no chunk.
        let metrics = self.next()?.into();
        let points = match &mut self.form {
            Form::Otlp(points) => points.end_part(),
            Form::Text { .. } | Form::Protobuf => 0,
        };
        Some(MetricPart { metrics, points })
    }

    fn end_part(&mut self, is_accepted: bool) {
        if let Form::Otlp(points) = &mut self.form {
            if is_accepted {
                points.accept();
            } else {
                points.discard();
            }
        }
    }

    fn complete(&mut self) {
        if let Form::Otlp(points) = &mut self.form {
            points.accept();
            points.complete();
        }
    }
}
