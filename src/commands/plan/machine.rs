//! The machine that a configuration is to run on: cores, open files, memory.

use std::{fs, path::Path};

use procfs::{Current, Meminfo};
use rustix::process::{Resource, getrlimit};

use crate::dispatcher;

/// The resources that the daemon may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Number of cores.
    pub cores: usize,
    /// The hard limit of open file descriptors, up to which the daemon raises its own; `None` for none.
    pub descriptors: Option<u64>,
    /// Bytes of memory: of the machine, or the limit of its control groups if that is lower; `None` if
    /// unknown.
    pub memory: Option<u64>,
}

impl Machine {
    /// Returns what this process may use.
    pub(super) fn this() -> Self {
        let installed = Meminfo::current().ok().map(|memory| memory.mem_total);
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let allowed = memory_limit(&groups, Path::new("/sys/fs/cgroup"));
        Self {
            cores: dispatcher::cores(),
            descriptors: getrlimit(Resource::Nofile).maximum,
            memory: installed.into_iter().chain(allowed).min(),
        }
    }
}

/// Returns the lowest memory limit of the control groups that `groups` lists, as cgroups(7) describes
/// `/proc/PID/cgroup`, and of their ancestors, all mounted below `root`: `memory.max` of version 2,
/// `memory.limit_in_bytes` of version 1.
fn memory_limit(groups: &str, root: &Path) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let (_, group) = line.split_once(':')?;
        let (controllers, path) = group.split_once(':')?;
        let (root, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => return None,
        };
        let group = root.join(path.trim_start_matches('/'));
        let chain = group
            .ancestors()
            .take_while(|group| group.starts_with(&root));
        // `max`, of a group without a limit, is not a number.
        let limits = chain.filter_map(|group| fs::read_to_string(group.join(file)).ok());
        limits
            .filter_map(|limit| limit.trim().parse::<u64>().ok())
            .min()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    #[test]
    fn the_lowest_limit_of_a_group_and_its_ancestors_applies() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        assert_eq!(memory_limit("0::/\n", root), None, "no control groups");
        write(root, "memory.max", "max\n");
        assert_eq!(memory_limit("0::/\n", root), None);
        write(root, "a/memory.max", "1000\n");
        write(root, "a/b/memory.max", "2000\n");
        write(root, "a/c/memory.max", "500\n");
        assert_eq!(memory_limit("0::/a/b\n", root), Some(1000));
        assert_eq!(memory_limit("0::/a/c\n", root), Some(500));
        write(root, "memory/d/memory.limit_in_bytes", "300\n");
        let groups = "12:cpu,cpuacct:/x\n4:memory:/d\nnot a line\n0::/a/c\n";
        assert_eq!(memory_limit(groups, root), Some(300));
    }
}
