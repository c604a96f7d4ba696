//! The report: what is alive, what was done wrong, what was called.

use std::collections::BTreeMap;
use std::ffi::c_char;
use std::sync::Once;

use serde_json::{Value, json};

use crate::device::{self, State};
use crate::driver::memory::Side;
use crate::observed::Observed;
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
    let Observed { waits, records, syncs, kernels, graph_priorities } = &state.observed;
    let waits = waits.iter().map(|((stream, event), count)| json!({"stream": stream, "event": event, "count": count}));
    let records =
        records.iter().map(|((event, stream), count)| json!({"event": event, "stream": stream, "count": count}));
    let syncs = syncs.iter().map(|(event, count)| json!({"event": event, "count": count}));
    json!({
        "alive": alive(&state),
        "leaks": state.leaks,
        "broken": state.broken.map(|status| format!("{status:?}")),
        "violations": state.violations,
        "waits": waits.collect::<Vec<_>>(),
        "records": records.collect::<Vec<_>>(),
        "syncs": syncs.collect::<Vec<_>>(),
        "kernels": kernels,
        "graph_priorities": graph_priorities,
        "calls": calls::lock().counts,
    })
}

/// Writes the report to the file asked for.
pub fn write() {
    let Some(path) = device::lock().settings.report.clone() else { return };
    if let Err(error) = std::fs::write(&path, format!("{:#}", report())) {
        eprintln!("simulated CUDA: {}: {error}", path.display());
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
    state.drop_pending();
    let State { streams, events, modules, functions, graphs, executables, captures, .. } = State::new();
    (state.streams, state.events, state.modules, state.functions) = (streams, events, modules, functions);
    (state.graphs, state.executables, state.captures) = (graphs, executables, captures);
    state.broken = None;
    state.memory.clear();
}

/// Forgets everything.
pub fn reset() {
    tear_down();
    cudnn::forget();
    cublaslt::forget();
    nvrtc::forget();
    *device::lock() = State::new();
    *calls::lock() = calls::Calls::default();
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
