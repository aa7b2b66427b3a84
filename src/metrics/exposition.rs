//! A page of `/metrics`, chunk by chunk: with ten thousand monitors it has fifty megabytes, which are never in
//! memory at once.

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::SystemTime};

use super::{
    daemon::{DaemonMetrics, DaemonState},
    families::FAMILIES,
    family::{Cardinality, Family, Kind, MonitorWriter, Writer},
    family_writer::{FamilyWriter, PageStyle},
    format::Syntax,
    monitor::{MonitorMetrics, MonitorSnapshot, TimeInPhase},
    otlp::{OtlpWriter, Points},
    process::ProcessStats,
    protobuf::ProtobufWriter,
    selection::{Selection, Traits},
    sink::Sink,
    text::TextWriter,
};
use crate::{
    check::State,
    telemetry::{MetricCollection, MetricPart},
};

/// The size of a chunk, which may be a little more, and in protobuf that of a family: the length of a message comes
/// before it.
const CHUNK_BYTES: usize = 256 << 10;

/// The monitors that are fetched from memory at once.
const FETCHED: usize = 16;

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
            Self::Protobuf => Sink::Protobuf(ProtobufWriter::new(page, family)),
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

/// The monitors on a page.
///
/// The values that most families need are here side by side: the monitors themselves are all over the memory, and there
/// are some thirty families.
#[derive(Default)]
struct Monitors {
    /// The types that there are monitors of.
    kinds: Vec<&'static str>,
    /// The names of all, as the page needs them.
    names: String,
    /// The phases of all.
    phases: Vec<TimeInPhase>,
    /// The traits of each entry: most families pass over many of them.
    traits: Vec<Traits>,
    entries: Vec<Entry>,
}

/// A monitor on a page.
struct Entry {
    /// The place of its type among those of the page.
    kind: usize,
    has_ended: bool,
    /// The places of its name and of its phases among those of all.
    name: Range<usize>,
    phases: Range<usize>,
    /// The time since which its checks are counted.
    since: SystemTime,
    snapshot: MonitorSnapshot,
    monitor: Arc<MonitorMetrics>,
}

impl Monitors {
    fn with_capacity(monitors: usize) -> Self {
        Self {
            // An HTTP check over TLS by name has five.
            phases: Vec::with_capacity(5 * monitors),
            traits: Vec::with_capacity(monitors),
            entries: Vec::with_capacity(monitors),
            ..Self::default()
        }
    }

    /// Adds `monitor` with its name, escaped if `is_escaped`.
    fn add(&mut self, monitor: Arc<MonitorMetrics>, is_escaped: bool, has_ended: bool) {
        let kind = self.kinds.iter().position(|kind| *kind == monitor.kind);
        let kind = kind.unwrap_or_else(|| {
            self.kinds.push(monitor.kind);
            self.kinds.len() - 1
        });
        let start = self.names.len();
        self.names.push_str(monitor.name(is_escaped));
        let first_phase = self.phases.len();
        let (snapshot, traits) = monitor.snapshot(&mut self.phases);
        self.traits.push(Traits::kind(kind) | traits);
        self.entries.push(Entry {
            kind,
            has_ended,
            name: start..self.names.len(),
            phases: first_phase..self.phases.len(),
            since: monitor.since(),
            snapshot,
            monitor,
        });
    }

    /// The entries that may have series of what `selection` is of, from the `from`-th on, with their indices.
    fn select(&self, selection: Selection, from: usize) -> impl Iterator<Item = (usize, &Entry)> {
        let traits = self.traits.iter().enumerate().skip(from);
        traits
            .filter(move |(_, traits)| selection.has(**traits))
            .map(|(index, _)| (index, &self.entries[index]))
    }

    /// Has the processor wait once for the next monitors of `selection`, from the `from`-th on, rather than for each.
    /// Returns the index after the last one of them.
    fn fetch(&self, selection: Selection, from: usize) -> usize {
        let mut next = from;
        for (index, entry) in self.select(selection, from).take(FETCHED) {
            entry.monitor.touch();
            next = index + 1;
        }
        next
    }

    /// Writes the samples that `entry` has of one family.
    fn write(&self, entry: &Entry, writer: MonitorWriter, out: &mut FamilyWriter<'_>) {
        let snapshot = &entry.snapshot;
        match writer {
            MonitorWriter::Settings(write) => write(&entry.monitor, out),
            MonitorWriter::Totals(write) => entry.monitor.write_totals(write, out),
            MonitorWriter::Snapshot(write) => write(snapshot, out),
            MonitorWriter::Slots(write) => write(&snapshot.slots, out),
            MonitorWriter::Status(write) => write(&snapshot.status, out),
            MonitorWriter::Phases(write) => write(&self.phases[entry.phases.clone()], out),
            MonitorWriter::LastCheck(write) => {
                if let Some(last) = &snapshot.last {
                    write(last, out);
                }
            }
        }
    }
}

impl Entry {
    fn is_paused(&self) -> bool {
        self.snapshot.status.state == State::Paused
    }
}

/// A page that is being written: an iterator over its chunks.
///
/// The numbers of slots are copied when the page is started, so they add up, and so are states, phases and the last
/// reports; other totals are read at the moment at which they are written. Writing a chunk takes a fraction of a
/// millisecond.
pub(crate) struct Exposition {
    monitors: Monitors,
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
        selection: Selection,
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
        let mut table = Monitors::with_capacity(monitors.size_hint().0);
        for monitor in monitors {
            table.add(monitor, form.is_escaped(), false);
        }
        for monitor in ended {
            table.add(monitor, form.is_escaped(), true);
        }
        let monitors = table;
        let of_monitors = FAMILIES.iter().rev().filter_map(|family| {
            let Writer::Monitor(writer) = family.writer else {
                return None;
            };
            let selection = Selection::new(family, style.profile, &monitors.kinds)?;
            exports(family).then_some(Part::Monitors {
                family,
                writer,
                selection,
                from: 0,
                has_head: false,
            })
        });
        let end = form.is_open_metrics().then_some(Part::End);
        let parts = end.into_iter().chain([Part::Daemon]);
        Self {
            parts: parts.chain(of_monitors).collect(),
            monitors,
            daemon,
            style,
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
                selection,
                from,
                has_head,
            } => {
                let splits = !matches!(self.form, Form::Protobuf);
                if !splits {
                    let monitors = self.monitors.select(selection, from).count();
                    chunk.reserve(monitors * message_bytes(family));
                }
                let sink = self.form.sink(chunk, family);
                let since = self.daemon.since;
                let mut out = FamilyWriter::new(sink, family, self.style, since, has_head);
                let mut fetched = from;
                for (index, entry) in self.monitors.select(selection, from) {
                    if index >= fetched && writer.reads_monitor() {
                        fetched = self.monitors.fetch(selection, index);
                    }
                    if out.page_len() >= CHUNK_BYTES && splits {
                        return Some(Part::Monitors {
                            family,
                            writer,
                            selection,
                            from: index,
                            has_head: out.finish(),
                        });
                    }
                    out.set_monitor(&self.monitors.names[entry.name.clone()], entry.since);
                    self.monitors.write(entry, writer, &mut out);
                }
                out.finish();
            }
            Part::Daemon => self.write_daemon(chunk),
            Part::End => chunk.extend_from_slice(b"# EOF\n"),
        }
        None
    }

    fn write_daemon(&mut self, chunk: &mut Vec<u8>) {
        let Monitors { kinds, entries, .. } = &self.monitors;
        let mut monitors = BTreeMap::<_, u64>::new();
        let mut checks_in_flight = 0;
        for entry in entries.iter().filter(|entry| !entry.has_ended) {
            *monitors.entry(kinds[entry.kind]).or_default() += u64::from(!entry.is_paused());
            checks_in_flight += entry.snapshot.slots.in_flight;
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

/// The bytes that a monitor takes in the message of `family`, to begin with: a message that grows is copied.
fn message_bytes(family: &Family) -> usize {
    match (family.kind, family.cardinality) {
        (Kind::Histogram, _) => 512,
        (Kind::Counter | Kind::Gauge, Cardinality::Fixed(series)) => 80 * series,
        (Kind::Counter | Kind::Gauge, _) => 240,
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
