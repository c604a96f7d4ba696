//! The machine, for the record's first lines.

use std::fs;
use std::thread::available_parallelism;
use std::time::{SystemTime, UNIX_EPOCH};

use indicatif::HumanBytes;

use super::gpu::TestedGpu;
use crate::error::Result;

/// What a record says of where it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// As the driver names it.
    pub gpu: String,
    /// `label: words`, in order.
    pub lines: Vec<(&'static str, String)>,
}

impl Machine {
    pub fn of(gpu: &TestedGpu) -> Result<Self> {
        let context = gpu.context();
        let (free, total) = context.memory()?;
        let capability = context.capability();
        let card = format!(
            "{}, sm_{}{}, {} of {} free before the check",
            context.name(),
            capability.major,
            capability.minor,
            HumanBytes(free),
            HumanBytes(total)
        );
        let driver = match kernel_module() {
            Some(module) => format!("{module}, CUDA {}", context.driver_version()?),
            None => format!("CUDA {}", context.driver_version()?),
        };
        let cores = available_parallelism().map_or(1, usize::from);
        let lines = vec![
            ("GPU", card),
            ("Driver", driver),
            ("Libraries", gpu.versions().to_string()),
            ("Machine", format!("{}, {cores} threads, load average {}", processor(), load())),
        ];
        Ok(Self { gpu: context.name().to_owned(), lines })
    }
}

/// The driver's own version, as its kernel module tells it.
fn kernel_module() -> Option<String> {
    let text = fs::read_to_string("/proc/driver/nvidia/version").ok()?;
    let words = text.lines().next()?.split_whitespace();
    let is_version = |word: &&str| word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    words.into_iter().find(is_version).map(str::to_owned)
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().filter(|load| !load.is_empty()).unwrap_or("unknown").to_owned()
}

/// Today in UTC, as 2026-01-31.
pub fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    date(seconds / 86_400)
}

/// The date so many days after 1970-01-01.
fn date(days: u64) -> String {
    // Years begin in March here, so that leap days end them; 400 years have 146,097 days, and 719,468 lie between 0000-03-01 and 1970-01-01.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = 400 * era + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn days_are_dates() {
        let cases = [(0, "1970-01-01"), (11_016, "2000-02-29"), (11_017, "2000-03-01"), (20_818, "2026-12-31")];
        for (days, expected) in cases {
            assert_eq!(date(days), expected);
        }
    }
}
