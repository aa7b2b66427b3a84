//! Tests of the choice of checks whose steps are recorded.

use super::*;
use crate::check::Phase;

/// A monitor that fails in some of its checks, and notes which of them are recorded.
struct Flapping {
    fails: Vec<bool>,
    recorded: Arc<Mutex<Vec<bool>>>,
}

impl Monitor for Flapping {
    fn kind(&self) -> &'static str {
        "flapping"
    }

    fn target(&self) -> String {
        "nowhere".to_owned()
    }

    async fn check(&self, attempt: &Attempt) -> Result<(), Failure> {
        let mut recorded = self.recorded.lock().expect("no test panics with it");
        let fails = self.fails.get(recorded.len()).copied().unwrap_or_default();
        recorded.push(attempt.steps().are_recorded());
        if fails {
            return Err(Failure::new(Phase::Connect, Reason::Timeout, "late"));
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_check_and_those_after_a_failure_are_recorded() {
    let recorded = Arc::new(Mutex::new(Vec::new()));
    let monitor = Flapping {
        fails: vec![false, false, true, true, false, false],
        recorded: recorded.clone(),
    };
    let job = Job {
        check_every: ms(1_000),
        timeout: ms(500),
        ..Job::new("flapping", monitor)
    };
    run(vec![job], 1, ms(6_900)).await;
    let recorded = recorded.lock().expect("no test panics with it");
    assert_eq!(recorded[..6], [true, false, false, true, true, false]);
}
