//! The limits of `degraded_if_…`, beyond which a success counts as degraded.

use std::time::{Duration, UNIX_EPOCH};

use crate::check::{DegradedIf, Report};

/// True if the successful check of `report` is beyond one of `limits`.
pub(super) fn is_degraded(limits: &DegradedIf, report: &Report) -> bool {
    let is_slow = limits
        .slower_than
        .is_some_and(|limit| report.duration > limit);
    let loses_packets = limits.packet_loss_above.is_some_and(|limit| {
        let echoes = report.echoes();
        echoes.is_some_and(|echoes| echoes.loss_ratio() > limit)
    });
    is_slow || loses_packets || expires_soon(limits.certificate_expires_within, report)
}

fn expires_soon(within: Option<Duration>, report: &Report) -> bool {
    let (Some(within), Some(certificate)) = (within, report.expiring_certificate()) else {
        return false;
    };
    let ended_at = report.ended_at.duration_since(UNIX_EPOCH);
    let limit = ended_at.unwrap_or_default().saturating_add(within);
    u64::try_from(certificate.not_after).is_ok_and(|end| end < limit.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{CertificateRole, CertificateValidity, EchoStats, Fact};

    fn report(millis: u64, fact: Option<Fact>) -> Report {
        Report {
            ended_at: UNIX_EPOCH + Duration::from_secs(1_790_000_000),
            duration: Duration::from_millis(millis),
            phases: Vec::new(),
            facts: fact.into_iter().collect(),
            failure: None,
            steps: Vec::new(),
            cause: None,
            trace: None,
        }
    }

    #[test]
    fn each_limit_is_one_that_may_be_reached_and_not_exceeded() {
        let slow = DegradedIf {
            slower_than: Some(Duration::from_millis(300)),
            ..DegradedIf::default()
        };
        assert!(!is_degraded(&slow, &report(300, None)));
        assert!(is_degraded(&slow, &report(301, None)));
        assert!(!is_degraded(&DegradedIf::default(), &report(60_000, None)));

        let lossy = DegradedIf {
            packet_loss_above: Some(0.25),
            ..DegradedIf::default()
        };
        let echoes = |received| {
            Some(Fact::Icmp(Box::new(EchoStats {
                sent: 4,
                received,
                ..EchoStats::default()
            })))
        };
        assert!(!is_degraded(&lossy, &report(1, echoes(3))));
        assert!(is_degraded(&lossy, &report(1, echoes(2))));
        assert!(!is_degraded(&lossy, &report(1, None)));

        let stale = DegradedIf {
            certificate_expires_within: Some(Duration::from_secs(86_400)),
            ..DegradedIf::default()
        };
        let certificate = |rank, not_after| {
            let not_before = 0;
            Some(Fact::Certificate(
                rank,
                CertificateValidity {
                    not_before,
                    not_after,
                },
            ))
        };
        let leaf = |not_after| certificate(CertificateRole::Leaf, not_after);
        assert!(!is_degraded(&stale, &report(1, leaf(1_790_086_400))));
        assert!(is_degraded(&stale, &report(1, leaf(1_790_086_399))));
        assert!(!is_degraded(&stale, &report(1, None)));
    }
}
