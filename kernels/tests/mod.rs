//! Every kernel on the host, through the shim of the simulated CUDA, against the CPU backend's operations: in f64, from
//! the very values that the kernel reads.
//!
//! A C++ compiler is needed (`c++`, or what `CXX` names).

mod conv;
mod dense;
mod host;
mod shim;
mod step;

use self::host::Unit;
use crate::backend::cpu::testing::draws;
use crate::backend::cuda::real::Real;

/// Orders in which blocks and threads run: forwards, backwards, by leaps.
const ORDERS: [u32; 4] = [0, 1, 2, 7];

/// What a result may be off: a part of itself, and where terms cancel a part of the largest value around.
#[derive(Clone, Copy)]
struct Tolerance {
    relative: f64,
    absolute: f64,
}

/// Of one rounding to `R` behind arithmetic in f32, whose dozens of roundings of 2^-24 stay below 64 of them.
fn rounded<R: Real>() -> Tolerance {
    let arithmetic = 64.0 * 2_f64.powi(-24);
    // bf16 keeps eight bits: half of the last is 2^-8 of the first.
    let relative = if R::IS_MASTER { arithmetic } else { arithmetic + 2_f64.powi(-8) };
    Tolerance { relative, absolute: arithmetic }
}

/// Holds values against an oracle's.
#[track_caller]
fn assert_close(what: &str, values: &[f64], expected: &[f64], tolerance: Tolerance) {
    assert_eq!(values.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    for (at, (value, expected)) in values.iter().zip(expected).enumerate() {
        let allowed = tolerance.relative * expected.abs() + tolerance.absolute * largest;
        assert!((value - expected).abs() <= allowed, "{what} [{at}]: {value}, expected {expected} within {allowed}");
    }
}

/// Draws of N(0, 1) in `R`; others for each `stream`.
fn reals<R: Real>(len: usize, stream: u32) -> Vec<R> {
    draws(len, stream).into_iter().map(|value| R::from_f32(value as f32)).collect()
}

/// What no kernel may leave behind.
fn poisoned<R: Real>(len: usize) -> Vec<R> {
    vec![R::from_f32(f32::NAN); len]
}

fn wide<R: Real>(values: &[R]) -> Vec<f64> {
    values.iter().map(|value| f64::from(value.to_f32())).collect()
}

/// The results of `run` in every order of blocks and threads: bit for bit the same.
#[track_caller]
fn in_any_order<T: bytemuck::Pod>(what: &str, run: impl Fn(u32) -> Vec<T>) -> Vec<T> {
    let first = run(ORDERS[0]);
    for order in &ORDERS[1..] {
        let other = run(*order);
        assert!(
            bytemuck::cast_slice::<T, u8>(&first) == bytemuck::cast_slice::<T, u8>(&other),
            "{what}: other bits in order {order}"
        );
    }
    first
}
