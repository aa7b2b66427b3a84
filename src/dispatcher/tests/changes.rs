//! Monitors are added, changed and removed while the dispatcher runs.

use super::*;
use crate::{check::Fingerprint, dispatcher::ConfigDiff};

/// A job that was made from settings and files of these versions; each check takes `takes`.
fn version(name: &str, settings: u64, files: u64, takes: Duration) -> Job {
    let monitor = StandIn::new([takes]).of(format!("{name} {settings}.{files}"));
    Job {
        fingerprint: Fingerprint { settings, files },
        ..job(name, monitor, ms(5_000), ms(5_000))
    }
}

/// Has `running` run `wanted` and nothing else, as whoever reads a configuration does.
async fn want(running: &Running, wanted: Vec<Job>) -> ConfigDiff {
    let names = wanted.iter().map(|job| (&*job.name, job.fingerprint));
    let difference = running.handle.diff(names);
    let of = |index: &usize| wanted[*index].clone();
    let new = difference.added.iter().chain(&difference.changed);
    let change = ChangeSet {
        stop: difference.removed.clone(),
        start: new.map(of).collect(),
        renew: difference.files_changed.iter().map(of).collect(),
    };
    running.handle.apply(change).await;
    difference
}

#[tokio::test(start_paused = true)]
async fn what_is_wanted_is_told_from_what_runs() {
    let jobs = |versions: &[(&str, u64, u64)]| {
        let jobs = versions.iter();
        jobs.map(|(name, settings, files)| version(name, *settings, *files, ms(1)))
            .collect()
    };
    let running = Running::start(
        Settings::default(),
        jobs(&[
            ("a", 1, 1),
            ("b", 1, 1),
            ("c", 1, 1),
            ("d", 1, 1),
            ("e", 1, 1),
        ]),
    );
    let wanted = jobs(&[("new", 1, 1), ("c", 1, 2), ("b", 1, 1), ("a", 2, 1)]);
    let difference = want(&running, wanted).await;
    let expected = ConfigDiff {
        added: vec![0],
        changed: vec![3],
        files_changed: vec![1],
        removed: vec!["d".into(), "e".into()],
        unchanged: 1,
    };
    assert_eq!(difference, expected);
    tokio::time::sleep(ms(100)).await;
    let mut told = running.books.comings_and_goings();
    assert_eq!(told.split_off(5).len(), 5, "{told:?}");
    assert_eq!(told, ["+a", "+b", "+c", "+d", "+e"]);

    let wanted = jobs(&[("new", 1, 1), ("c", 1, 2), ("b", 1, 1), ("a", 2, 1)]);
    let same = ConfigDiff {
        unchanged: 4,
        ..ConfigDiff::default()
    };
    assert_eq!(want(&running, wanted).await, same);
    let none = ConfigDiff {
        removed: ["a", "b", "c", "new"].map(Into::into).into(),
        ..ConfigDiff::default()
    };
    assert_eq!(want(&running, Vec::new()).await, none);
    tokio::time::sleep(ms(100)).await;
    assert!(!running.task.is_finished(), "there may be something again");
    assert_eq!(want(&running, jobs(&[("a", 1, 1)])).await.added, [0]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_stays_keeps_its_slots_and_its_check_through_any_number_of_changes() {
    let running = Running::start(
        Settings::default(),
        vec![
            version("stays", 1, 1, ms(2_400)),
            version("changes", 0, 0, ms(3)),
        ],
    );
    // Most of them come while the check is in flight.
    for number in 1..=1000 {
        tokio::time::sleep(ms(7)).await;
        let changes = version("changes", number, number / 3, ms(3));
        want(&running, vec![version("stays", 1, 1, ms(2_400)), changes]).await;
    }
    tokio::time::sleep(ms(60_000)).await;
    let books = running.stop().await;
    let stays = books.host("stays 1.1");
    assert_eq!(stays.skipped, [0; Skip::ALL.len()]);
    assert_eq!(
        stays.started.len() as u64 - stays.cancelled,
        stays.outcomes.len() as u64
    );
    assert!(stays.cancelled <= 1, "by the shutdown alone: {stays:?}");
    for pair in stays.started[1..].windows(2) {
        assert!((pair[1] - pair[0]).abs_diff(ms(5_000)) <= ms(2));
    }
    let told = books.comings_and_goings();
    let count = |what: &str| told.iter().filter(|told| *told == what).count();
    assert_eq!((count("+stays"), count("-stays")), (1, 1));
    assert_eq!((count("+changes"), count("-changes")), (1001, 1001));
    assert_eq!(books.host("changes 1000.333").cancelled, 0);
}

#[tokio::test(start_paused = true)]
async fn what_changes_begins_anew_once_the_old_one_has_ended() {
    let running = Running::start(Settings::default(), vec![version("a", 1, 1, ms(5_000))]);
    tokio::time::sleep(ms(1_000)).await;
    // The last of several wins, and none runs beside another.
    let change = |settings| ChangeSet {
        start: vec![version("a", settings, 1, ms(1))],
        ..ChangeSet::default()
    };
    running.handle.apply(change(2)).await;
    running.handle.apply(change(3)).await;
    tokio::time::sleep(ms(1_000)).await;
    assert_eq!(
        running.books.comings_and_goings(),
        ["+a", "-a", "+a", "-a", "+a"]
    );
    assert_eq!(running.books.host("a 1.1").cancelled, 1);
    assert_eq!(
        running.books.host("a 3.1").outcomes.len(),
        1,
        "checked at once"
    );
    let books = running.stop().await;
    assert_eq!(books.all().most_running, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_renewed_goes_on_with_the_next_check() {
    let (old, new) = (StandIn::new([ms(2_000)]), StandIn::new([ms(1)]));
    let (old_checks, new_checks) = (old.checks.clone(), new.checks.clone());
    let of = |monitor, files| Job {
        fingerprint: Fingerprint { settings: 1, files },
        ..job("a", monitor, ms(5_000), ms(5_000))
    };
    let running = Running::start(Settings::default(), vec![of(old, 1)]);
    tokio::time::sleep(ms(1_000)).await;
    let difference = want(&running, vec![of(new, 2)]).await;
    assert_eq!(difference.files_changed, [0]);
    tokio::time::sleep(ms(60_000)).await;
    let books = running.stop().await;
    assert_eq!(books.comings_and_goings(), ["+a", "-a"]);
    let all = books.all();
    assert_eq!(all.skipped, [0; Skip::ALL.len()]);
    assert_eq!(
        all.cancelled, 0,
        "the check that was in flight came to its end"
    );
    assert_eq!(old_checks.load(Ordering::Relaxed), 1);
    assert_eq!(new_checks.load(Ordering::Relaxed), all.started.len() - 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_stopped_can_come_back_before_it_has_ended() {
    let running = Running::start(Settings::default(), vec![version("a", 1, 1, ms(5_000))]);
    tokio::time::sleep(ms(100)).await;
    running
        .handle
        .apply(ChangeSet {
            stop: vec!["a".into()],
            ..ChangeSet::default()
        })
        .await;
    let difference = want(&running, vec![version("a", 1, 1, ms(5_000))]).await;
    assert_eq!(difference.added, [0]);
    tokio::time::sleep(ms(100)).await;
    assert_eq!(running.books.comings_and_goings(), ["+a", "-a", "+a"]);
    running.stop().await;
}
