//! Tells whether samples that were read before are still in memory. Requesting them again would cost a tenth of the
//! time that augmenting them takes.

use std::fs;
use std::sync::OnceLock;

#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The number of major faults when samples were first left out; `None` if the operating system does not tell.
    faults_then: OnceLock<Option<u64>>,
}

impl Kept {
    /// Whether samples that were read before need not be requested. This ends for good once the process has waited for
    /// a page: then what was in memory may be gone, and a page that was not requested is read alone.
    pub(super) fn holds(&self) -> bool {
        self.holds_after(major_faults())
    }

    fn holds_after(&self, faults: Option<u64>) -> bool {
        let then = *self.faults_then.get_or_init(|| faults);
        then.is_some() && then == faults
    }
}

/// The number of pages that the threads of this process have waited for a disk to read.
fn major_faults() -> Option<u64> {
    faults_in(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// Field 12 of proc_pid_stat(5). Field 2 is a name, which may contain spaces and brackets.
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
