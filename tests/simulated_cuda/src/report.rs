//! The report: what is alive, what was done wrong, what was called.

use std::collections::BTreeMap;
use std::ffi::c_char;
use std::path::Path;
use std::sync::Once;

use serde_json::{Value, json};

use crate::device::{self, State};
use crate::driver::memory::Side;
use crate::{calls, cublaslt, cudnn, nvrtc};

/// Numbers of live objects by kind.
fn alive(state: &State) -> BTreeMap<&'static str, usize> {
    let blocks = |side: Side| state.memory.blocks.values().filter(|block| block.side == side).count();
    let mut alive = BTreeMap::from([
        ("allocations", blocks(Side::Device)),
        ("pinned", blocks(Side::Pinned)),
        ("registered", blocks(Side::Registered)),
        ("contexts", state.retained as usize),
        ("streams", state.streams.len()),
        ("events", state.events.len()),
        ("modules", state.modules.len()),
        ("graphs", state.graphs.len()),
        ("executables", state.executables.len()),
        ("captures", state.captures.len()),
    ]);
    alive.extend(cudnn::alive());
    alive.extend(cublaslt::alive());
    alive.extend(nvrtc::alive());
    alive
}

/// The whole report.
pub fn report() -> Value {
    let state = device::lock();
    report_of(&state)
}

fn report_of(state: &State) -> Value {
    let waits = state
        .observed
        .waits
        .iter()
        .map(|((stream, event), count)| json!({"stream": stream, "event": event, "count": count}));
    let records = state
        .observed
        .records
        .iter()
        .map(|((event, stream), count)| json!({"event": event, "stream": stream, "count": count}));
    let syncs = state.observed.syncs.iter().map(|(event, count)| json!({"event": event, "count": count}));
    let left = state.memory.blocks.values().map(|block| json!(block.to_string()));
    json!({
        "alive": alive(state),
        "leaks": state.leaks,
        "blocks": left.collect::<Vec<_>>(),
        "used_bytes": state.memory.used_bytes,
        "peak_bytes": state.memory.peak_bytes,
        "broken": state.broken.map(|status| format!("{status:?}")),
        "violations": state.violations,
        "waits": waits.collect::<Vec<_>>(),
        "records": records.collect::<Vec<_>>(),
        "syncs": syncs.collect::<Vec<_>>(),
        "calls": calls::lock().counts,
    })
}

fn write_to(path: &Path, value: &Value) {
    let written =
        serde_json::to_vec_pretty(value).map_err(std::io::Error::other).and_then(|bytes| std::fs::write(path, bytes));
    if let Err(error) = written {
        eprintln!("simulated CUDA: {}: {error}", path.display());
    }
}

/// Writes the report and the counts to the files asked for.
pub fn write() {
    let (report_path, count_path) = {
        let state = device::lock();
        (state.settings.report.clone(), state.settings.count.clone())
    };
    if let Some(path) = report_path {
        write_to(&path, &report());
    }
    if let Some(path) = count_path {
        write_to(&path, &json!(calls::lock().counts));
    }
}

/// Destroys the context: what is left of it is noted as a leak and goes, as CUDA does, and a later one begins anew.
pub fn tear_down() {
    let mut state = device::quiet();
    let left: BTreeMap<_, _> = alive(&state).into_iter().filter(|(_, count)| *count > 0).collect();
    if !left.is_empty() {
        let blocks: Vec<_> = state.memory.blocks.values().map(|block| block.to_string()).collect();
        state.leaks.push(json!({"alive": left, "blocks": blocks}));
    }
    state.captures = crate::table::Table::new(0x507);
    state.drop_pending();
    let kept = State::new();
    state.streams = kept.streams;
    state.events = kept.events;
    state.modules = kept.modules;
    state.functions = kept.functions;
    state.graphs = kept.graphs;
    state.executables = kept.executables;
    state.broken = None;
    state.memory.clear();
}

/// Forgets everything but that the device was initialised.
pub fn reset() {
    tear_down();
    cudnn::forget();
    cublaslt::forget();
    nvrtc::forget();
    let mut state = device::lock();
    state.settings = crate::settings::Settings::default();
    state.retained = 0;
    state.initialised = false;
    state.observed = crate::observed::Observed::default();
    state.violations.clear();
    state.leaks.clear();
    drop(state);
    let mut calls = calls::lock();
    calls.counts.clear();
    calls.faults.clear();
}

/// Has the files written when the process ends.
pub fn at_exit() {
    extern "C" fn finish() {
        device::stop();
        write();
    }
    static ONCE: Once = Once::new();
    // SAFETY: the function is never unloaded: cudarc and the backend keep the libraries open.
    ONCE.call_once(|| unsafe {
        libc::atexit(finish);
    });
}

/// Writes the report as JSON with a final zero if it fits in `capacity` bytes; returns the bytes that it needs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn simulated_report(buffer: *mut c_char, capacity: usize) -> usize {
    let text = format!("{:#}\0", report());
    if !buffer.is_null() && text.len() <= capacity {
        std::ptr::copy_nonoverlapping(text.as_ptr().cast(), buffer, text.len());
    }
    text.len()
}
