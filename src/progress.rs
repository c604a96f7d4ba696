//! Shows the progress of long work on standard error: a bar on a terminal, a line every few seconds elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

/// The time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Progress {
    what: String,
    unit: &'static str,
    total: u64,
    begun: Instant,
    /// Units done by an earlier process, which do not count in the speed.
    begun_at: u64,
    done: u64,
    message: String,
    display: Display,
}

#[derive(Debug)]
enum Display {
    Bar(ProgressBar),
    Lines { last: Instant },
}

impl Progress {
    /// Begins `total` units of work, of which an earlier process has done `done`.
    pub fn new(what: impl Into<String>, unit: &'static str, total: u64, done: u64) -> Self {
        let what = what.into();
        let display = if std::io::stderr().is_terminal() {
            let template = "{prefix} {wide_bar} {pos}/{len} {msg}";
            let style = ProgressStyle::with_template(template).expect("a template that indicatif reads");
            let bar = ProgressBar::new(total).with_style(style).with_prefix(what.clone()).with_position(done);
            bar.enable_steady_tick(Duration::from_millis(200));
            Display::Bar(bar)
        } else {
            Display::Lines { last: Instant::now() }
        };
        Self { what, unit, total, begun: Instant::now(), begun_at: done, done, message: String::new(), display }
    }

    pub fn set(&mut self, done: u64) {
        self.done = done;
        self.show(self.per_second());
    }

    /// As [`Progress::set`], but shows `rate` as the speed. The time left is that of the whole work, pauses included.
    pub fn set_at_rate(&mut self, done: u64, rate: f64) {
        self.done = done;
        self.show(rate);
    }

    fn show(&mut self, speed: f64) {
        let (done, pace) = (self.done, self.per_second());
        let left = if pace > 0.0 {
            let seconds = self.total.saturating_sub(done) as f64 / pace;
            format!(", {} left", HumanDuration(Duration::from_secs_f64(seconds.min(1e9))))
        } else {
            String::new()
        };
        let rate = format!("{speed:.0} {}/s{left}{}", self.unit, self.message);
        match &mut self.display {
            Display::Bar(bar) => {
                bar.set_position(done);
                bar.set_message(rate);
            }
            Display::Lines { last } => {
                if last.elapsed() >= LINE_EVERY {
                    *last = Instant::now();
                    crate::tell!("{}: {done}/{} {}, {rate}", self.what, self.total, self.unit);
                }
            }
        }
    }

    pub fn add(&mut self, units: u64) {
        self.set(self.done + units);
    }

    /// Sets a message that is shown beside the speed from the next update on.
    pub fn say(&mut self, message: &str) {
        self.message = if message.is_empty() { String::new() } else { format!(", {message}") };
    }

    /// Prints a line, above the bar if there is one.
    pub fn line(&self, line: &str) {
        match &self.display {
            Display::Bar(bar) => bar.suspend(|| crate::tell!("{line}")),
            Display::Lines { .. } => crate::tell!("{line}"),
        }
    }

    /// Units per second since this process began.
    pub fn per_second(&self) -> f64 {
        let seconds = self.begun.elapsed().as_secs_f64();
        if seconds > 0.0 { (self.done - self.begun_at) as f64 / seconds } else { 0.0 }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Display::Bar(bar) = &self.display {
            bar.finish_and_clear();
        }
    }
}
