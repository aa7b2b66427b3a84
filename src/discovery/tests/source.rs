//! Tests that good lists are kept, and failures counted.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::discovery::{
    SourceStatus, Stats,
    payload::{MAX_TARGETS, Target},
    source::{Found, LastGoodTargets, PollResult, Source, SourceTask, Update},
};

/// Finds one thing after the other, and the last one again and again.
struct Script(VecDeque<Vec<(&'static str, Result<&'static str, &'static str>)>>);

impl Source for Script {
    async fn poll(&mut self) -> Vec<PollResult> {
        let now = match self.0.len() {
            1 => self.0[0].clone(),
            _ => self.0.pop_front().expect("a script has an end that stays"),
        };
        let look = |(piece, found): (&str, Result<&str, &str>)| PollResult {
            list_name: piece.to_owned(),
            found: match found {
                Ok("gone") => Ok(Found::Removed),
                Ok(addresses) => Ok(Found::Targets(
                    addresses.split_whitespace().map(target).collect(),
                )),
                Err(error) => Err(error.to_owned()),
            },
        };
        now.into_iter().map(look).collect()
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(60)
    }
}

fn target(address: &str) -> Target {
    Target {
        address: address.to_owned(),
        labels: Arc::default(),
    }
}

struct Bench {
    stats: Stats,
    updates: mpsc::Receiver<Update>,
    task: tokio::task::JoinHandle<LastGoodTargets>,
    shutdown: CancellationToken,
}

impl Bench {
    fn new(
        script: impl IntoIterator<Item = Vec<(&'static str, Result<&'static str, &'static str>)>>,
        kept: LastGoodTargets,
    ) -> Self {
        let stats = Stats::default();
        let (sender, updates) = mpsc::channel(1);
        let block: Arc<str> = "b".into();
        let counters = stats.source(&block, "s");
        let watch = SourceTask::new(0, (block, "s".to_owned()), counters, Arc::new(kept), sender);
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(watch.run(Script(script.into_iter().collect()), shutdown.clone()));
        Self {
            stats,
            updates,
            task,
            shutdown,
        }
    }

    /// The addresses of the next list.
    async fn next(&mut self) -> Option<Vec<String>> {
        let update = self.updates.recv().await.expect("it looks on");
        let lists = update.lists?;
        Some(
            lists
                .iter()
                .flat_map(|list| list.iter())
                .map(|target| target.address.clone())
                .collect(),
        )
    }

    fn findings(&self) -> SourceStatus {
        self.stats.sources()[0].2
    }

    async fn stop(self) -> LastGoodTargets {
        self.shutdown.cancel();
        self.task.await.expect("it ends in good order")
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_good_stays_while_there_is_nothing_better() {
    let mut bench = Bench::new(
        [
            vec![("x", Ok("a b")), ("y", Ok("c"))],
            vec![("x", Err("HTML")), ("y", Ok("d"))],
            vec![("x", Err("HTML")), ("y", Err("HTML"))],
            vec![("x", Ok("e"))],
            vec![("y", Ok("gone"))],
        ],
        LastGoodTargets::default(),
    );
    for expected in [&["a", "b", "c"][..], &["a", "b", "d"], &["e", "d"], &["e"]] {
        assert_eq!(
            bench.next().await.as_deref(),
            Some(
                &expected
                    .iter()
                    .map(|text| (*text).to_owned())
                    .collect::<Vec<_>>()[..]
            )
        );
    }
    let findings = bench.findings();
    assert_eq!((findings.targets, findings.failures), (Some(1), 3));
    assert!(findings.last_success.is_some());
}

#[tokio::test(start_paused = true)]
async fn nothing_good_yet_is_told_so_that_nobody_waits() {
    let mut bench = Bench::new(
        [vec![("x", Err("HTML"))], vec![("x", Ok(""))]],
        LastGoodTargets::default(),
    );
    assert_eq!(bench.next().await, None);
    let findings = bench.findings();
    assert_eq!((findings.targets, findings.failures), (None, 1));
    assert!(findings.last_success.is_none());
    assert_eq!(bench.next().await, Some(vec![]));
    assert_eq!(bench.findings().targets, Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_list_outlives_a_change_of_the_configuration() {
    let mut before = Bench::new(
        [vec![("x", Ok("a")), ("y", Ok("b"))]],
        LastGoodTargets::default(),
    );
    before.next().await;
    let kept = before.stop().await;
    let mut after = Bench::new([vec![("x", Err("HTML"))], vec![("x", Ok("c"))]], kept);
    assert_eq!(after.next().await, Some(vec!["a".to_owned()]));
    assert_eq!(after.next().await, Some(vec!["c".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_source_is_bounded_over_all_of_its_pieces() {
    let half: &'static str = Box::leak("x ".repeat(MAX_TARGETS / 2).into_boxed_str());
    let mut bench = Bench::new(
        [
            vec![("x", Ok(half)), ("y", Ok(half)), ("z", Ok("one more"))],
            vec![("x", Ok("a")), ("y", Ok("b")), ("z", Ok("c"))],
        ],
        LastGoodTargets::default(),
    );
    assert_eq!(bench.next().await.map(|list| list.len()), Some(MAX_TARGETS));
    assert_eq!(bench.next().await.map(|list| list.len()), Some(3));
    assert_eq!(bench.findings().failures, 1);
}
