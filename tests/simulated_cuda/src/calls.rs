//! Every exported call goes through `enter`: it is counted, and may be told to fail.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard};

/// The result type of one of the four libraries.
pub trait Status: Copy + PartialEq + Debug + 'static {
    const SUCCESS: Self;
    /// What a call returns when the simulation itself panicked.
    const INTERNAL: Self;
    /// What `SIMULATED_CUDA_FAIL` may name.
    const NAMED: &'static [Self];
    /// How this function fails when asked to and not told how.
    fn usual_fault(function: &str) -> Self;
    /// What an injected fault does beside being returned.
    fn injected(self, _function: &str) {}
}

/// Defines C functions whose bodies return `Result<(), status>`.
macro_rules! exported {
    ($($(#[$attribute:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) -> $status:ty $body:block)*) => {$(
        $(#[$attribute])*
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $type),*) -> $status {
            $crate::calls::enter(stringify!($name), || -> Result<(), $status> { $body })
        }
    )*};
}

/// "The n-th call of `function` fails", or from the n-th on.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    function: String,
    nth: u64,
    every: bool,
    error: Option<String>,
}

impl Fault {
    /// Reads `function:n[:error]`; `n` may be `*` (every call) or `*n` (every one from the n-th).
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || format!("fault {text:?}: expected function:n[:error], n as 3, * or *3");
        let mut parts = text.splitn(3, ':');
        let function = parts.next().filter(|name| !name.is_empty()).ok_or_else(expected)?;
        let count = parts.next().ok_or_else(expected)?;
        let every = count.starts_with('*');
        let digits = count.trim_start_matches('*');
        let nth = if every && digits.is_empty() { 1 } else { digits.parse().map_err(|_| expected())? };
        Ok(Self { function: function.to_owned(), nth, every, error: parts.next().map(str::to_owned) })
    }
}

/// The counts of calls, and the faults asked for.
#[derive(Default)]
pub struct Calls {
    pub counts: BTreeMap<&'static str, u64>,
    pub faults: Vec<Fault>,
}

static CALLS: Mutex<Calls> = Mutex::new(Calls { counts: BTreeMap::new(), faults: Vec::new() });

/// The counts and the faults, locked.
pub fn lock() -> MutexGuard<'static, Calls> {
    CALLS.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Counts a call, and returns the fault that it must fail with.
fn count(function: &'static str) -> Option<Fault> {
    crate::settings::read_environment();
    let mut calls = lock();
    let count = calls.counts.entry(function).or_default();
    *count += 1;
    let count = *count;
    calls
        .faults
        .iter()
        .find(|fault| fault.function == function && if fault.every { count >= fault.nth } else { count == fault.nth })
        .cloned()
}

/// Counts a call that cannot fail.
pub fn enter_infallible(function: &'static str) {
    count(function);
}

/// Runs the body of a call, unless it has been told to fail.
pub fn enter<S: Status>(function: &'static str, body: impl FnOnce() -> Result<(), S>) -> S {
    if let Some(fault) = count(function) {
        let status = match fault.error {
            None => S::usual_fault(function),
            Some(name) => *S::NAMED.iter().find(|status| format!("{status:?}") == name).unwrap_or_else(|| {
                eprintln!("simulated CUDA: {function} cannot be told to fail with {name}; it can with {:?}", S::NAMED);
                std::process::abort()
            }),
        };
        status.injected(function);
        return status;
    }
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => S::SUCCESS,
        Ok(Err(status)) => status,
        Err(_) => {
            eprintln!("simulated CUDA: {function} panicked: a fault of the simulation");
            S::INTERNAL
        }
    }
}
