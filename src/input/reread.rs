//! Samples that were read before and are still in memory: asking the kernel to read them again costs a tenth of what augmenting them does.

use std::fs;
use std::sync::OnceLock;

/// Whether what this process has read is still in memory, as far as it can tell.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Of the moment when samples were first left out; `None` where the system does not say.
    faults_then: OnceLock<Option<u64>>,
}

impl Kept {
    /// Whether samples that were read before need not be asked for. No longer, for good, once the process has waited for a page since:
    /// what was in memory may have gone, and a page that was not asked for is read alone.
    pub(super) fn holds(&self) -> bool {
        self.holds_after(major_faults())
    }

    fn holds_after(&self, faults: Option<u64>) -> bool {
        let then = *self.faults_then.get_or_init(|| faults);
        then.is_some() && then == faults
    }
}

/// How many pages all threads of the process have waited for until a disk had read them.
fn major_faults() -> Option<u64> {
    faults_in(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// The 12th number of proc_pid_stat(5). The second is a name, which may hold spaces and brackets.
fn faults_in(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(9)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_fault_ends_it_for_good() {
        let kept = Kept::default();
        assert!(kept.holds_after(Some(7)) && kept.holds_after(Some(7)));
        assert!(!kept.holds_after(Some(8)) && !kept.holds_after(Some(9)));
    }

    #[test]
    fn what_the_system_does_not_say_does_not_hold() {
        let kept = Kept::default();
        assert!(!kept.holds_after(None) && !kept.holds_after(None) && !kept.holds_after(Some(0)));
    }

    #[test]
    fn the_twelfth_number_counts_whatever_the_name_is() {
        let stat = "4711 (a) 1 2 (b)) S 1 4711 4711 0 -1 4194304 512 0 93 0 12 5 0 0 20 0 1 0";
        assert_eq!(faults_in(stat), Some(93));
        assert!(major_faults().is_some());
    }
}
