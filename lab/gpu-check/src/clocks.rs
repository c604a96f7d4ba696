//! Clocks and power while something is measured, by nvidia-smi where it is installed.

use std::io::Read;
use std::process::{Child, Command, Stdio};

/// What is asked for, and the record's columns.
const QUERY: &str = "clocks.sm,clocks.mem,power.draw,temperature.gpu,pstate";
/// The column of the power.
const POWER: usize = 2;

/// A watch under way.
pub struct Clocks(Child);

/// What was seen meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClocksSeen {
    /// During what.
    pub name: &'static str,
    /// `before`, `at most power`, `after`, each with the columns of [`HEADER`].
    pub rows: Vec<(&'static str, Vec<String>)>,
}

/// The columns.
pub const HEADER: [&str; 5] = ["SM MHz", "memory MHz", "W", "°C", "state"];

impl Clocks {
    /// Begins to look, twice a second; nothing where there is no nvidia-smi.
    pub fn watch(ordinal: u32) -> Option<Self> {
        let mut command = Command::new("nvidia-smi");
        command.args([&format!("--query-gpu={QUERY}"), "--format=csv,noheader,nounits", "--loop-ms=500", "-i"]);
        command.arg(ordinal.to_string()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().ok().map(Self)
    }

    pub fn ended(mut self, name: &'static str) -> ClocksSeen {
        let mut text = String::new();
        // It may have ended by itself, without a card that it knows.
        let _ = self.0.kill();
        if let Some(mut output) = self.0.stdout.take() {
            let _ = output.read_to_string(&mut text);
        }
        let _ = self.0.wait();
        ClocksSeen { name, rows: rows(&text) }
    }
}

fn rows(text: &str) -> Vec<(&'static str, Vec<String>)> {
    let columns = |line: &str| line.split(',').map(|column| column.trim().to_owned()).collect::<Vec<_>>();
    let rows: Vec<_> = text.lines().map(columns).filter(|row| row.len() == HEADER.len()).collect();
    let power = |row: &&Vec<String>| row[POWER].parse::<f64>().unwrap_or(0.0);
    let most = rows.iter().max_by(|one, other| power(one).total_cmp(&power(other)));
    let named = [("before", rows.first()), ("at most power", most), ("after", rows.last())];
    named.into_iter().filter_map(|(name, row)| Some((name, row?.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_of_the_most_power_is_found_and_broken_ones_are_left_out() {
        let rows = rows("345, 2619, 70.1, 30, P0\n1980, 2619, 655.3, 50, P0\n1200, 2619, 99, 45, P0\n1980, 26");
        let clocks: Vec<_> = rows.iter().map(|(name, row)| (*name, row[0].as_str())).collect();
        assert_eq!(clocks, [("before", "345"), ("at most power", "1980"), ("after", "1200")]);
    }
}
