//! The thread that writes log lines, and the bounded queue before it: emitting never waits for
//! the output. Lines that do not fit are dropped and counted.

use std::{
    io::{self, ErrorKind, Write},
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use parking_lot::{Condvar, Mutex, MutexGuard};

/// Maximum number of bytes that wait; as many again can be on their way out.
const QUEUE_BYTES: usize = 1 << 20;

/// With this much waiting, the thread writes at once.
const BATCH_BYTES: usize = QUEUE_BYTES / 2;

/// Maximum time that a line waits for others to be written with. Waking the thread and writing cost
/// ten times as much as rendering a line, so a busy program writes many at a time.
const BATCH_WAIT: Duration = Duration::from_millis(5);

/// Pause before a full non-blocking output is tried again.
const FULL_OUTPUT_PAUSE: Duration = Duration::from_millis(10);

/// The running log; keep it as long as lines should be written.
///
/// When it is dropped, the thread writes the queued lines and ends. Dropping does not wait for that.
#[derive(Debug)]
#[must_use = "without it no line is written"]
pub(crate) struct Logging {
    queue: Arc<Queue>,
}

/// Counts dropped lines: the output was blocked or failed, or the log had ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct DroppedLines(Arc<AtomicU64>);

impl DroppedLines {
    /// The number of dropped lines since the start.
    #[must_use]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, lines: u64) {
        self.0.fetch_add(lines, Ordering::Relaxed);
    }
}

impl Logging {
    /// Starts the thread that writes to a sink.
    pub(super) fn new(sink: impl Write + Send + 'static) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let output = WriterThread {
            sink,
            queue: Arc::clone(&queue),
            ends_in_mid_line: false,
        };
        thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || output.run())?;
        Ok(Self { queue })
    }

    /// The queue of lines; every `write` is one whole line.
    pub(super) fn queue(&self) -> Arc<Queue> {
        Arc::clone(&self.queue)
    }

    /// The counter of dropped lines, which outlives this value.
    #[must_use]
    pub(crate) fn dropped(&self) -> DroppedLines {
        self.queue.dropped.clone()
    }

    /// Takes no further lines and waits until every queued one is written, at most for `timeout`.
    pub(crate) fn finish(self, timeout: Duration) {
        self.queue.close();
        let mut state = self.queue.lock();
        let ended = &self.queue.ended;
        ended.wait_while_for(&mut state, |state| !state.is_ended, timeout);
        state.gave_up = true;
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// Lines on their way from the threads that emit them to the one that writes them.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Signals that there is a line and the thread sleeps, a batch is full, or there will be no more lines.
    filled: Condvar,
    /// Signals that the thread has ended.
    ended: Condvar,
    dropped: DroppedLines,
}

#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is true or false independently of the others"
)]
struct State {
    lines: Vec<u8>,
    /// Number of lines.
    count: usize,
    /// True if the thread sleeps until it is woken, and not just for the time of a batch.
    is_asleep: bool,
    is_closed: bool,
    is_ended: bool,
    /// True once the rest of the lines is given up.
    gave_up: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.is_closed || state.lines.len() + line.len() > QUEUE_BYTES {
            drop(state);
            self.dropped.add(1);
            return;
        }
        let before = state.lines.len();
        state.lines.extend_from_slice(line);
        state.count += 1;
        let after = state.lines.len();
        let was_asleep = mem::take(&mut state.is_asleep);
        drop(state);
        if was_asleep || before < BATCH_BYTES && after >= BATCH_BYTES {
            self.filled.notify_one();
        }
    }

    /// Swaps a batch of lines for an empty buffer. Returns false if there will be no more lines.
    ///
    /// Waking the thread is expensive, so a thread that `is_busy`, whose last batch had several lines, waits
    /// for the time of a batch, and is not woken.
    fn take(&self, empty: &mut Vec<u8>, is_busy: &mut bool) -> bool {
        let mut state = self.lock();
        loop {
            if !*is_busy {
                state.is_asleep = true;
                let is_to_sleep = |state: &mut State| state.lines.is_empty() && !state.is_closed;
                self.filled.wait_while(&mut state, is_to_sleep);
                state.is_asleep = false;
            }
            let is_to_wait =
                |state: &mut State| state.lines.len() < BATCH_BYTES && !state.is_closed;
            self.filled
                .wait_while_for(&mut state, is_to_wait, BATCH_WAIT);
            *is_busy = mem::take(&mut state.count) > 1;
            if !state.lines.is_empty() || state.is_closed {
                break;
            }
        }
        mem::swap(&mut state.lines, empty);
        !empty.is_empty()
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.filled.notify_one();
    }
}

impl Write for &Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The thread's side of the queue.
struct WriterThread<W> {
    sink: W,
    queue: Arc<Queue>,
    /// True if a failed write left a partial line behind.
    ends_in_mid_line: bool,
}

impl<W: Write> WriterThread<W> {
    fn run(mut self) {
        // Even if the sink panics, `finish` does not wait for ever.
        let _ended = EndGuard(Arc::clone(&self.queue));
        let (mut lines, mut is_busy) = (Vec::new(), false);
        while self.queue.take(&mut lines, &mut is_busy) {
            self.write_lines(&lines);
            lines.clear();
        }
    }

    fn write_lines(&mut self, lines: &[u8]) {
        let mut rest = lines;
        let mut result = Ok(());
        if self.ends_in_mid_line {
            result = self.write_all(&mut b"\n".as_slice());
            self.ends_in_mid_line = result.is_err();
        }
        if result.is_ok() {
            result = self.write_all(&mut rest);
        }
        if result.is_err() {
            let written = &lines[..lines.len() - rest.len()];
            self.ends_in_mid_line |= written.last().is_some_and(|&byte| byte != b'\n');
            let lost = rest.split_inclusive(|&byte| byte == b'\n').count();
            self.queue.dropped.add(lost as u64);
        }
    }

    /// Writes `rest` and shortens it by the bytes that were written, even if it fails.
    fn write_all(&mut self, rest: &mut &[u8]) -> io::Result<()> {
        while !rest.is_empty() {
            match self.sink.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => *rest = &rest[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.queue.lock().gave_up {
                        return Err(error);
                    }
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "this thread is the log's alone, and has no runtime"
                    )]
                    thread::sleep(FULL_OUTPUT_PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Signals the end of the thread to the queue, however it ended.
struct EndGuard(Arc<Queue>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_closed = true;
        state.is_ended = true;
        drop(state);
        self.0.ended.notify_all();
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_types,
    reason = "the writer's patience is real time"
)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Read},
        os::unix::net::UnixStream,
        sync::mpsc,
        time::Instant,
        vec,
    };

    use super::*;
    use crate::logging::{Settings, start::subscriber};

    /// Longer than anything here takes, so that only a hang reaches it.
    const LONG: Duration = Duration::from_mins(1);

    /// The action of a scripted sink at one `write`.
    enum Step {
        Take(usize),
        Fail(ErrorKind),
    }

    use Step::{Fail, Take};

    /// A sink that follows a script, then takes everything, and tells what it was given.
    struct Script {
        steps: vec::IntoIter<Step>,
        sender: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (result, taken) = match self.steps.next() {
                Some(Fail(kind)) => (Err(kind.into()), 0),
                Some(Take(most)) => (Ok(most.min(bytes.len())), most.min(bytes.len())),
                None => (Ok(bytes.len()), bytes.len()),
            };
            self.sender
                .send(bytes[..taken].to_vec())
                .expect("the test listens to the end");
            result
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Emits two lines, and once the sink was called `calls` times, a third.
    #[track_caller]
    fn check(steps: Vec<Step>, calls: usize, expected: &str, dropped: u64) {
        let (sender, written) = mpsc::channel();
        let steps = steps.into_iter();
        let logging = Logging::new(Script { steps, sender }).expect("a test has threads to spare");
        let counter = logging.dropped();
        logging.queue.push(b"one\ntwo\n");
        let mut bytes: Vec<u8> = written.iter().take(calls).flatten().collect();
        logging.queue.push(b"three\n");
        logging.finish(LONG);
        bytes.extend(written.iter().flatten());
        assert_eq!(String::from_utf8_lossy(&bytes), expected);
        assert_eq!(counter.get(), dropped);
    }

    /// Emits numbered events until a thousand were dropped, and says how many there were.
    fn flood(logging: &Logging) -> u64 {
        let settings = Settings {
            format: "%(message)s".parse().expect("the template is valid"),
            ..Settings::default()
        };
        let mut emitted = 0;
        tracing::subscriber::with_default(subscriber(&settings, logging.queue()), || {
            while logging.dropped().get() < 1000 {
                tracing::info!(number = emitted, "{:64}", "A line of some length");
                emitted += 1;
            }
        });
        emitted
    }

    #[test]
    fn a_slow_output_gets_everything() {
        check(vec![], 1, "one\ntwo\nthree\n", 0);
        check(vec![Take(1), Take(4), Take(2)], 4, "one\ntwo\nthree\n", 0);
        check(
            vec![Fail(ErrorKind::Interrupted)],
            1,
            "one\ntwo\nthree\n",
            0,
        );
        check(
            vec![
                Take(2),
                Fail(ErrorKind::WouldBlock),
                Fail(ErrorKind::WouldBlock),
            ],
            4,
            "one\ntwo\nthree\n",
            0,
        );
    }

    #[test]
    fn a_failing_output_drops_only_its_lines() {
        check(vec![Fail(ErrorKind::BrokenPipe)], 1, "three\n", 2);
        check(vec![Take(0)], 1, "three\n", 2);
        check(
            vec![Take(4), Fail(ErrorKind::StorageFull)],
            2,
            "one\nthree\n",
            1,
        );
    }

    #[test]
    fn a_line_after_a_partial_one_starts_on_a_new_line() {
        let full = || Fail(ErrorKind::StorageFull);
        check(vec![Take(5), full()], 2, "one\nt\nthree\n", 1);
        check(vec![Take(2), full()], 2, "on\nthree\n", 2);
        check(vec![Take(5), full(), full()], 2, "one\nt", 2);
    }

    #[test]
    fn a_blocked_output_blocks_no_logger() {
        let (reader, writer) = io::pipe().expect("a test has descriptors to spare");
        let logging = Logging::new(writer).expect("a test has threads to spare");
        flood(&logging);
        let start = Instant::now();
        logging.finish(Duration::from_millis(50));
        assert!(start.elapsed() >= Duration::from_millis(50));
        assert!(start.elapsed() < LONG);
        drop(reader);
    }

    /// Reads an output again after it was blocked for long.
    #[track_caller]
    fn check_flow(reader: impl Read, sink: impl Write + Send + 'static) {
        let logging = Logging::new(sink).expect("a test has threads to spare");
        let kept = flood(&logging) - logging.dropped().get();
        let mut lines = BufReader::new(reader)
            .lines()
            .map(|line| line.expect("text"));
        let mut last = None;
        for _ in 0..kept {
            let line = lines.next().expect("every line that was kept comes");
            let (sentence, number) = line.split_once(" number=").expect("a whole line");
            assert_eq!(sentence, format!("{:64}", "A line of some length"));
            let number: u64 = number.parse().expect("a whole line");
            assert!(Some(number) > last, "{number} after {last:?}");
            last = Some(number);
        }
        logging.queue.push(b"after\n");
        assert_eq!(lines.next().as_deref(), Some("after"));
        logging.finish(LONG);
        assert_eq!(lines.next(), None);
    }

    #[test]
    fn lines_are_complete_after_a_blocked_output_is_read_again() {
        let (reader, writer) = io::pipe().expect("a test has descriptors to spare");
        check_flow(reader, writer);
        let (reader, writer) = UnixStream::pair().expect("a test has descriptors to spare");
        writer.set_nonblocking(true).expect("a socket can");
        check_flow(reader, writer);
    }

    #[test]
    fn a_full_nonblocking_output_is_given_up_at_the_end() {
        struct Full(mpsc::Sender<()>);
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                self.0.send(()).expect("the test listens to the end");
                Err(ErrorKind::WouldBlock.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (sender, tries) = mpsc::channel();
        let logging = Logging::new(Full(sender)).expect("a test has threads to spare");
        logging.queue.push(b"line\n");
        assert_eq!(tries.recv_timeout(LONG), Ok(()));
        logging.finish(Duration::ZERO);
        // The channel closes when the thread ends.
        assert!(tries.iter().take(1000).count() < 1000);
    }

    #[test]
    fn dropping_the_log_leaves_the_queued_lines_to_the_thread() {
        let (mut reader, writer) = io::pipe().expect("a test has descriptors to spare");
        let logging = Logging::new(writer).expect("a test has threads to spare");
        let queue = logging.queue();
        queue.push(b"before\n");
        let dropped = logging.dropped();
        drop(logging);
        queue.push(b"after\n");
        let mut lines = String::new();
        reader
            .read_to_string(&mut lines)
            .expect("a pipe is read to its end");
        assert_eq!(lines, "before\n");
        assert_eq!(dropped.get(), 1);
    }

    #[test]
    fn a_line_longer_than_the_queue_is_dropped_whole() {
        let (sender, written) = mpsc::channel();
        let steps = vec![].into_iter();
        let logging = Logging::new(Script { steps, sender }).expect("a test has threads to spare");
        let dropped = logging.dropped();
        logging.queue.push(&vec![b'a'; QUEUE_BYTES + 1]);
        logging.queue.push(b"short\n");
        logging.finish(LONG);
        assert_eq!(written.iter().flatten().collect::<Vec<_>>(), b"short\n");
        assert_eq!(dropped.get(), 1);
    }

    #[test]
    fn a_sink_that_panics_does_not_keep_finish_waiting() {
        let (sender, written) = mpsc::channel();
        drop(written);
        let steps = vec![].into_iter();
        let logging = Logging::new(Script { steps, sender }).expect("a test has threads to spare");
        logging.queue.push(b"line\n");
        let start = Instant::now();
        logging.finish(LONG);
        assert!(start.elapsed() < LONG);
    }

    #[test]
    fn the_thread_has_a_name() {
        struct Tell(mpsc::Sender<Option<String>>);
        impl Write for Tell {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let name = thread::current().name().map(str::to_owned);
                self.0.send(name).expect("the test listens to the end");
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (sender, names) = mpsc::channel();
        let logging = Logging::new(Tell(sender)).expect("a test has threads to spare");
        logging.queue.push(b"line\n");
        assert_eq!(names.recv(), Ok(Some("log-writer".to_owned())));
    }
}
