//! Rules for a response: its code, and the records of each section.

use super::message::Response;
use crate::{
    check::{Rcode, StepKind, Steps},
    text::counted,
    value::{Fields, Pattern},
};

/// The sections of a response: their key, and the word for one of their records.
const SECTIONS: [(&str, &str); 3] = [
    ("validate_answer_rrs", "answer"),
    ("validate_authority_rrs", "authority"),
    ("validate_additional_rrs", "additional"),
];

/// Rules for a response.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Valid response codes.
    pub valid_rcodes: Vec<Rcode>,
    /// Rules for the records of the answer, authority and additional section.
    pub sections: [SectionRules; 3],
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            valid_rcodes: vec![Rcode(0)],
            sections: <[SectionRules; 3]>::default(),
        }
    }
}

impl Rules {
    /// Reads `valid_rcodes` and the keys of [`SECTIONS`].
    pub(super) fn read(fields: &mut Fields<'_>) -> Self {
        let mut valid_rcodes = fields.list("valid_rcodes");
        if valid_rcodes.is_empty() {
            valid_rcodes = Self::default().valid_rcodes;
        }
        let sections = SECTIONS.map(|(key, _)| {
            let section = fields.section(key).map(SectionRules::read);
            section.unwrap_or_default()
        });
        Self {
            valid_rcodes,
            sections,
        }
    }

    /// An upper estimate of the steps that a byte of a record takes.
    pub(super) fn steps_per_byte(&self) -> u64 {
        self.sections.iter().map(SectionRules::steps_per_byte).sum()
    }

    /// The first mismatch of `response`.
    pub(super) fn mismatch(&self, response: &Response, steps: &Steps) -> Option<String> {
        let rcode = response.summary.rcode;
        let valid = || {
            let valid: Vec<_> = self.valid_rcodes.iter().map(ToString::to_string).collect();
            valid.join(", ")
        };
        if !self.valid_rcodes.contains(&rcode) {
            let error = format!("response code {rcode}, expected {}", valid());
            steps.add(StepKind::NotPassed, || format!("valid_rcodes: {error}"));
            return Some(error);
        }
        steps.add(StepKind::Passed, || {
            format!("valid_rcodes: {rcode} is among {}", valid())
        });
        let mut sections = self.sections.iter().zip(SECTIONS).enumerate();
        sections.find_map(|(section, (rules, (key, word)))| {
            if rules.is_empty() {
                return None;
            }
            let mismatch = rules.mismatch(response, section, word);
            match &mismatch {
                None => steps.add(StepKind::Passed, || {
                    let summary = &response.summary;
                    let counts = [summary.answers, summary.authorities, summary.additionals];
                    let records = counted(counts[section], &format!("{word} record"));
                    format!("{key}: {} for {records}", rules.describe())
                }),
                Some(error) => steps.add(StepKind::NotPassed, || format!("{key}: {error}")),
            }
            mismatch
        })
    }
}

/// Rules for the records of a section. Expressions match the text of a record.
#[derive(Clone, Debug, Default)]
pub struct SectionRules {
    /// None of them may match any record.
    pub(crate) fail_if_any: Vec<Pattern>,
    /// None of them may match every record.
    pub(crate) fail_if_all: Vec<Pattern>,
    /// All of them must match every record, of which there may be none.
    pub(crate) require_all_if_any: Vec<Pattern>,
    /// All of them must match every record, and there must be one.
    pub(crate) require_all: Vec<Pattern>,
    /// One of them must match a record.
    pub(crate) require_any: Vec<Pattern>,
}

/// Characters of a record that an error shows.
const MAX_SHOWN_CHARS: usize = 100;

impl SectionRules {
    fn read(mut fields: Fields<'_>) -> Self {
        let rules = Self {
            fail_if_any: fields.patterns("fail_if_matches_regexp"),
            fail_if_all: fields.patterns("fail_if_all_match_regexp"),
            require_all_if_any: fields.patterns("fail_if_not_all_match_regexp"),
            require_all: fields.patterns("fail_if_not_matches_regexp"),
            require_any: fields.patterns("fail_if_none_matches_regexp"),
        };
        fields.reject_unknown_keys();
        rules
    }

    fn is_empty(&self) -> bool {
        let Self {
            fail_if_any,
            fail_if_all,
            require_all_if_any,
            require_all,
            require_any,
        } = self;
        let lists = [
            fail_if_any,
            fail_if_all,
            require_all_if_any,
            require_all,
            require_any,
        ];
        lists.iter().all(|patterns| patterns.is_empty())
    }

    /// The rules in words.
    fn describe(&self) -> String {
        let rules = [
            ("fail_if_matches_regexp", &self.fail_if_any),
            ("fail_if_all_match_regexp", &self.fail_if_all),
            ("fail_if_not_all_match_regexp", &self.require_all_if_any),
            ("fail_if_not_matches_regexp", &self.require_all),
            ("fail_if_none_matches_regexp", &self.require_any),
        ];
        let rules = rules.iter().flat_map(|(key, patterns)| {
            let patterns = patterns.iter();
            patterns.map(move |pattern| format!("{key} \"{pattern}\""))
        });
        rules.collect::<Vec<_>>().join(", ")
    }

    /// An upper estimate of the steps that a byte of a record takes.
    fn steps_per_byte(&self) -> u64 {
        let Self {
            fail_if_any,
            fail_if_all,
            require_all_if_any,
            require_all,
            require_any,
        } = self;
        let patterns = [
            fail_if_any,
            fail_if_all,
            require_all_if_any,
            require_all,
            require_any,
        ]
        .into_iter()
        .flatten();
        patterns.map(Pattern::steps_per_byte).sum()
    }

    fn mismatch(&self, response: &Response, section: usize, word: &str) -> Option<String> {
        let mut records = 0_usize;
        let mut found = self.require_any.is_empty();
        // Those that have matched every record so far.
        let mut everywhere: Vec<_> = self.fail_if_all.iter().collect();
        let of_a_record = response.find_record(section, |record| {
            records += 1;
            let matches = |pattern: &&Pattern| pattern.matches(record.as_bytes());
            if let Some(pattern) = self.fail_if_any.iter().find(matches) {
                return Some(format!(
                    "{word} record {} matches \"{pattern}\"",
                    shortened(record)
                ));
            }
            let mut required = self.require_all_if_any.iter().chain(&self.require_all);
            if let Some(pattern) = required.find(|pattern| !matches(pattern)) {
                let record = shortened(record);
                return Some(format!(
                    "{word} record {record} does not match \"{pattern}\""
                ));
            }
            everywhere.retain(matches);
            found = found || self.require_any.iter().any(|pattern| matches(&pattern));
            None
        });
        if of_a_record.is_some() {
            return of_a_record;
        }
        if let (0, Some(pattern)) = (records, self.require_all.first()) {
            return Some(format!(
                "no {word} record, expected one that matches \"{pattern}\""
            ));
        }
        if let (1.., Some(pattern)) = (records, everywhere.first()) {
            return Some(format!("every {word} record matches \"{pattern}\""));
        }
        if found {
            return None;
        }
        let patterns: Vec<_> = self
            .require_any
            .iter()
            .map(|p| format!("\"{p}\""))
            .collect();
        Some(format!(
            "no {word} record matches {}",
            patterns.join(" or ")
        ))
    }
}

/// The beginning of a record, as quoted in errors.
fn shortened(record: &str) -> String {
    let mut shortened: String = record.chars().take(MAX_SHOWN_CHARS).collect();
    if shortened.len() < record.len() {
        shortened.push('…');
    }
    shortened.replace('\t', " ")
}
