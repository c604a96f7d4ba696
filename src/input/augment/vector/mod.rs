//! The augmenter on vectors: one walk along a row, for vectors of any width.
// Vector instructions may run only where the processor has them.
#![allow(unsafe_code)]

mod avx2;
mod avx512;

use std::arch::x86_64 as simd;

pub(super) use self::avx2::Avx2;
pub(super) use self::avx512::Avx512;
use super::rows::{Row, Value};
use super::scalar;
use crate::input::view::{Frame, Mirror, View};
use crate::shard::format::PAGE_BYTES;

/// The vectors of one width. Unsafe functions may be called only where [`Vector::is_supported`].
pub(super) trait Vector {
    /// Values that [`Vector::write_piece`] writes.
    const LANES: usize;
    fn is_supported() -> bool;
    /// [`super::rows::write_rows`] and [`write_row`], compiled for these vectors.
    unsafe fn write_rows<V: Value>(bytes: &[u8], mean: &[u8], view: &View, frame: Frame, out: &mut [V]);
    /// Writes `LANES` values of a row from `LANES` bytes of the sample and of the mean image; mirrored, the last byte
    /// comes first.
    unsafe fn write_piece<V: Value>(row: &Row<'_>, bytes: &[u8], mean: &[u8], out: &mut [V]);
}

/// As [`super::Augmenter::write`], which has checked the lengths.
pub(super) fn write<S: Vector, V: Value>(bytes: &[u8], mean: &[u8], view: &View, frame: Frame, out: &mut [V]) {
    assert!(S::is_supported(), "an augmenter is made only where it can run");
    // SAFETY: the processor has the instructions, as asserted above.
    unsafe { S::write_rows(bytes, mean, view, frame, out) }
}

/// Writes whole pieces of a row on vectors, and the rest in plain Rust.
///
/// # Safety
/// `S` is supported.
#[inline(always)]
unsafe fn write_row<S: Vector, V: Value>(row: Row<'_>, out: &mut [V]) {
    let len = out.len();
    assert!(row.bytes.len() == len && row.mean.len() == len, "a row of {len} values");
    prefetch(row.ahead, out);
    let whole = len - len % S::LANES;
    for x in (0..whole).step_by(S::LANES) {
        let start = if row.mirror == Mirror::Yes { len - S::LANES - x } else { x };
        let (bytes, mean) = (&row.bytes[start..][..S::LANES], &row.mean[start..][..S::LANES]);
        // SAFETY: the caller has checked that `S` is supported.
        unsafe { S::write_piece(&row, bytes, mean, &mut out[x..][..S::LANES]) }
    }
    let rest = if row.mirror == Mirror::Yes { 0..len - whole } else { whole..len };
    if !rest.is_empty() {
        let row = Row { bytes: &row.bytes[rest.clone()], mean: &row.mean[rest], ..row };
        scalar::write_row(row, &mut out[whole..]);
    }
}

/// Asks for the sample's row that is read later, and for the lines of the batch one page beyond `out`: they, too, are
/// read before they are written.
#[inline(always)]
fn prefetch<V>(ahead: &[u8], out: &[V]) {
    let out_ahead = out.as_ptr().cast::<u8>().wrapping_add(PAGE_BYTES);
    for (start, num_bytes) in [(ahead.as_ptr(), ahead.len()), (out_ahead, size_of_val(out))] {
        for line in (0..num_bytes).step_by(64) {
            // SAFETY: every processor of this architecture has SSE. Beyond the end of the batch this is another's, or
            // nobody's, address, and prefetching any address is harmless.
            unsafe { simd::_mm_prefetch::<{ simd::_MM_HINT_T0 }>(start.wrapping_add(line).cast()) };
        }
    }
}
