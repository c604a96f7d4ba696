//! The device: the queues of its streams, and the thread that runs what the schedule lets run.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, Once};
use std::time::Instant;

use cudarc::driver::sys::CUresult;

use crate::driver::capture::{Capture, Graph};
use crate::driver::event::Event;
use crate::driver::memory::Memory;
use crate::driver::module::{Function, Module};
use crate::observed::Observed;
use crate::schedule::Class;
use crate::settings::Settings;
use crate::table::Table;

/// What an operation does when it runs; its argument is the order for a kernel's threads.
pub type Job = Box<dyn Fn(u32) -> Result<(), String> + Send + Sync>;

/// An operation on device memory.
pub struct Work {
    /// The call that enqueued it.
    pub name: &'static str,
    pub class: Class,
    /// Addresses of the blocks of memory that it uses.
    pub blocks: Vec<u64>,
    /// Of a kernel.
    pub launched: Option<Launched>,
    pub job: Job,
}

/// What a kernel was launched as.
#[derive(Clone, Copy)]
pub struct Launched {
    /// The handle of the function.
    pub function: u64,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub shared_bytes: u32,
}

/// One record of an event.
pub struct Token {
    pub stream: u64,
    done: AtomicBool,
    at: Mutex<Option<Instant>>,
}

impl Token {
    pub fn new(stream: u64) -> Arc<Self> {
        Arc::new(Self { stream, done: AtomicBool::new(false), at: Mutex::new(None) })
    }

    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// When the record was reached.
    pub fn at(&self) -> Option<Instant> {
        *self.at.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn finish(&self) {
        *self.at.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(Instant::now());
        self.done.store(true, Ordering::Release);
    }
}

/// What stands in a stream's queue.
#[derive(Clone)]
pub enum Step {
    Work(Arc<Work>),
    Record(Arc<Token>),
    Wait(Arc<Token>),
    Graph(Arc<Graph>),
}

impl Step {
    fn class(&self) -> Class {
        match self {
            Self::Work(work) => work.class,
            Self::Record(_) | Self::Wait(_) => Class::Event,
            Self::Graph(_) => Class::Compute,
        }
    }

    fn uses(&self, block: u64) -> bool {
        match self {
            Self::Work(work) => work.blocks.contains(&block),
            Self::Graph(graph) => graph.nodes().any(|work| work.blocks.contains(&block)),
            Self::Record(_) | Self::Wait(_) => false,
        }
    }
}

/// A step, and its place among all that were ever enqueued.
pub struct Queued {
    pub number: u64,
    pub step: Step,
}

/// A stream.
pub struct Stream {
    pub queue: VecDeque<Queued>,
    /// The capture that it takes part in.
    pub capture: Option<u64>,
    /// Whose lower number goes first.
    pub priority: i32,
}

/// What the host waits for.
#[derive(Clone)]
pub enum Demand {
    /// A record.
    Record(Arc<Token>),
    /// On each of these streams, all up to this number.
    Streams(Vec<u64>, u64),
}

/// Everything that the simulation knows.
pub struct State {
    pub settings: Settings,
    pub initialised: bool,
    /// How often the primary context is retained.
    pub retained: u32,
    /// The error that ended the context, returned by every later call.
    pub broken: Option<CUresult>,
    pub memory: Memory,
    pub streams: Table<Stream>,
    pub events: Table<Event>,
    pub modules: Table<Module>,
    pub functions: Table<Function>,
    pub graphs: Table<Arc<Graph>>,
    pub executables: Table<Arc<Graph>>,
    pub captures: Table<Capture>,
    pub observed: Observed,
    pub violations: Vec<String>,
    /// What was alive when the context was destroyed, once for each context.
    pub leaks: Vec<serde_json::Value>,
    /// Synchronous copies and fills that have returned and not yet arrived: no stream waits for them.
    arriving: Vec<Job>,
    demands: Table<Demand>,
    /// Records asked for by queries.
    asked: Vec<Arc<Token>>,
    running: Option<(u64, u64, Step)>,
    enqueued: u64,
    num_run: u64,
    stopping: bool,
}

static STATE: LazyLock<Mutex<State>> = LazyLock::new(|| Mutex::new(State::new()));
static CHANGED: Condvar = Condvar::new();

/// The state, locked.
pub type Guard = MutexGuard<'static, State>;

/// Locks the state.
pub fn lock() -> Guard {
    STATE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl State {
    pub fn new() -> Self {
        Self {
            settings: Settings::default(),
            initialised: false,
            retained: 0,
            broken: None,
            memory: Memory::default(),
            streams: Table::new(0x501),
            events: Table::new(0x502),
            modules: Table::new(0x503),
            functions: Table::new(0x504),
            graphs: Table::new(0x505),
            executables: Table::new(0x506),
            captures: Table::new(0x507),
            observed: Observed::default(),
            violations: Vec::new(),
            leaks: Vec::new(),
            arriving: Vec::new(),
            demands: Table::new(0x508),
            asked: Vec::new(),
            running: None,
            enqueued: 0,
            num_run: 0,
            stopping: false,
        }
    }

    /// Notes what the program under test did wrong.
    pub fn violation(&mut self, message: String) {
        eprintln!("simulated CUDA: {message}");
        self.violations.push(message);
    }

    /// Notes it, and returns the error for it.
    pub fn refuse<T, S>(&mut self, status: S, message: impl Into<String>) -> Result<T, S> {
        self.violation(message.into());
        Err(status)
    }

    /// Ends the context: pending work is dropped, nothing is recorded any more, and every later call fails with
    /// `status`.
    pub fn break_down(&mut self, status: CUresult) {
        self.broken.get_or_insert(status);
        self.streams.values_mut().for_each(|stream| stream.capture = None);
        self.drop_pending();
        CHANGED.notify_all();
    }

    /// Drops what has not run; its records count as reached.
    pub fn drop_pending(&mut self) {
        self.arriving.clear();
        for stream in self.streams.values_mut() {
            for queued in stream.queue.drain(..) {
                if let Step::Record(token) = queued.step {
                    token.finish();
                }
            }
        }
        self.asked.clear();
    }

    /// A synchronous copy or fill from pageable memory: it returns, and arrives now or, where the schedule delays
    /// copies, when something needs that all have arrived.
    pub fn arrive(&mut self, job: Job) -> Result<(), CUresult> {
        self.all_arrive()?;
        self.arriving.push(job);
        if self.settings.schedule.delays(Class::Copy, u32::MAX, self.last_number()) {
            return Ok(());
        }
        self.all_arrive()
    }

    /// Lets them all arrive.
    pub fn all_arrive(&mut self) -> Result<(), CUresult> {
        std::mem::take(&mut self.arriving)
            .into_iter()
            .try_for_each(|job| job(0))
            .map_err(|_| CUresult::CUDA_ERROR_UNKNOWN)
    }

    /// An error if the context is broken.
    pub fn sound(&self) -> Result<(), CUresult> {
        self.broken.map_or(Ok(()), Err)
    }

    /// Puts a step at the end of a stream's queue.
    pub fn push(&mut self, stream: u64, step: Step) {
        let number = self.next_number();
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.queue.push_back(Queued { number, step });
        }
        CHANGED.notify_all();
    }

    /// Puts a record before the work last enqueued on a stream, or says at once that it is reached if that work has
    /// begun.
    pub fn push_early(&mut self, stream: u64, token: Arc<Token>) {
        let Some(stream) = self.streams.get_mut(stream) else { return };
        match stream.queue.iter().rposition(|queued| matches!(queued.step, Step::Work(_) | Step::Graph(_))) {
            None => token.finish(),
            Some(place) => {
                let number = stream.queue[place].number;
                stream.queue.insert(place, Queued { number, step: Step::Record(token) });
            }
        }
        CHANGED.notify_all();
    }

    fn next_number(&mut self) -> u64 {
        self.enqueued += 1;
        self.enqueued
    }

    /// The number of the step last enqueued anywhere.
    pub fn last_number(&self) -> u64 {
        self.enqueued
    }

    /// Work that has not finished and uses this block: the call that enqueued it.
    pub fn pending_use(&self, block: u64) -> Option<&'static str> {
        let name = |step: &Step| match step {
            Step::Work(work) => work.name,
            _ => "cuGraphLaunch",
        };
        let queued = self.streams.iter().flat_map(|(_, stream)| stream.queue.iter().map(|queued| &queued.step));
        queued.chain(self.running.iter().map(|(_, _, step)| step)).find(|step| step.uses(block)).map(name)
    }

    /// Whether nothing on this stream up to `number` is queued or running.
    pub fn is_idle(&self, stream: u64, number: u64) -> bool {
        let running = self.running.as_ref().is_some_and(|(on, running, _)| *on == stream && *running <= number);
        let waits_done = |queued: &Queued| matches!(&queued.step, Step::Wait(token) if token.is_done());
        let queued = self.streams.get(stream).and_then(|stream| stream.queue.iter().find(|queued| !waits_done(queued)));
        !running && queued.is_none_or(|queued| queued.number > number)
    }

    fn is_met(&self, demand: &Demand) -> bool {
        match demand {
            Demand::Record(token) => token.is_done(),
            Demand::Streams(streams, number) => streams.iter().all(|stream| self.is_idle(*stream, *number)),
        }
    }

    /// From now on, runs what this record needs, though the host does not wait.
    pub fn ask_for(&mut self, token: &Arc<Token>) {
        self.asked.push(token.clone());
        CHANGED.notify_all();
    }

    /// Removes waits that are over.
    fn pass_waits(&mut self) {
        for stream in self.streams.values_mut() {
            while matches!(stream.queue.front(), Some(Queued { step: Step::Wait(token), .. }) if token.is_done()) {
                stream.queue.pop_front();
            }
        }
    }

    /// The stream whose first step runs next.
    fn pick(&self) -> Option<u64> {
        let heads = self.streams.iter().filter_map(|(handle, stream)| Some((handle, stream.queue.front()?)));
        let ready = heads.filter(|(_, head)| !matches!(head.step, Step::Wait(_)));
        let schedule = &self.settings.schedule;
        let (streams, numbers): (Vec<_>, Vec<_>) = ready
            .filter(|(handle, head)| !schedule.delays(head.step.class(), self.streams.ordinal(*handle), head.number))
            .map(|(handle, head)| (handle, head.number))
            .unzip();
        if !numbers.is_empty() {
            return Some(streams[schedule.choose(&numbers, self.num_run)]);
        }
        let asked = self.asked.iter().filter(|token| !token.is_done()).find_map(|token| self.needed(token.stream));
        asked.or_else(|| self.demands.iter().find_map(|(_, demand)| self.needed_for(demand)))
    }

    fn needed_for(&self, demand: &Demand) -> Option<u64> {
        match demand {
            Demand::Record(token) if token.is_done() => None,
            Demand::Record(token) => self.needed(token.stream),
            Demand::Streams(streams, number) => {
                streams.iter().filter(|stream| !self.is_idle(**stream, *number)).find_map(|stream| self.needed(*stream))
            }
        }
    }

    /// The stream whose first step must run so that this stream gets on.
    fn needed(&self, mut stream: u64) -> Option<u64> {
        loop {
            match &self.streams.get(stream)?.queue.front()?.step {
                Step::Wait(token) if !token.is_done() => stream = token.stream,
                _ => return Some(stream),
            }
        }
    }
}

/// Waits until `demand` is met, or in a broken context until what runs has ended; then looks at all guard zones.
pub fn wait(mut state: Guard, demand: Demand) -> Result<Guard, CUresult> {
    let asked = state.demands.insert(demand.clone());
    CHANGED.notify_all();
    state.pass_waits();
    while if state.broken.is_some() { state.running.is_some() } else { !state.is_met(&demand) } {
        state = changed(state);
        state.pass_waits();
    }
    state.demands.remove(asked);
    if let Some(damage) = state.memory.damage() {
        state.violation(damage);
        state.break_down(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
    }
    state.sound()?;
    Ok(state)
}

/// Starts the thread that runs the queues, once in a process.
pub fn start() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let spawned = std::thread::Builder::new().name("simulated-gpu".to_owned()).spawn(run_queues);
        if let Err(error) = spawned {
            eprintln!("simulated CUDA: no thread for the device: {error}");
            std::process::abort();
        }
    });
}

/// The state once no step runs; nothing is queued any more.
pub fn quiet() -> Guard {
    let mut state = lock();
    state.drop_pending();
    while state.running.is_some() {
        state = changed(state);
    }
    state
}

/// Lets the running step finish, and begins no other: for the end of the process.
pub fn stop() {
    let mut state = lock();
    state.stopping = true;
    while state.running.is_some() {
        state = changed(state);
    }
}

/// The state after its next change.
fn changed(state: Guard) -> Guard {
    CHANGED.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn run_queues() {
    let mut state = lock();
    loop {
        state.pass_waits();
        let picked = if state.stopping { None } else { state.pick() };
        let next = picked.and_then(|stream| Some((stream, state.streams.get_mut(stream)?.queue.pop_front()?)));
        let Some((stream, Queued { number, step })) = next else {
            state = changed(state);
            continue;
        };
        state.num_run += 1;
        let schedule = state.settings.schedule.clone();
        state.running = Some((stream, number, step.clone()));
        let outcome = match &step {
            Step::Record(token) => {
                token.finish();
                Ok(())
            }
            Step::Wait(_) => Ok(()),
            Step::Work(work) => {
                drop(state);
                let outcome =
                    (work.job)(schedule.thread_order(number)).map_err(|message| format!("{}: {message}", work.name));
                state = lock();
                outcome
            }
            Step::Graph(graph) => {
                drop(state);
                let outcome = graph.run(&schedule, number);
                state = lock();
                outcome
            }
        };
        state.running = None;
        state.asked.retain(|token| !token.is_done());
        if let Err(message) = outcome {
            state.violation(message);
            state.break_down(CUresult::CUDA_ERROR_LAUNCH_FAILED);
        }
        CHANGED.notify_all();
    }
}
