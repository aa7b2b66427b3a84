//! Distributes monitors over several daemons without communication.

use std::{env, fs, str::FromStr};

use super::schedule::hash;
use crate::check::Replica;

/// One of several daemons that share the monitors of one configuration.
///
/// Rendezvous hashing: every shard has a score for every name, and a monitor runs on the shards with
/// the highest scores. An additional shard takes over its share of the monitors, and no others move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Index of this shard, from 0.
    index: u32,
    /// Number of shards.
    count: u32,
}

/// Maximum number of shards; each costs a hash for every monitor.
const MAX_SHARDS: u32 = 10_000;

impl Shard {
    /// Returns the shard `index` of `count`, or `None` if it does not exist.
    #[must_use]
    pub fn new(index: u32, count: u32) -> Option<Self> {
        (index < count && count <= MAX_SHARDS).then_some(Self { index, count })
    }

    /// Returns the replica of the monitor `name` that this shard runs, if it runs one.
    #[must_use]
    pub fn replica(&self, name: &str, replicas: u32) -> Option<Replica> {
        let count = replicas.clamp(1, self.count);
        let own = score(name, self.index);
        let better = (0..self.count)
            .filter(|other| score(name, *other) > own)
            .count();
        let index = u32::try_from(better).ok().filter(|index| *index < count)?;
        Some(Replica { index, count })
    }

    fn parse(text: &str, ordinal: impl FnOnce() -> Option<u32>) -> Result<Self, String> {
        let wrong = || format!("invalid shard {text:?}: expected I/N such as 0/3, or ordinal/3");
        let (index, count) = text.split_once('/').ok_or_else(wrong)?;
        let count: u32 = count.parse().map_err(|_| wrong())?;
        let index = if index == "ordinal" {
            ordinal()
                .ok_or("the host name does not end with a number: expected one such as web-0")?
        } else {
            index.parse().map_err(|_| wrong())?
        };
        Self::new(index, count).ok_or_else(|| match count {
            0 => "invalid number of shards 0: expected at least 1".to_owned(),
            1..=MAX_SHARDS => format!("invalid shard: expected 0 to {} of {count}", count - 1),
            _ => format!("too many shards: expected at most {MAX_SHARDS}"),
        })
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text, || ordinal(&host_name()?))
    }
}

fn score(name: &str, shard: u32) -> u64 {
    hash(&format!("{name}\n{shard}"))
}

/// The number after the last hyphen, as in the pods of a StatefulSet.
fn ordinal(host: &str) -> Option<u32> {
    host.trim().rsplit_once('-')?.1.parse().ok()
}

fn host_name() -> Option<String> {
    let of_kernel = || fs::read_to_string("/proc/sys/kernel/hostname").ok();
    env::var("HOSTNAME").ok().or_else(of_kernel)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONITORS: u32 = 3_000;

    /// The shards of `count` that run each monitor, in the order of replicas.
    fn holders(count: u32, replicas: u32) -> Vec<Vec<u32>> {
        let of = |monitor: u32| {
            let name = format!("monitor {monitor}");
            let replica = |index| Shard::new(index, count)?.replica(&name, replicas);
            let mut found: Vec<_> = (0..count)
                .filter_map(|index| Some((replica(index)?.index, index)))
                .collect();
            found.sort_unstable();
            let ranks: Vec<_> = found.iter().map(|(rank, _)| *rank).collect();
            let expected: Vec<_> = (0..replicas.min(count)).collect();
            assert_eq!(ranks, expected, "each rank once");
            found.into_iter().map(|(_, index)| index).collect()
        };
        (0..MONITORS).map(of).collect()
    }

    #[test]
    fn every_monitor_runs_on_as_many_shards_as_it_has_replicas() {
        for (count, replicas) in [(1, 1), (3, 1), (3, 2), (3, 3), (2, 3), (7, 2)] {
            let holders = holders(count, replicas);
            for shard in 0..count {
                let held = holders.iter().filter(|of| of.contains(&shard)).count();
                let held = u32::try_from(held).expect("few");
                let fair = MONITORS * replicas.min(count) / count;
                assert!(held.abs_diff(fair) < fair / 8, "{held} and not {fair}");
            }
        }
    }

    #[test]
    fn one_shard_more_takes_its_share_and_moves_nothing_else() {
        let (before, after) = (holders(4, 1), holders(5, 1));
        let moved: Vec<_> = before.iter().zip(&after).filter(|(a, b)| a != b).collect();
        assert!(
            moved.iter().all(|(_, after)| **after == [4]),
            "to the new one alone"
        );
        let fair = MONITORS as usize / 5;
        assert!(moved.len().abs_diff(fair) < fair / 8, "{}", moved.len());
    }

    #[test]
    fn names_have_the_same_shards_for_ever() {
        let of = |name| {
            (0..5).find(|index| {
                let shard = Shard::new(*index, 5).expect("a shard");
                shard.replica(name, 1).is_some()
            })
        };
        let found = ["example", "httpbin", "a", "web/192.0.2.1:80"].map(of);
        assert_eq!(found, [Some(3), Some(0), Some(1), Some(3)]);
    }

    #[track_caller]
    fn check(text: &str, ordinal: Option<u32>, expected: Result<(u32, u32), &str>) {
        let read = Shard::parse(text, || ordinal);
        let read = read.as_ref().map(|shard| (shard.index, shard.count));
        assert_eq!(read.map_err(String::as_str), expected, "{text}");
    }

    #[test]
    fn a_shard_is_one_of_several() {
        check("0/1", None, Ok((0, 1)));
        check("2/3", None, Ok((2, 3)));
        check("ordinal/3", Some(1), Ok((1, 3)));
        check("3/3", None, Err("invalid shard: expected 0 to 2 of 3"));
        check(
            "ordinal/3",
            Some(3),
            Err("invalid shard: expected 0 to 2 of 3"),
        );
        check(
            "0/0",
            None,
            Err("invalid number of shards 0: expected at least 1"),
        );
        check(
            "0/10001",
            None,
            Err("too many shards: expected at most 10000"),
        );
        let none = "the host name does not end with a number: expected one such as web-0";
        check("ordinal/3", None, Err(none));
        for text in ["", "1", "/", "a/3", "1/b", "-1/3", "1/3/5"] {
            let wrong = format!("invalid shard {text:?}: expected I/N such as 0/3, or ordinal/3");
            check(text, None, Err(&wrong));
        }
    }

    #[test]
    fn an_ordinal_is_behind_the_last_hyphen() {
        assert_eq!(ordinal("monitoringdaemon-12\n"), Some(12));
        assert_eq!(ordinal("a-b-0"), Some(0));
        for host in ["", "web", "web-", "web-x", "12", "web-99999999999"] {
            assert_eq!(ordinal(host), None, "{host}");
        }
    }
}
