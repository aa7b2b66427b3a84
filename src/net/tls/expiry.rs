//! Fails checks whose certificates expire too soon.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{
    check::{Attempt, CertificateRole, Fact, Failure, Phase, Reason, StepKind},
    value::format_duration,
};

/// The time for which the certificates of a peer must still be valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MinCertificateValidity(Option<Duration>);

impl MinCertificateValidity {
    /// Certificates must be good for at least this long; `None` for any time.
    #[must_use]
    pub(crate) const fn new(least: Option<Duration>) -> Self {
        Self(least)
    }

    /// Judges the certificates of the chain that was verified, or of the one that was sent if none was.
    ///
    /// # Errors
    /// A [`Failure`] in the phase `tls`.
    pub(crate) fn judge(self, attempt: &Attempt) -> Result<(), Failure> {
        let of_role = |role| {
            attempt.find_fact(|fact| match fact {
                Fact::Certificate(known, certificate) if *known == role => Some(*certificate),
                _ => None,
            })
        };
        let earliest =
            of_role(CertificateRole::Verified).or_else(|| of_role(CertificateRole::EarliestExpiry));
        let (Some(within), Some(earliest)) = (self.0, earliest) else {
            return Ok(());
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| now.as_secs().cast_signed());
        let left = earliest.not_after.saturating_sub(now);
        let is_good = left >= within.as_secs().cast_signed();
        let left = Duration::from_secs(left.max(0).unsigned_abs());
        attempt.step(StepKind::verdict(is_good), || {
            format!(
                "fail_if_certificate_expires_within {}: the chain expires in {}",
                format_duration(within),
                format_duration(left)
            )
        });
        if is_good {
            return Ok(());
        }
        let error = format!(
            "a certificate of the chain expires in {}",
            format_duration(left)
        );
        Err(Failure::new(Phase::Tls, Reason::TlsExpiresSoon, error))
    }
}
