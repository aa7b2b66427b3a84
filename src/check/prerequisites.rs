//! Local problems, such as a missing permission, that make every check of a monitor fail.

use std::collections::BTreeMap;

use super::Job;

/// The missing prerequisites of `jobs`, each with the number of monitors that it affects.
pub(crate) fn missing_prerequisites<'j>(
    jobs: impl IntoIterator<Item = &'j Job>,
) -> BTreeMap<String, usize> {
    let mut missing = BTreeMap::new();
    for prerequisite in jobs.into_iter().filter_map(Job::missing_prerequisite) {
        *missing.entry(prerequisite).or_default() += 1;
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Attempt, Failure, Monitor};

    struct Lacking(Option<&'static str>);

    impl Monitor for Lacking {
        fn kind(&self) -> &'static str {
            "lacking"
        }

        fn target(&self) -> String {
            "nowhere".into()
        }

        fn missing_prerequisite(&self) -> Option<String> {
            self.0.map(ToOwned::to_owned)
        }

        async fn check(&self, _: &Attempt) -> Result<(), Failure> {
            Ok(())
        }
    }

    #[test]
    fn each_problem_is_listed_once_with_the_number_of_affected_monitors() {
        let lacking = [
            Some("no permission"),
            None,
            Some("no socket"),
            Some("no permission"),
        ];
        let jobs = lacking.map(|prerequisite| Job::new("lacking", Lacking(prerequisite)));
        let found: Vec<_> = missing_prerequisites(&jobs).into_iter().collect();
        let expected = [("no permission", 2), ("no socket", 1)];
        assert_eq!(
            found,
            expected.map(|(text, count)| (text.to_owned(), count))
        );
    }
}
