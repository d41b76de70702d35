//! How much memory there is: that of the machine, or what its groups leave to this process.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// If nothing tells.
const FALLBACK_BYTES: usize = 1 << 30;

pub(super) fn memory_bytes() -> usize {
    let machine = read_to_string("/proc/meminfo").ok().and_then(|text| total_bytes(&text));
    let groups = read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits =
        limit_files(&groups).into_iter().filter_map(|path| read_to_string(path).ok()?.trim().parse().ok());
    machine.into_iter().chain(limits).min().unwrap_or(FALLBACK_BYTES)
}

fn total_bytes(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Where limits may stand: those of the group of each line of `/proc/self/cgroup` (`0::/group`, or
/// `4:memory:/group` in the first version) and of all above it. A container may see its group as the root.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let of_line = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next()?, parts.next()?);
        let (mount, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => return None,
        };
        let group = Path::new(mount).join(group.trim_start_matches('/'));
        let levels = group.ancestors().take_while(|level| level.starts_with(mount));
        Some(levels.map(|level| level.join(file)).collect::<Vec<_>>())
    };
    groups.lines().filter_map(of_line).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_tells_in_kibibytes() {
        assert_eq!(total_bytes("MemTotal:       24684084 kB\nMemFree: 1 kB\n"), Some(24_684_084 << 10));
        assert_eq!(total_bytes("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn limits_stand_at_the_group_and_at_all_above_it() {
        check("0::/\n", &["/sys/fs/cgroup/memory.max"]);
        check(
            "0::/system.slice/cauce.service\n",
            &[
                "/sys/fs/cgroup/system.slice/cauce.service/memory.max",
                "/sys/fs/cgroup/system.slice/memory.max",
                "/sys/fs/cgroup/memory.max",
            ],
        );
        check(
            "4:memory:/box\n3:cpuset:/\n",
            &[
                "/sys/fs/cgroup/memory/box/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            ],
        );
        check("nonsense\n", &[]);
    }

    fn check(groups: &str, expected: &[&str]) {
        let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
        assert_eq!(limit_files(groups), expected);
    }
}
