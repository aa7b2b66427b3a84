//! The urgency of renewing a certificate.

use super::now::Now;
use crate::check::CertificateValidity;

const DAY: i64 = 86_400;

/// Certificates with at least this lifetime are renewed weeks ahead. [`is_due`] is `CertificateExpiresSoon` for them and
/// `ShortLivedCertificateExpiresSoon` for others.
const LONG_LIFETIME: i64 = 60 * DAY;

/// Returns whether `certificate` should have been renewed by `now`: the conditions of the alerts.
pub(super) fn is_due(certificate: CertificateValidity, now: Now) -> bool {
    let left = now.seconds_until(certificate.not_after);
    let lifetime = certificate.not_after.saturating_sub(certificate.not_before);
    if lifetime >= LONG_LIFETIME {
        left < 14 * DAY
    } else {
        // A fifth of the lifetime.
        left.saturating_mul(5) < lifetime
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::format::unix;

    #[test]
    fn a_certificate_is_due_when_its_alert_fires() {
        let now = Now::read();
        for (lifetime, left, expected) in [
            (90 * DAY, 14 * DAY, false),
            (90 * DAY, 14 * DAY - 1, true),
            (60 * DAY, 13 * DAY, true),
            (60 * DAY - 1, 13 * DAY, false),
            (45 * DAY, 9 * DAY, false),
            (45 * DAY, 9 * DAY - 1, true),
            // On the first and on the last day.
            (5 * DAY, 5 * DAY, false),
            (5 * DAY, DAY, false),
            (5 * DAY, DAY - 1, true),
            (5 * DAY, -1, true),
            (i64::MAX, i64::MAX, false),
        ] {
            let not_after = unix(now.clock).saturating_add(left);
            let certificate = CertificateValidity {
                not_before: not_after.saturating_sub(lifetime),
                not_after,
            };
            assert_eq!(is_due(certificate, now), expected, "{lifetime} {left}");
        }
    }

    #[test]
    fn the_limits_are_those_of_the_alerts() {
        let rules = include_str!("../../prometheus/rules/monitoringdaemon.yml");
        for limit in [
            "- time() < 14 * 86400",
            ">= 60 * 86400",
            "< 60 * 86400",
            ") < 0.2",
        ] {
            assert!(rules.contains(limit), "{limit}");
        }
    }
}
