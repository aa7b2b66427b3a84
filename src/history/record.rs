//! The record of one past check, in 28 bytes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::check::{Outcome, Phase, Reason, Report};

/// A report without the text of its failure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Record {
    /// Unix seconds.
    ended_at: u32,
    /// Seconds.
    duration: f32,
    /// Seconds as [`to_bf16`] has them, 0 for a phase that was not reached.
    phases: [u16; Phase::ALL.len()],
    failure: Option<(Phase, Reason)>,
}

impl Record {
    /// The record of `report`.
    #[must_use]
    pub(crate) fn new(report: &Report) -> Self {
        let ended_at = report.ended_at.duration_since(UNIX_EPOCH);
        let mut phases = [0; Phase::ALL.len()];
        for (phase, spent) in &report.phases {
            phases[*phase as usize] = to_bf16(spent.as_secs_f32()).max(1);
        }
        let failure = report.failure.as_ref();
        Self {
            ended_at: u32::try_from(ended_at.unwrap_or_default().as_secs()).unwrap_or(u32::MAX),
            duration: report.duration.as_secs_f32(),
            phases,
            failure: failure.map(|failure| (failure.phase, failure.reason)),
        }
    }

    /// The record of a successful check that ended at `ended_at` in Unix seconds and took `seconds`, with the times of
    /// [`compact_phases`](Self::compact_phases).
    #[must_use]
    pub(crate) fn from_compact(ended_at: u32, seconds: f32, reached: &[(Phase, u16)]) -> Self {
        let mut phases = [0; Phase::ALL.len()];
        for (phase, spent) in reached {
            phases[*phase as usize] = *spent;
        }
        Self {
            ended_at,
            duration: seconds,
            phases,
            failure: None,
        }
    }

    /// The record of the same check if it had failed.
    #[must_use]
    pub(crate) fn with_failure(self, failure: (Phase, Reason)) -> Self {
        Self {
            failure: Some(failure),
            ..self
        }
    }

    /// Time at which the check ended, in Unix seconds.
    #[must_use]
    pub(crate) fn unix_seconds(&self) -> u32 {
        self.ended_at
    }

    /// Seconds from its start to its end.
    #[must_use]
    pub(crate) fn seconds(&self) -> f32 {
        self.duration
    }

    /// The time spent in each phase that was reached, in the form in which it is kept.
    pub(crate) fn compact_phases(&self) -> impl Iterator<Item = (Phase, u16)> + Clone + '_ {
        let phases = Phase::ALL.iter().copied().zip(self.phases);
        phases.filter(|(_, spent)| *spent > 0)
    }

    /// Time at which the check ended, to the second.
    #[must_use]
    pub(crate) fn ended_at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.ended_at.into())
    }

    /// Time from its start to its end.
    #[must_use]
    pub(crate) fn duration(&self) -> Duration {
        seconds(self.duration)
    }

    /// The time spent in each phase that was reached, to a percent.
    pub(crate) fn phases(&self) -> impl Iterator<Item = (Phase, Duration)> + '_ {
        let reached = self.compact_phases();
        reached.map(|(phase, spent)| (phase, seconds(from_bf16(spent))))
    }

    /// The phase and the reason of its failure, if it failed.
    #[must_use]
    pub(crate) fn failure(&self) -> Option<(Phase, Reason)> {
        self.failure
    }

    /// The outcome.
    #[must_use]
    pub(crate) fn outcome(&self) -> Outcome {
        match self.failure {
            None => Outcome::Success,
            Some(_) => Outcome::Failure,
        }
    }
}

/// The number as a bfloat16, the first half of a float. Cut off rather than rounded, so that phases still add up to
/// no more than the check took.
fn to_bf16(number: f32) -> u16 {
    u16::try_from(number.to_bits() >> 16).unwrap_or(u16::MAX)
}

fn from_bf16(half: u16) -> f32 {
    f32::from_bits(u32::from(half) << 16)
}

fn seconds(seconds: f32) -> Duration {
    Duration::try_from_secs_f32(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_as_small_as_documented() {
        assert_eq!(size_of::<Record>(), 28);
    }

    #[test]
    fn durations_are_kept_to_a_percent_and_rounded_down() {
        for number in [1e-6_f32, 0.000_123, 0.031_4, 1.0, 4.999, 86_399.0] {
            let kept = from_bf16(to_bf16(number));
            assert!((0.992..=1.0).contains(&(kept / number)), "{number} {kept}");
        }
    }
}
