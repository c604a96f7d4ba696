//! The process that starts the others, watches them, and writes the record after each finding.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use super::alone::Alone;
use super::child::ChildOptions;
use super::clocks::Clocks;
use super::finding::{Finding, Note};
use super::job::Job;
use super::options::{Extent, GpuCheckOptions};
use super::outcome::{Checked, Outcome};
use super::record::Record;
use alexnet::backend::cuda::libraries::compile::CACHE_VARIABLE;
use alexnet::error::{Error, IoContext, Result};

/// The dataset's folder in that of the check.
const SHARDS: &str = "shards";
/// How often the children are looked at.
const POLL: Duration = Duration::from_millis(10);
/// Lines of a library's log or of a process's last words that the record has, at most.
const NUM_LINES: usize = 20;

/// Does the jobs that are wanted.
pub fn run(options: &GpuCheckOptions) -> Result<(Record, PathBuf)> {
    let folder = tempfile::Builder::new().prefix("alexnet-gpu-check-").tempdir();
    let folder = folder.at("create a folder in", std::env::temp_dir())?;
    let mut check = Check {
        options,
        extent: options.scale.extent(),
        begun: Instant::now(),
        folder,
        record: Record::today(options),
        path: None,
    };
    for job in Job::ALL.into_iter().filter(|job| job.is_wanted(options.only)) {
        check.work(job)?;
    }
    check.record.under_way = None;
    check.publish()?;
    Ok((check.record, check.path.expect("the first job has found the machine")))
}

struct Check<'a> {
    options: &'a GpuCheckOptions,
    extent: Extent,
    begun: Instant,
    folder: TempDir,
    record: Record,
    /// Of the record, once the card's name is known.
    path: Option<PathBuf>,
}

/// How a child's turn ended.
enum Turn {
    Done,
    /// The next child goes on with that task.
    Next(usize),
    /// Nothing of the job is left that could be done.
    GivenUp,
}

impl Check<'_> {
    fn work(&mut self, job: Job) -> Result<()> {
        // Without the machine's name there is no record to say that there was no time.
        if self.is_over() && job != Job::Machine {
            return self.take(job, Finding::Checked(Checked::skipped(job.name(), self.deadline_words())));
        }
        if job.needs_dataset() && !self.shards().join("dataset.json").exists() {
            let why = "there is no dataset to train on";
            return self.take(job, Finding::Checked(Checked::skipped(job.name(), why)));
        }
        let clocks = job.is_measured().then(|| Clocks::watch(self.options.ordinal)).flatten();
        let mut from = 0;
        while let Turn::Next(next) = self.turn(job, from)? {
            from = next;
        }
        self.record.clocks.extend(clocks.map(|clocks| clocks.ended(job.name())));
        if self.record.machine.is_none() {
            let why = self.record.checks.pop().map_or_else(String::new, |checked| checked.found);
            let why = why.strip_prefix("cuda: ").unwrap_or(&why).to_owned();
            return Err(Error::Device(why));
        }
        self.publish()
    }

    /// One child, from its start to its end.
    fn turn(&mut self, job: Job, from: usize) -> Result<Turn> {
        let mut child = Started::start(&self.folder, job, from, self.options)?;
        let limit = job.task_limit(&self.extent);
        let (mut next, mut under_way, mut is_done, mut heard) = (from, None, false, Instant::now());
        let mut refused = None;
        loop {
            // Asked first, so that nothing that it wrote is missed.
            let status = child.process.try_wait().at("wait for", &child.path)?;
            child.forward_words();
            for note in child.notes.lines().iter().filter_map(|line| serde_json::from_str(line).ok()) {
                heard = Instant::now();
                match note {
                    Note::Begun(name) => {
                        under_way = Some(name.clone());
                        self.record.under_way = Some(name);
                        self.publish()?;
                    }
                    Note::Found(finding) => {
                        (under_way, next) = (None, next + 1);
                        self.record.under_way = None;
                        self.take(job, child.with_logs(finding))?;
                    }
                    Note::Refused(why) => refused = Some(why),
                    Note::Ended => is_done = true,
                }
            }
            if let Some(status) = status {
                if is_done {
                    return Ok(Turn::Done);
                }
                let why = refused.unwrap_or_else(|| how(status) + &child.last_words());
                return match under_way {
                    Some(name) => self.lost(job, &child, &name, why).map(|()| Turn::Next(next + 1)),
                    None if next > from => Ok(Turn::Next(next)),
                    None => self.lost(job, &child, job.name(), why).map(|()| Turn::GivenUp),
                };
            }
            if self.is_over() && job != Job::Machine {
                child.stop();
                let name = under_way.as_deref().unwrap_or(job.name());
                self.take(job, Finding::Checked(Checked::skipped(name, self.deadline_words())))?;
                return Ok(Turn::GivenUp);
            }
            if heard.elapsed() >= limit {
                child.stop();
                let why = format!("it did not end within {} s and was stopped{}", limit.as_secs(), child.last_words());
                return match under_way {
                    Some(name) => self.lost(job, &child, &name, why).map(|()| Turn::Next(next + 1)),
                    None => self.lost(job, &child, job.name(), why).map(|()| Turn::GivenUp),
                };
            }
            std::thread::sleep(POLL);
        }
    }

    fn shards(&self) -> PathBuf {
        self.folder.path().join(SHARDS)
    }

    fn is_over(&self) -> bool {
        self.begun.elapsed() >= self.options.deadline()
    }

    fn deadline_words(&self) -> String {
        format!("the deadline of {} s was over", self.options.deadline().as_secs())
    }

    /// What a task cost that its process did not survive.
    fn lost(&mut self, job: Job, child: &Started, name: &str, why: String) -> Result<()> {
        self.record.under_way = None;
        self.take(job, child.with_logs(Finding::Checked(Checked::failed(name, why))))
    }

    fn take(&mut self, job: Job, finding: Finding) -> Result<()> {
        match finding {
            Finding::Machine(machine) => self.record.machine = Some(machine),
            Finding::Alone(alone) => self.record.alone.push(alone),
            // It was not run, or not to its end.
            Finding::Checked(checked) if job.is_of_calls_alone() => {
                self.record.alone.push(Alone { checked, numbers: None });
            }
            Finding::Checked(checked) => self.record.checks.push(checked),
            Finding::Measured(measured) => self.record.speeds.take(measured),
            Finding::Nothing => {}
        }
        self.publish()
    }

    /// Writes the record as it stands, in the place of the one before.
    fn publish(&mut self) -> Result<()> {
        if self.record.machine.is_none() {
            return Ok(());
        }
        self.record.seconds = self.begun.elapsed().as_secs_f64();
        let path = match self.path.take() {
            Some(path) => path,
            None => self.record.free_path(&self.options.out)?,
        };
        self.record.write(&path)?;
        self.path = Some(path);
        Ok(())
    }
}

/// A child at work.
struct Started {
    process: Child,
    path: PathBuf,
    notes: Tail,
    words: Tail,
    /// What it has said last.
    said: Vec<String>,
    logs: [PathBuf; 2],
}

impl Started {
    fn start(folder: &TempDir, job: Job, from: usize, options: &GpuCheckOptions) -> Result<Self> {
        let file = |name: &str| folder.path().join(name);
        let [notes, words] = [format!("{job:?}-{from}.notes"), format!("{job:?}-{from}.words")].map(|name| file(&name));
        let child = ChildOptions { job, from, notes: notes.clone(), shards: file(SHARDS), options: options.clone() };
        let text = serde_json::to_string(&child).expect("words and numbers are JSON");
        let path = std::env::current_exe().at("find", Path::new("gpu-check"))?;
        let stderr = File::create(&words).at("create", &words)?;
        File::create(&notes).at("create", &notes)?;
        let logs = [file("cudnn.log"), file("cublaslt.log")];
        let mut command = Command::new(&path);
        command.arg("--job").arg(text).stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).process_group(0);
        // Errors alone: the libraries' own words for what they refuse.
        let variables = [["CUDNN_LOGLEVEL_DBG", "CUDNN_LOGDEST_DBG"], ["CUBLASLT_LOG_LEVEL", "CUBLASLT_LOG_FILE"]];
        for ([level, destination], log) in variables.iter().zip(&logs) {
            if std::env::var_os(level).is_none() && std::env::var_os(destination).is_none() {
                command.env(level, "1").env(destination, log);
            }
        }
        // What earlier runs have timed would not be timed again.
        if job == Job::Runs {
            command.env(CACHE_VARIABLE, file("cache"));
        }
        let process = command.spawn().at("run", &path)?;
        let [notes, words] = [notes, words].map(|path| Tail { path, read: 0, rest: Vec::new() });
        Ok(Self { process, path, notes, words, said: Vec::new(), logs })
    }

    /// Says what it has said.
    fn forward_words(&mut self) {
        for line in self.words.lines() {
            alexnet::tell!("{line}");
            self.said.push(line);
        }
    }

    /// For the end of a line: what a process said before it died.
    fn last_words(&mut self) -> String {
        self.forward_words();
        let lines = &self.said[self.said.len().saturating_sub(3)..];
        if lines.is_empty() { String::new() } else { format!("; its last words: {}", lines.join(" / ")) }
    }

    fn stop(&mut self) {
        // It may have ended by itself meanwhile.
        let _ = kill_process_group(Pid::from_child(&self.process), Signal::KILL);
        let _ = self.process.wait();
    }

    /// What failed, with what the libraries wrote about it.
    fn with_logs(&self, mut finding: Finding) -> Finding {
        if let Some(checked) = finding.checked().filter(|checked| checked.outcome == Outcome::Failed) {
            for log in &self.logs {
                let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
                let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
                let last = &lines[lines.len().saturating_sub(NUM_LINES)..];
                let name = log.file_name().unwrap_or_default().to_string_lossy();
                checked.details.extend(last.iter().map(|line| format!("{name}: {line}")));
                // What is in it is told once; where it cannot be removed it is told again.
                let _ = fs::remove_file(log);
            }
        }
        finding
    }
}

fn how(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("its process died of signal {signal}"),
        (None, Some(code)) => format!("its process ended with exit code {code}"),
        (None, None) => "its process ended".to_owned(),
    }
}

/// A file that another process appends lines to.
struct Tail {
    path: PathBuf,
    read: u64,
    /// The beginning of a line.
    rest: Vec<u8>,
}

impl Tail {
    /// The whole lines that have come.
    fn lines(&mut self) -> Vec<String> {
        let mut new = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.read))?;
            file.read_to_end(&mut new)
        });
        self.read += read.unwrap_or(0) as u64;
        self.rest.append(&mut new);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        String::from_utf8_lossy(&whole).lines().map(str::to_owned).collect()
    }
}
