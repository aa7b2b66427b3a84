//! Repairs heads of HTTP/1 responses that browsers and curl accept and hyper does not.
//!
//! hyper's own options handle folded lines, spaces before a colon, and lines that are not
//! headers. Here are an empty Content-Length, chunks under HTTP/1.0, control characters in the reason
//! phrase, and more lines than hyper takes without an allocation for each response.

use std::{
    borrow::Cow,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::BufMut;
use http::{HeaderName, HeaderValue};
use memchr::{memchr, memchr_iter};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use crate::net::{MeasuredStream, echo::SentWords};

/// Bytes of a head, beyond which hyper is left to refuse it.
pub(super) const MAX_HEAD_BYTES: usize = 1 << 20;

/// Lines of a response's headers, beyond which hyper is left to refuse it.
pub(super) const MAX_LINES: usize = 1_024;

/// Lines that hyper gets. By default it takes 100.
const MAX_PASSED_LINES: usize = 96;

/// Headers that hyper needs to know where the body ends, in lower case.
const FRAMING_HEADERS: [&[u8]; 3] = [b"connection", b"content-length", b"transfer-encoding"];

/// The beginning of an alert, with which a server that expects TLS answers (RFC 8446, section 5.1).
const TLS_ALERT: [u8; 2] = [21, 3];

/// Bytes per read until the head is complete.
const READ_BYTES: usize = 4 << 10;

/// Bytes of a head that are kept to quote from.
const MAX_KEPT_BYTES: usize = 16 << 10;

/// A stream whose response has a head that hyper accepts.
pub(super) struct LenientStream {
    stream: MeasuredStream,
    log: Arc<HeadLog>,
    /// Received, and not passed on yet.
    pending: Vec<u8>,
    /// Number of bytes of `pending` that may be passed on.
    ready: usize,
    /// The search for the end of a head in the rest of `pending`.
    search: HeadSearch,
    /// True if the rest of the stream is passed on unchanged.
    in_body: bool,
}

/// Log of the head of a response.
#[derive(Default)]
pub(super) struct HeadLog(Mutex<Head>);

#[derive(Default)]
struct Head {
    /// The beginning, as it was received.
    received: Vec<u8>,
    /// True if HTTP/1.0 was passed on as HTTP/1.1.
    is_http10: bool,
    /// Headers that were not passed on.
    surplus: Vec<(HeaderName, HeaderValue)>,
}

impl HeadLog {
    /// Restores the response that the peer sent.
    pub(super) fn restore<B>(&self, response: &mut http::Response<B>) {
        let mut head = self.0.lock();
        if head.is_http10 {
            *response.version_mut() = http::Version::HTTP_10;
        }
        for (name, value) in head.surplus.drain(..) {
            response.headers_mut().append(name, value);
        }
    }

    /// The problem of a head that hyper refused, quoted without words that were sent.
    pub(super) fn complaint(&self, sent: &SentWords) -> Option<String> {
        let head = self.0.lock();
        if head.received.starts_with(&TLS_ALERT) {
            return Some("the peer speaks TLS, expected HTTP".to_owned());
        }
        let mut lines = head.received.split(|byte| *byte == b'\n');
        let status_line = lines.next().unwrap_or_default().trim_ascii_end();
        if !is_status_line(status_line) {
            let quote = sent.quote(status_line);
            return Some(format!("expected an HTTP status line, found {quote}"));
        }
        let (number, line) = (2..).zip(lines).find(|(_, line)| is_wrong(line))?;
        let quote = sent.quote(line.trim_ascii_end());
        Some(format!("header line {number} is malformed: {quote}"))
    }
}

impl LenientStream {
    pub(super) fn new(stream: MeasuredStream) -> (Self, Arc<HeadLog>) {
        let log = Arc::new(HeadLog::default());
        let lenient = Self {
            stream,
            log: log.clone(),
            pending: Vec::new(),
            ready: 0,
            search: HeadSearch::default(),
            in_body: false,
        };
        (lenient, log)
    }

    /// Searches the pending bytes for complete heads.
    fn advance(&mut self) {
        while !self.in_body {
            // Empty lines may come before a head (RFC 9112, section 2.2).
            let is_blank = |byte: &&u8| matches!(byte, b'\r' | b'\n');
            let rest = self.pending[self.ready..].iter();
            let blank = rest.take_while(is_blank).count();
            self.pending.drain(self.ready..self.ready + blank);
            let rest = &self.pending[self.ready..];
            let Some(length) = self.search.next(rest) else {
                // Data that does not begin like HTTP never will, and hyper refuses a head that is too long.
                let is_http = b"HTTP/".starts_with(&rest[..rest.len().min(5)]);
                if !is_http || rest.len() > MAX_HEAD_BYTES {
                    self.finish(rest.len());
                }
                return;
            };
            self.search = HeadSearch::default();
            let head = &rest[..length];
            let is_final = !is_interim(head);
            if is_final {
                self.log.0.lock().received = head[..length.min(MAX_KEPT_BYTES)].to_vec();
            }
            if let Some(mended) = mend(head, &self.log) {
                let rest = self.pending.split_off(self.ready + length);
                self.pending.truncate(self.ready);
                self.pending.extend_from_slice(&mended);
                self.ready = self.pending.len();
                self.pending.extend_from_slice(&rest);
            } else {
                self.ready += length;
            }
            if is_final {
                self.in_body = true;
                self.ready = self.pending.len();
            }
        }
    }

    /// Passes everything on unchanged.
    fn finish(&mut self, length: usize) {
        let start = &self.pending[self.ready..];
        self.log.0.lock().received = start[..length.min(MAX_KEPT_BYTES)].to_vec();
        self.in_body = true;
        self.ready = self.pending.len();
    }

    /// Passes on the bytes that are ready.
    fn take_ready(&mut self, buffer: &mut ReadBuf<'_>) {
        let count = self.ready.min(buffer.remaining());
        buffer.put_slice(&self.pending[..count]);
        self.pending.drain(..count);
        self.ready -= count;
        if self.in_body && self.pending.is_empty() {
            self.pending = Vec::new();
        }
    }
}

impl AsyncRead for LenientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.ready == 0 {
            if this.in_body {
                return Pin::new(&mut this.stream).poll_read(context, buffer);
            }
            this.pending.reserve(READ_BYTES);
            let stream = Pin::new(&mut this.stream);
            let received = &mut (&mut this.pending).limit(READ_BYTES);
            if ready!(poll_read_buf(stream, context, received))? == 0 {
                this.finish(this.pending.len());
                if this.ready == 0 {
                    return Poll::Ready(Ok(()));
                }
                break;
            }
            this.advance();
        }
        this.take_ready(buffer);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LenientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What is closed next needs no shutdown, unless TLS has a word to say.
        if self.stream.is_tls() {
            Pin::new(&mut self.stream).poll_shutdown(context)
        } else {
            Poll::Ready(Ok(()))
        }
    }
}

/// The search for the end of a head that comes in pieces: each byte is examined once.
#[derive(Default)]
struct HeadSearch {
    /// Start of the last line.
    line: usize,
    /// Number of bytes that have been searched.
    searched: usize,
}

impl HeadSearch {
    /// The length of the head that `bytes` begin with, the empty line at its end included.
    ///
    /// `bytes` are those of the last call and what came after them.
    fn next(&mut self, bytes: &[u8]) -> Option<usize> {
        loop {
            let rest = &bytes[self.searched..];
            let Some(length) = memchr(b'\n', rest) else {
                self.searched = bytes.len();
                return None;
            };
            let end = self.searched + length;
            let is_empty = matches!(&bytes[self.line..end], b"" | b"\r");
            self.searched = end + 1;
            self.line = self.searched;
            if is_empty {
                return Some(self.searched);
            }
        }
    }
}

/// Returns whether another head follows (RFC 9110, section 15.2).
fn is_interim(head: &[u8]) -> bool {
    let head = head.trim_ascii_start();
    let code = head
        .strip_prefix(b"HTTP/1.")
        .and_then(|rest| rest.get(2..5));
    matches!(code, Some([b'1', ..])) && code != Some(b"101")
}

/// `head` as hyper accepts it, if there is anything to mend.
fn mend(head: &[u8], log: &HeadLog) -> Option<Vec<u8>> {
    let mut lines = lines(head);
    let status_line = lines.next()?;
    let is_http10 = status_line.starts_with(b"HTTP/1.0 ");
    let has_chunks = is_http10
        && lines
            .clone()
            .any(|line| value_of(line, b"transfer-encoding").is_some());
    let is_superfluous =
        |line: &[u8]| value_of(line, b"content-length").is_some_and(<[u8]>::is_empty);
    let status_line = printable(status_line);
    let has_surplus = (MAX_PASSED_LINES..MAX_LINES).contains(&lines.clone().count());
    if !has_chunks
        && !has_surplus
        && matches!(status_line, Cow::Borrowed(_))
        && !lines.clone().any(is_superfluous)
    {
        return None;
    }
    let mut mended = status_line.into_owned();
    if has_chunks {
        mended[b"HTTP/1.".len()] = b'1';
        log.0.lock().is_http10 = true;
    }
    let mut lines = lines.filter(|line| !is_superfluous(line));
    if has_surplus {
        let surplus = pass_some(&mut lines, &mut mended);
        log.0.lock().surplus = surplus;
    }
    for line in lines {
        mended.extend_from_slice(line);
    }
    Some(mended)
}

/// The lines of `head`, each with its end.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    memchr_iter(b'\n', head).scan(0, |start, end| {
        let line = &head[*start..=end];
        *start = end + 1;
        Some(line)
    })
}

/// Adds some of `lines`, and all that hyper needs, to `passed`. Returns the headers in the others.
fn pass_some<'l>(
    lines: &mut impl Iterator<Item = &'l [u8]>,
    passed: &mut Vec<u8>,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut surplus: Vec<Vec<u8>> = Vec::new();
    let mut is_last_passed = true;
    for (number, line) in lines.enumerate() {
        let is_end = line.trim_ascii().is_empty();
        let is_continuation = line.starts_with(b" ") || line.starts_with(b"\t");
        let is_framing = || {
            FRAMING_HEADERS
                .iter()
                .any(|name| value_of(line, name).is_some())
        };
        if !is_continuation {
            is_last_passed = number < MAX_PASSED_LINES / 2 || is_end || is_framing();
        }
        match surplus.last_mut() {
            _ if is_last_passed => passed.extend_from_slice(line),
            Some(folded) if is_continuation => {
                folded.push(b' ');
                folded.extend_from_slice(line.trim_ascii());
            }
            _ => surplus.push(line.trim_ascii_end().to_vec()),
        }
    }
    surplus.iter().filter_map(|line| header(line)).collect()
}

/// The header in `line`, if it is one.
fn header(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
    let name = HeaderName::from_bytes(name).ok()?;
    Some((name, HeaderValue::from_bytes(value).ok()?))
}

/// The value in `line`, if it is of the header `name`.
fn value_of<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    let (known, rest) = line.split_at_checked(name.len())?;
    if !known.eq_ignore_ascii_case(name) {
        return None;
    }
    let value = rest.trim_ascii_start().strip_prefix(b":")?;
    Some(value.trim_ascii())
}

/// `line` with spaces in place of control characters.
fn printable(line: &[u8]) -> Cow<'_, [u8]> {
    let (text, end) = line.split_at(line.trim_ascii_end().len());
    let is_control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
    if !text.iter().any(is_control) {
        return Cow::Borrowed(line);
    }
    let text = text
        .iter()
        .map(|byte| if is_control(byte) { b' ' } else { *byte });
    Cow::Owned(text.chain(end.iter().copied()).collect())
}

/// Returns whether `line` is a status line (RFC 9112, section 4), of any version of HTTP/1.
fn is_status_line(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b"HTTP/1.") else {
        return false;
    };
    match rest {
        [b'0' | b'1', b' ', code @ ..] => {
            let digits = code.iter().take_while(|byte| byte.is_ascii_digit()).count();
            digits == 3 && matches!(code.get(3), None | Some(b' ')) && code[0] != b'0'
        }
        _ => false,
    }
}

/// Returns whether hyper refuses a response with this header line.
fn is_wrong(line: &[u8]) -> bool {
    let is_number = |value: &[u8]| value.iter().all(u8::is_ascii_digit);
    let length = value_of(line, b"content-length");
    length.is_some_and(|value| !is_number(value))
        || value_of(line, b"transfer-encoding").is_some()
        || line.contains(&0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mended(head: &str) -> Option<String> {
        let mended = mend(head.as_bytes(), &HeadLog::default())?;
        Some(String::from_utf8(mended).expect("text"))
    }

    #[test]
    fn a_head_ends_with_an_empty_line() {
        for (bytes, expected) in [
            ("", None),
            ("HTTP/1.1 200 OK\r\n", None),
            ("HTTP/1.1 200 OK\r\n\r\nbody", Some(19)),
            ("HTTP/1.1 200 OK\n\nbody", Some(17)),
            ("HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n", Some(29)),
        ] {
            let bytes = bytes.as_bytes();
            assert_eq!(HeadSearch::default().next(bytes), expected, "{bytes:?}");
            // The same byte by byte.
            let mut search = HeadSearch::default();
            let mut lengths = (0..=bytes.len()).map(|length| search.next(&bytes[..length]));
            assert_eq!(lengths.find_map(|found| found), expected, "{bytes:?}");
        }
    }

    #[test]
    fn what_hyper_accepts_is_left_alone() {
        assert_eq!(mended("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"), None);
        assert_eq!(mended("HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\n"), None);
        assert_eq!(mended("HTTP/1.1 200 \u{fc}\r\n\r\n"), None);
    }

    #[test]
    fn lines_that_hyper_refuses_are_repaired() {
        assert_eq!(
            mended("HTTP/1.1 200 OK\r\nContent-Length: \r\nA: b\r\n\r\n").as_deref(),
            Some("HTTP/1.1 200 OK\r\nA: b\r\n\r\n")
        );
        assert_eq!(
            mended("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").as_deref(),
            Some("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        );
        assert_eq!(
            mended("HTTP/1.1 200 O\u{1}K\r\n\r\n").as_deref(),
            Some("HTTP/1.1 200 O K\r\n\r\n")
        );
    }

    #[test]
    fn headers_beyond_the_limit_of_hyper_are_kept() {
        const COUNT: usize = 400;
        let lines: Vec<_> = (0..COUNT)
            .map(|index| format!("x-{index}: {index}\r\n a"))
            .collect();
        let lines = lines.join("\r\n");
        let head = format!("HTTP/1.1 200 OK\r\n{lines}\r\nContent-Length: 7\r\n\r\n");
        let log = HeadLog::default();
        let mended = mend(head.as_bytes(), &log).expect("it has too many lines");
        let mended = String::from_utf8(mended).expect("text");
        assert!(
            mended.ends_with("\r\nContent-Length: 7\r\n\r\n"),
            "{mended}"
        );
        assert!(mended.lines().count() <= MAX_PASSED_LINES, "{mended}");
        let passed = mended.matches("\r\nx-").count();
        let mut response = http::Response::new(());
        log.restore(&mut response);
        assert_eq!(response.headers().len() + passed, COUNT);
        let last = response.headers().get(format!("x-{}", COUNT - 1));
        let expected = format!("{} a", COUNT - 1);
        assert_eq!(last.map(HeaderValue::as_bytes), Some(expected.as_bytes()));
    }

    #[test]
    fn interim_and_final_responses_are_distinguished() {
        assert!(is_interim(b"HTTP/1.1 103 Early Hints\r\n\r\n"));
        assert!(!is_interim(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"));
        assert!(!is_interim(b"HTTP/1.1 200 OK\r\n\r\n"));
        assert!(!is_interim(b"HTTP/1.1\r\n\r\n"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_accepted_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let log = HeadLog::default();
            if let Some(length) = HeadSearch::default().next(&bytes) {
                prop_assert!(length <= bytes.len());
                let _ = (is_interim(&bytes[..length]), mend(&bytes[..length], &log));
            }
            log.0.lock().received = bytes;
            let _ = log.complaint(&SentWords::default());
        }
    }
}
