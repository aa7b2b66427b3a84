//! The keys of `type: icmp`.

use std::{ops::RangeInclusive, time::Duration};

use crate::{
    net::{Route, icmp::MAX_PAYLOAD},
    settings::read_route,
    value::{Fields, FromNode, Host, format_duration},
};

/// Settings of an ICMP check.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The target of the echo requests.
    pub target: Host,
    /// The IP family and source address to use.
    pub route: Route,
    /// Echo requests in one check.
    pub count: usize,
    /// From one echo request to the next.
    pub interval: Duration,
    /// Time to wait for each reply, if set.
    pub reply_timeout: Option<Duration>,
    /// The part of the requests, from 0 to below 1, that may be lost.
    pub max_packet_loss: f64,
    /// Bytes of payload.
    pub payload_size: usize,
    /// True if a request must not be fragmented, and is lost if it is too large for a network on its way.
    pub dont_fragment: bool,
    /// Maximum number of hops of a request; 0 for the system's default.
    pub ttl: u8,
}

/// As many bytes as blackbox_exporter sends.
const PAYLOAD_SIZE: usize = 28;
const TTL: u8 = 64;
const INTERVAL: Duration = Duration::from_millis(200);
/// With several requests: waiting for a lost one until the deadline would leave no time for the others.
const REPLY_TIMEOUT: Duration = Duration::from_secs(1);

impl Settings {
    /// Echo to `target` with the default of every setting.
    #[must_use]
    pub fn of(target: Host) -> Self {
        Self {
            target,
            route: Route::default(),
            count: 1,
            interval: INTERVAL,
            reply_timeout: None,
            max_packet_loss: 0.0,
            payload_size: PAYLOAD_SIZE,
            dont_fragment: false,
            ttl: TTL,
        }
    }

    /// Reads the keys; `None` without a host.
    pub fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let target = fields.required("target");
        let count = whole(fields, "count", 1..=1000).unwrap_or(1);
        let interval = fields.optional("interval").unwrap_or(INTERVAL);
        let reply_timeout = fields.optional("reply_timeout");
        let max_packet_loss = read_max_packet_loss(fields).unwrap_or(0.0);
        let payload_size = whole(fields, "payload_size", 0..=MAX_PAYLOAD);
        let dont_fragment = fields.optional("dont_fragment").unwrap_or(false);
        let ttl = whole(fields, "ttl", 0..=255).and_then(|ttl| u8::try_from(ttl).ok());
        let route = read_route(fields);
        let settings = Self {
            route,
            count,
            interval,
            reply_timeout,
            max_packet_loss,
            payload_size: payload_size.unwrap_or(PAYLOAD_SIZE),
            dont_fragment,
            ttl: ttl.unwrap_or(TTL),
            // Last, so that the problems of the others are reported too.
            target: target?,
        };
        settings.check_time(fields);
        Some(settings)
    }

    /// Time to wait for each reply; `None` to wait until the deadline.
    #[must_use]
    pub fn reply_timeout(&self) -> Option<Duration> {
        self.reply_timeout
            .or((self.count > 1).then_some(REPLY_TIMEOUT))
    }

    /// From the first request until the last reply, where each comes as late as it may.
    fn longest(&self) -> Option<Duration> {
        let intervals = u32::try_from(self.count - 1).ok()?;
        let sending = self.interval.checked_mul(intervals)?;
        sending.checked_add(self.reply_timeout()?)
    }

    /// Reports a timeout of the monitor itself that is too short for `reply_timeout`.
    fn check_time(&self, fields: &mut Fields<'_>) {
        let timeout = fields
            .node("timeout")
            .and_then(|(node, _)| Duration::read_node(node).ok());
        let (Some(timeout), Some(longest)) = (timeout, self.longest()) else {
            return;
        };
        if longest >= timeout {
            let wrong = format!(
                "{} is not longer than the {} that a check takes if every reply is late",
                format_duration(timeout),
                format_duration(longest),
            );
            fields.add_value_problem(
                "timeout",
                wrong,
                "more than (count - 1) * interval + reply_timeout",
            );
        }
    }
}

/// The whole number under `key`, which is in `range`.
fn whole(
    fields: &mut Fields<'_>,
    key: &'static str,
    range: RangeInclusive<usize>,
) -> Option<usize> {
    let (node, _) = fields.node(key)?;
    let wrong = match i128::read_node(node) {
        Ok(number) => match usize::try_from(number) {
            Ok(number) if range.contains(&number) => return Some(number),
            _ => format!("{number} is out of range"),
        },
        Err(wrong) => wrong,
    };
    let allowed = format!("a whole number from {} to {}", range.start(), range.end());
    fields.add_value_problem(key, wrong, allowed);
    None
}

fn read_max_packet_loss(fields: &mut Fields<'_>) -> Option<f64> {
    const KEY: &str = "max_packet_loss";
    let loss: f64 = fields.optional(KEY)?;
    if !(0.0..1.0).contains(&loss) {
        let wrong = format!("{loss} is out of range");
        fields.add_value_problem(KEY, wrong, "a ratio from 0 to below 1, such as 0.2");
        return None;
    }
    Some(loss)
}
