//! Prints an explained check as text: a line for each step, then the verdict and the phases.

use std::{
    io::{self, Write},
    time::Duration,
};

use super::style::{Colour, Style};
use crate::{
    check::{Report, Step},
    commands::once::CheckResult,
};

/// Characters of the longest kind of step.
const KIND_WIDTH: usize = 20;

/// Writes a check step by step.
pub(in crate::commands) fn write(
    CheckResult { job, report }: &CheckResult,
    style: Style,
    out: &mut impl Write,
) -> io::Result<()> {
    let name = style.paint(&job.name, Some(Colour::Bold));
    writeln!(out, "{name} ({}) {}", job.kind(), job.target())?;
    for step in &report.steps {
        writeln!(out, "{}", line(step, style))?;
    }
    writeln!(out, "{}", phases(report))
}

fn line(step: &Step, style: Style) -> String {
    let mark = step.kind.mark();
    let time = format!("{:>10.3} ms", millis(step.at));
    let time = style.paint(time, Some(Colour::Dim));
    let kind = step.kind.as_str().replace('_', " ");
    let kind = style.paint(format!("{kind:<KIND_WIDTH$}"), Some(Colour::Dim));
    let text = style.paint(format!("{mark} {}", step.text), colour(mark));
    format!("{time}  {kind}  {text}").trim_end().to_owned()
}

/// The colour of a step with this sign.
fn colour(mark: char) -> Option<Colour> {
    match mark {
        '>' => Some(Colour::Cyan),
        '+' => Some(Colour::Green),
        '!' => Some(Colour::Red),
        _ => None,
    }
}

/// The time of each phase, and of all.
fn phases(report: &Report) -> String {
    let phases = report.phases.iter();
    let mut parts: Vec<_> = phases
        .map(|(phase, spent)| format!("{phase} {:.3} ms", millis(*spent)))
        .collect();
    parts.push(format!("total {:.3} ms", millis(report.duration)));
    parts.join(", ")
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::StepKind;

    #[test]
    fn every_kind_fits_its_column() {
        for kind in StepKind::ALL {
            assert!(kind.as_str().len() <= KIND_WIDTH, "{kind}");
        }
    }

    #[test]
    fn a_line_has_colours_only_if_they_are_wanted() {
        let step = Step {
            at: Duration::from_micros(1_234),
            phase: None,
            kind: StepKind::NotPassed,
            text: "valid_status_codes: HTTP 503, expected 2xx".into(),
        };
        assert_eq!(
            line(&step, Style::Plain),
            "     1.234 ms  not passed            ! valid_status_codes: HTTP 503, expected 2xx"
        );
        assert!(line(&step, Style::Coloured).contains("\x1b[31m! valid_status_codes"));
    }
}
