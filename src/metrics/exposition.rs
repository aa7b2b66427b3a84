//! A page of `/metrics`, chunk by chunk: with ten thousand monitors it has fifty megabytes, which are never in
//! memory at once.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    daemon::{DaemonMetrics, DaemonState},
    families::FAMILIES,
    family::{Family, MonitorWriter, Writer},
    family_writer::{FamilyWriter, PageStyle},
    format::Syntax,
    monitor::{MonitorMetrics, SlotCounts},
    process::ProcessStats,
};

/// The size of a chunk, which may be a little more, and in protobuf that of a family: the length of a message comes
/// before it.
const CHUNK_BYTES: usize = 256 << 10;

/// A page that is being written: an iterator over its chunks.
///
/// The numbers of slots are copied when the page is started, so they add up; everything else is read at the moment at
/// which it is written. Writing a chunk takes a fraction of a millisecond.
pub(crate) struct Exposition {
    monitors: Vec<(Arc<MonitorMetrics>, SlotCounts)>,
    daemon: DaemonMetrics,
    style: PageStyle,
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
    /// A page of `monitors` with the families that `exports` selects, and of the daemon.
    pub(super) fn new(
        monitors: impl Iterator<Item = Arc<MonitorMetrics>>,
        exports: impl Fn(&Family) -> bool,
        daemon: DaemonMetrics,
        style: PageStyle,
    ) -> Self {
        let of_monitors = FAMILIES.iter().rev().filter_map(|family| {
            let Writer::Monitor(writer) = family.writer else {
                return None;
            };
            exports(family).then_some(Part::Monitors {
                family,
                writer,
                from: 0,
                has_head: false,
            })
        });
        Self {
            monitors: monitors
                .map(|monitor| {
                    let slots = monitor.slots();
                    (monitor, slots)
                })
                .collect(),
            daemon,
            style,
            parts: [Part::End, Part::Daemon]
                .into_iter()
                .filter(|part| {
                    !matches!(part, Part::End) || style.format.syntax == Syntax::OpenMetrics
                })
                .chain(of_monitors)
                .collect(),
        }
    }

    /// Returns whether there are no more chunks.
    #[must_use]
    pub(crate) fn is_finished(&self) -> bool {
        self.parts.is_empty()
    }

    /// Writes a part, or as much of it as a chunk has room for; returns what is left of it.
    fn write(&self, part: &Part, chunk: &mut Vec<u8>) -> Option<Part> {
        match *part {
            Part::Monitors {
                family,
                writer,
                from,
                has_head,
            } => {
                let syntax = self.style.format.syntax;
                let since = self.daemon.since;
                let mut out = FamilyWriter::new(chunk, family, self.style, since, has_head);
                for (index, (monitor, slots)) in self.monitors.iter().enumerate().skip(from) {
                    if out.page_len() >= CHUNK_BYTES && syntax != Syntax::Protobuf {
                        return Some(Part::Monitors {
                            family,
                            writer,
                            from: index,
                            has_head: out.has_head(),
                        });
                    }
                    if family.excepts(monitor.kind, self.style.profile) {
                        continue;
                    }
                    out.set_monitor(monitor.name(syntax), monitor.since());
                    monitor.write(writer, slots, &mut out);
                }
                out.finish();
            }
            Part::Daemon => self.write_daemon(chunk),
            Part::End => chunk.extend_from_slice(b"# EOF\n"),
        }
        None
    }

    fn write_daemon(&self, chunk: &mut Vec<u8>) {
        let mut monitors = BTreeMap::<_, u64>::new();
        let mut checks_in_flight = 0;
        for (monitor, slots) in &self.monitors {
            *monitors.entry(monitor.kind).or_default() += u64::from(!monitor.is_paused());
            checks_in_flight += slots.in_flight;
        }
        let state = DaemonState {
            metrics: &self.daemon,
            monitors,
            checks_in_flight,
            process: ProcessStats::read(),
        };
        for family in FAMILIES {
            if let Writer::Daemon(write) = family.writer {
                let since = self.daemon.since;
                let mut out = FamilyWriter::new(chunk, family, self.style, since, false);
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
