//! Counts and statistics of the echo requests of one check.

use std::time::Duration;

use crate::{
    check::{EchoStats, Fact, RoundTripStats},
    net::icmp::{EchoResult, IcmpError},
    value::format_duration,
};

/// The echo requests of one check.
#[derive(Debug, Default)]
pub(super) struct EchoCounts {
    /// Round trip time of each request that was sent, if it was answered.
    round_trips: Vec<Option<Duration>>,
    /// Number of requests that are known to be lost.
    lost: usize,
    hop_limit: Option<u8>,
    icmp_error: Option<IcmpError>,
}

impl EchoCounts {
    /// Counts a request that was sent.
    pub(super) fn record_sent(&mut self) {
        self.round_trips.push(None);
    }

    /// Records the result of the request `index`.
    pub(super) fn record_result(&mut self, index: usize, outcome: EchoResult) {
        match outcome {
            EchoResult::Reply {
                round_trip,
                hop_limit,
            } => {
                if let Some(known) = self.round_trips.get_mut(index) {
                    *known = Some(round_trip);
                }
                self.hop_limit = hop_limit;
            }
            EchoResult::Lost(icmp_error) => {
                self.lost += 1;
                self.icmp_error = Some(icmp_error);
            }
        }
    }

    /// Counts a request without a reply in time.
    pub(super) fn record_timeout(&mut self) {
        self.lost += 1;
    }

    /// Number of requests sent.
    pub(super) fn sent(&self) -> usize {
        self.round_trips.len()
    }

    /// Number of requests answered.
    pub(super) fn received(&self) -> usize {
        self.round_trips.iter().flatten().count()
    }

    /// The last ICMP error.
    pub(super) fn icmp_error(&self) -> Option<IcmpError> {
        self.icmp_error
    }

    /// The minimum loss ratio of `count` requests, whatever the results of the pending ones.
    pub(super) fn min_loss_ratio(&self, count: usize) -> f64 {
        let echoes = EchoStats {
            sent: saturating_u32(count),
            received: saturating_u32(count.saturating_sub(self.lost)),
            ..EchoStats::default()
        };
        echoes.loss_ratio()
    }

    pub(super) fn echoes(&self) -> EchoStats {
        EchoStats {
            sent: saturating_u32(self.sent()),
            received: saturating_u32(self.received()),
            round_trips: rtt_stats(&self.round_trips),
            reply_hop_limit: self.hop_limit,
        }
    }

    pub(super) fn fact(&self) -> Fact {
        Fact::Icmp(Box::new(self.echoes()))
    }

    /// A message with the number of unanswered requests.
    pub(super) fn loss_message(&self) -> String {
        let (sent, lost) = (self.sent(), self.sent() - self.received());
        let text = format!("{lost} of {sent} echo requests got no reply");
        match self.icmp_error {
            Some(icmp_error) => format!("{text}; {icmp_error}"),
            None => text,
        }
    }

    /// A message that no request was answered within `reply_timeout`.
    pub(super) fn no_reply_message(&self, reply_timeout: Option<Duration>) -> String {
        let text = match self.sent() {
            1 => "the echo request got no reply".to_owned(),
            sent => format!("none of {sent} echo requests got a reply"),
        };
        match reply_timeout {
            Some(reply_timeout) => format!("{text} within {}", format_duration(reply_timeout)),
            None => text,
        }
    }
}

fn saturating_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Statistics of the round trips. Jitter is between consecutive ones.
fn rtt_stats(round_trips: &[Option<Duration>]) -> Option<RoundTripStats> {
    let known = || round_trips.iter().flatten().copied();
    let count = saturating_u32(known().count());
    let between = known().zip(known().skip(1)).map(|(a, b)| a.abs_diff(b));
    let differences = count.saturating_sub(1);
    Some(RoundTripStats {
        min: known().min()?,
        avg: known().sum::<Duration>() / count,
        max: known().max()?,
        jitter: (differences > 0).then(|| between.sum::<Duration>() / differences),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::net::icmp::Family;

    const NOTICE: IcmpError = IcmpError {
        family: Family::V4,
        kind: 3,
        code: 1,
        mtu: 0,
        from: None,
    };

    /// Counts of requests with these round trips in milliseconds.
    fn counts(round_trips: &[Option<u64>]) -> EchoCounts {
        let mut counts = EchoCounts::default();
        for (index, millis) in round_trips.iter().enumerate() {
            counts.record_sent();
            match millis {
                None => counts.record_timeout(),
                Some(millis) => {
                    let round_trip = Duration::from_millis(*millis);
                    let hop_limit = u8::try_from(*millis).ok();
                    counts.record_result(
                        index,
                        EchoResult::Reply {
                            round_trip,
                            hop_limit,
                        },
                    );
                }
            }
        }
        counts
    }

    #[test]
    fn statistics_cover_answered_requests() {
        let echoes = counts(&[Some(10), None, Some(40), Some(25)]).echoes();
        let millis = Duration::from_millis;
        assert_eq!((echoes.sent, echoes.received), (4, 3));
        assert_eq!(
            echoes.round_trips,
            Some(RoundTripStats {
                min: millis(10),
                avg: millis(25),
                max: millis(40),
                jitter: Some(Duration::from_micros(22_500)),
            })
        );
        assert_eq!(echoes.reply_hop_limit, Some(25));
    }

    #[test]
    fn one_round_trip_has_no_jitter_and_none_has_no_statistics() {
        let one = counts(&[Some(7)]).echoes().round_trips.expect("one");
        assert_eq!(one.jitter, None);
        assert_eq!((one.min, one.avg, one.max), (one.max, one.min, one.avg));
        assert_eq!(counts(&[None]).echoes().round_trips, None);
        assert_eq!(counts(&[]).echoes(), EchoStats::default());
    }

    #[test]
    fn replies_out_of_order_are_sorted() {
        let mut counts = counts(&[None, None, None]);
        for (index, millis) in [(2, 30), (0, 10), (1, 20)] {
            let reply = EchoResult::Reply {
                round_trip: Duration::from_millis(millis),
                hop_limit: None,
            };
            counts.record_result(index, reply);
        }
        let round_trips = counts.echoes().round_trips.expect("three");
        assert_eq!(round_trips.jitter, Some(Duration::from_millis(10)));
    }

    #[test]
    fn certain_loss_does_not_depend_on_pending_requests() {
        let mut counts = EchoCounts::default();
        counts.record_sent();
        assert!(counts.min_loss_ratio(4) < 1e-9);
        counts.record_timeout();
        assert!((counts.min_loss_ratio(4) - 0.25).abs() < 1e-9);
        counts.record_sent();
        counts.record_result(1, EchoResult::Lost(NOTICE));
        assert!((counts.min_loss_ratio(4) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn messages_name_the_numbers() {
        let mut some = counts(&[Some(1), None, None]);
        assert_eq!(some.loss_message(), "2 of 3 echo requests got no reply");
        some.record_result(1, EchoResult::Lost(NOTICE));
        let text = "2 of 3 echo requests got no reply; the network answered host unreachable \
                    (ICMP type 3 code 1)";
        assert_eq!(some.loss_message(), text);
        let second = Some(Duration::from_secs(1));
        let text = "the echo request got no reply within 1s";
        assert_eq!(counts(&[None]).no_reply_message(second), text);
        let text = "none of 2 echo requests got a reply";
        assert_eq!(counts(&[None, None]).no_reply_message(None), text);
    }

    proptest! {
        #[test]
        fn statistics_are_in_order(
            round_trips in prop::collection::vec(prop::option::of(0_u64..10_000), 0..50)
        ) {
            let echoes = counts(&round_trips).echoes();
            prop_assert!(echoes.received <= echoes.sent);
            prop_assert_eq!(echoes.received > 0, echoes.round_trips.is_some());
            if let Some(RoundTripStats { min, avg, max, jitter }) = echoes.round_trips {
                prop_assert!(min <= avg && avg <= max);
                prop_assert!(jitter.is_none_or(|jitter| jitter <= max.abs_diff(min)));
                prop_assert_eq!(jitter.is_some(), echoes.received > 1);
            }
        }
    }
}
