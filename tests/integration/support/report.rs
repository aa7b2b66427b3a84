//! Assertions about reports.

use std::time::Duration;

use monitoringdaemon::check::{
    CertificateRole, CertificateValidity, Fact, Failure, Phase, Reason, Report,
};

/// Asserts the invariants of every report.
#[track_caller]
pub fn assert_consistent(report: &Report) {
    let sum: Duration = report.phases.iter().map(|(_, spent)| *spent).sum();
    assert!(sum <= report.duration, "phases overlap: {report:#?}");
    if let Some(failure) = &report.failure {
        assert!(!failure.error.is_empty(), "no error text: {report:#?}");
    }
}

#[track_caller]
pub fn assert_success(report: &Report) {
    assert_eq!(report.failure, None, "{report:#?}");
}

/// Asserts why the check failed, and returns the failure.
#[track_caller]
pub fn assert_failure(report: &Report, phase: Phase, reason: Reason) -> &Failure {
    let failure = report.failure.as_ref();
    let found = failure.map(|failure| (failure.phase, failure.reason));
    assert_eq!(found, Some((phase, reason)), "{report:#?}");
    failure.expect("it was just looked at")
}

pub fn spent(report: &Report, phase: Phase) -> Option<Duration> {
    let mut phases = report.phases.iter();
    phases
        .find(|(known, _)| *known == phase)
        .map(|(_, spent)| *spent)
}

/// The phases that the check reached.
pub fn reached(report: &Report) -> Vec<Phase> {
    report.phases.iter().map(|(phase, _)| *phase).collect()
}

pub fn certificate(report: &Report, role: CertificateRole) -> Option<CertificateValidity> {
    report.facts.iter().find_map(|fact| match fact {
        Fact::Certificate(known, certificate) if *known == role => Some(*certificate),
        _ => None,
    })
}
