//! The configuration that an import makes, printed as YAML.

use std::fmt::{self, Display};

use super::{entry::Entry, yaml};

/// All that an import makes.
#[derive(Clone, Debug, Default)]
pub(super) struct Configuration {
    /// Lines at the top.
    pub comments: Vec<String>,
    /// `maintenance`
    pub maintenance: Vec<Entry>,
    /// `templates`
    pub templates: Vec<Entry>,
    /// `discovery`
    pub discovery: Vec<Entry>,
    /// `monitors`
    pub monitors: Vec<Entry>,
    /// Lines at the end: what has no place elsewhere.
    pub(crate) remarks: Vec<String>,
}

impl Configuration {
    /// The sections by name.
    #[must_use]
    pub(super) fn sections(&self) -> [(&'static str, &Vec<Entry>); 4] {
        [
            ("maintenance", &self.maintenance),
            ("templates", &self.templates),
            ("discovery", &self.discovery),
            ("monitors", &self.monitors),
        ]
    }

    /// The entries of the section called `name`.
    pub(super) fn section_mut(&mut self, name: &str) -> Option<&mut Vec<Entry>> {
        match name {
            "maintenance" => Some(&mut self.maintenance),
            "templates" => Some(&mut self.templates),
            "discovery" => Some(&mut self.discovery),
            "monitors" => Some(&mut self.monitors),
            _ => None,
        }
    }
}

impl Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for comment in &self.comments {
            yaml::write_comment(f, comment, 0)?;
        }
        for (section, entries) in self.sections() {
            if entries.is_empty() {
                continue;
            }
            write!(f, "\n{section}:\n")?;
            for Entry {
                name,
                comments,
                keys,
                ..
            } in entries
            {
                write!(f, "\n  {}:", yaml::scalar(name))?;
                if keys.0.is_empty() {
                    f.write_str(" {}")?;
                }
                f.write_str("\n")?;
                for comment in comments {
                    yaml::write_comment(f, comment, 4)?;
                }
                yaml::write_map(f, &keys.0, 4)?;
            }
        }
        if !self.remarks.is_empty() {
            f.write_str("\n")?;
        }
        for remark in &self.remarks {
            yaml::write_comment(f, remark, 0)?;
        }
        Ok(())
    }
}
