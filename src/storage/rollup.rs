//! The checks of a monitor in an hour or a day, in less than a hundred bytes.

use super::{
    bytes::{Reader, Writer},
    codes::{ACCOUNTS, Account},
    sketch::Sketch,
};

/// The checks of a monitor in an hour or a day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rollup {
    pub checks: u64,
    pub failures: u64,
    /// Milliseconds, by account.
    pub millis: [u64; ACCOUNTS],
    /// Latencies of checks that succeeded.
    pub latency: Sketch,
}

impl Rollup {
    /// Adds what happened in another part of the time.
    pub(super) fn merge(&mut self, other: Self) {
        self.checks += other.checks;
        self.failures += other.failures;
        for (millis, more) in self.millis.iter_mut().zip(other.millis) {
            *millis += more;
        }
        self.latency.merge(other.latency);
    }

    /// Milliseconds that count as up, and those that count as up or down.
    pub(super) fn uptime(&self) -> (u64, u64) {
        let mut sums = (0, 0);
        for account in Account::all() {
            let millis = self.millis[account.index()];
            if let Some(is_up) = account.is_up() {
                sums.0 += if is_up { millis } else { 0 };
                sums.1 += millis;
            }
        }
        sums
    }

    /// The rollup in bytes.
    pub(super) fn encode(self) -> Vec<u8> {
        let mut out = Writer(Vec::with_capacity(48));
        out.number(self.checks);
        out.number(self.failures);
        let mut present = 0_u64;
        for (index, millis) in self.millis.iter().enumerate() {
            present |= u64::from(*millis > 0) << index;
        }
        out.number(present);
        for millis in self.millis.iter().filter(|millis| **millis > 0) {
            out.number(*millis);
        }
        self.latency.write(&mut out);
        out.0
    }

    /// The rollup in `bytes`.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let mut rollup = Self {
            checks: reader.number()?,
            failures: reader.number()?,
            ..Self::default()
        };
        let present = reader.number()?;
        for (index, millis) in rollup.millis.iter_mut().enumerate() {
            if present >> index & 1 == 1 {
                *millis = reader.number()?;
            }
        }
        rollup.latency = Sketch::read(&mut reader)?;
        Some(rollup)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rollup(checks: u64, failures: u64, millis: [u64; ACCOUNTS], latencies: &[f64]) -> Rollup {
        let mut latency = Sketch::default();
        for seconds in latencies {
            latency.add(*seconds);
        }
        Rollup {
            checks,
            failures,
            millis,
            latency,
        }
    }

    proptest! {
        #[test]
        fn a_rollup_is_read_as_it_was_written(
            checks in 0..1_000_000_u64,
            failures in 0..1_000_000_u64,
            millis in prop::array::uniform9(prop_oneof![Just(0), 0..86_400_000_u64]),
            latencies in prop::collection::vec(0.01..0.05, 0..50),
        ) {
            let rollup = rollup(checks, failures, millis, &latencies);
            prop_assert_eq!(Rollup::decode(&rollup.clone().encode()), Some(rollup));
        }

        #[test]
        fn any_bytes_can_be_read(bytes: Vec<u8>) {
            let _ = Rollup::decode(&bytes);
        }
    }

    #[test]
    fn an_hour_of_a_busy_monitor_takes_less_than_a_hundred_bytes() {
        // Latencies over six orders of magnitude, and time in four states.
        let latencies: Vec<_> = (0..3600).map(|i| 1e-4 * 1.004_f64.powi(i)).collect();
        let millis = [0, 3_500_000, 40_000, 30_000, 30_000, 0, 0, 0, 0];
        let rollup = rollup(3600, 50, millis, &latencies);
        let bytes = rollup.encode().len();
        assert!(bytes <= 92, "{bytes} bytes");
    }

    #[test]
    fn time_that_is_not_known_does_not_count() {
        let mut millis = [0; ACCOUNTS];
        let accounts = Account::all().collect::<Vec<_>>();
        for account in &accounts {
            millis[account.index()] = 1000;
        }
        // Up, degraded and suspect against down and suspect while down.
        assert_eq!(rollup(0, 0, millis, &[]).uptime(), (3000, 5000));
    }
}
