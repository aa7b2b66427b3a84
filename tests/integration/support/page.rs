//! A page of metrics, read as Prometheus does.

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Stdio},
};

use super::process::{helper, text};

/// A page in the text format 0.0.4.
#[derive(Clone, Debug)]
pub struct Page {
    pub text: String,
    /// The type of each family, by its name.
    pub families: BTreeMap<String, String>,
    samples: Vec<Sample>,
}

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Page {
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        let mut page = Self {
            text: text.to_owned(),
            families: BTreeMap::new(),
            samples: Vec::new(),
        };
        for line in text.lines() {
            if let Some(family) = line.strip_prefix("# TYPE ") {
                let (name, kind) = family.split_once(' ').expect("a name and a type");
                let before = page.families.insert(name.to_owned(), kind.to_owned());
                assert_eq!(before, None, "twice: {line}");
            } else if !line.starts_with('#') {
                let sample = Sample::parse(line);
                page.samples
                    .push(sample.unwrap_or_else(|| panic!("no sample: {line}")));
            }
        }
        page
    }

    /// The samples of this name that have these labels, among others.
    pub fn values(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        let wanted = |sample: &&Sample| {
            let has = |(label, value): &(&str, &str)| {
                sample
                    .labels
                    .get(*label)
                    .is_some_and(|known| known == value)
            };
            sample.name == name && labels.iter().all(has)
        };
        let samples = self.samples.iter().filter(wanted);
        samples.map(|sample| sample.value).collect()
    }

    /// The sum of these samples, 0 without any.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        // Not `sum()` alone: the sum of no floats is -0.0.
        self.values(name, labels)
            .iter()
            .fold(0.0, |sum, value| sum + value)
    }

    /// The only such sample.
    #[track_caller]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        match self.values(name, labels)[..] {
            [value] => value,
            ref values => panic!("{name} {labels:?} has {values:?} in {}", self.text),
        }
    }

    /// Checks completed, of all monitors.
    pub fn completed(&self) -> f64 {
        self.sum("monitor_checks_total", &[])
    }

    /// Slots skipped for this reason, of all monitors.
    pub fn skipped(&self, reason: &str) -> f64 {
        self.sum("monitor_checks_skipped_total", &[("reason", reason)])
    }

    pub fn in_flight(&self) -> f64 {
        self.value("monitoringdaemon_checks_in_flight", &[])
    }

    /// Asserts that every slot is accounted for.
    #[track_caller]
    pub fn assert_slots_add_up(&self) {
        let scheduled = self.sum("monitor_checks_scheduled_total", &[]);
        let skipped = self.sum("monitor_checks_skipped_total", &[]);
        let accounted = self.completed() + skipped + self.in_flight();
        // Whole numbers below 2^53, so that nothing is lost in their sum.
        assert!((scheduled - accounted).abs() < 0.5, "{}", self.text);
    }

    /// Asserts that Prometheus' own tool finds nothing wrong.
    #[track_caller]
    pub fn assert_promtool_is_content(&self) {
        let Some(promtool) = helper("promtool") else {
            return;
        };
        let mut promtool = Command::new(promtool)
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it has just been found");
        let mut stdin = promtool.stdin.take().expect("it was asked for");
        stdin
            .write_all(self.text.as_bytes())
            .expect("it reads the whole page");
        drop(stdin);
        let output = promtool.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}{}", text(&output), self.text);
        assert_eq!(text(&output), "", "of {}", self.text);
    }
}

impl Sample {
    fn parse(line: &str) -> Option<Self> {
        let end_of_name = line.find(['{', ' '])?;
        let (name, mut rest) = line.split_at(end_of_name);
        let mut labels = BTreeMap::new();
        if let Some(mut inside) = rest.strip_prefix('{') {
            while !inside.starts_with('}') {
                let (label, value) = inside.split_once("=\"")?;
                let (value, after) = quoted(value)?;
                labels.insert(label.to_owned(), value);
                inside = after.strip_prefix(',').unwrap_or(after);
            }
            rest = &inside[1..];
        }
        Some(Self {
            name: name.to_owned(),
            labels,
            value: rest.trim().parse().ok()?,
        })
    }
}

/// A label's value up to its closing quote, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    loop {
        match chars.next()? {
            (end, '"') => return Some((value, &text[end + 1..])),
            (_, '\\') => match chars.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            (_, c) => value.push(c),
        }
    }
}
