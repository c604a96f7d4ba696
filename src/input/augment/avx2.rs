//! The augmenter with AVX2 and F16C: sixteen values at a time.
// SIMD loads and stores go through pointers; every other instruction is safe where its feature is enabled.
#![allow(unsafe_code)]

use std::arch::x86_64 as simd;
use std::arch::x86_64::{__m128i, __m256, __m256i};

use half::f16;

use super::{Frame, Mirror, Row, Value, View, scalar, write_rows};
use crate::shard::format::PAGE_BYTES;

/// Values that one turn of the loop writes.
const LANES: usize = 16;

/// Whether this processor has what [`write`] needs.
pub(super) fn is_supported() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c")
}

/// A type that eight values can be stored as.
pub trait Store: Sized {
    /// Stores eight values, rounded to nearest, ties to even.
    ///
    /// # Safety
    /// `out` is valid for writes of eight values, and the processor has AVX2 and F16C.
    unsafe fn store(values: __m256, out: *mut Self);
}

impl Store for f32 {
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn store(values: __m256, out: *mut Self) {
        // SAFETY: the caller gives room for eight values.
        unsafe { simd::_mm256_storeu_ps(out, values) }
    }
}

impl Store for f16 {
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn store(values: __m256, out: *mut Self) {
        let halves = simd::_mm256_cvtps_ph::<{ simd::_MM_FROUND_TO_NEAREST_INT }>(values);
        // SAFETY: the caller gives room for eight values of two bytes.
        unsafe { simd::_mm_storeu_si128(out.cast(), halves) }
    }
}

/// As [`super::Augmenter::write`], which has checked the lengths.
pub(super) fn write<V: Value>(bytes: &[u8], mean: &[u8], view: &View, frame: Frame, out: &mut [V]) {
    assert!(is_supported(), "a kernel of AVX2 is made only where it can run");
    // SAFETY: the processor has the features, as asserted above.
    unsafe { write_supported(bytes, mean, view, frame, out) }
}

#[target_feature(enable = "avx2,f16c")]
fn write_supported<V: Value>(bytes: &[u8], mean: &[u8], view: &View, frame: Frame, out: &mut [V]) {
    write_rows(bytes, mean, view, frame, out, |row, out| write_row(row, out));
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn write_row<V: Value>(row: Row<'_>, out: &mut [V]) {
    match row.mirror {
        Mirror::No => write_row_from(row, out, |x, _| x, |sixteen| sixteen),
        Mirror::Yes => write_row_from(row, out, |x, len| len - LANES - x, |sixteen| reversed(sixteen)),
    }
}

/// `source` says where the sixteen bytes for the values from `x` on begin, `arrange` brings them into order.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn write_row_from<V: Value>(
    row: Row<'_>,
    out: &mut [V],
    source: impl Fn(usize, usize) -> usize,
    arrange: impl Fn(__m128i) -> __m128i,
) {
    let len = out.len();
    assert!(row.bytes.len() == len && row.mean.len() == len, "a row of {len} values");
    let (light, scale) = (simd::_mm256_set1_ps(row.light), simd::_mm256_set1_ps(row.scale));
    prefetch(row.ahead, out);
    let whole = len - len % LANES;
    for x in (0..whole).step_by(LANES) {
        let start = source(x, len);
        let bytes = arrange(load(&row.bytes[start..][..LANES]));
        let mean = arrange(load(&row.mean[start..][..LANES]));
        let residuals = residuals(bytes, mean);
        let low = simd::_mm256_castsi256_si128(residuals);
        let high = simd::_mm256_extracti128_si256::<1>(residuals);
        let out = &mut out[x..][..LANES];
        for (half, out) in [low, high].into_iter().zip(out.chunks_exact_mut(LANES / 2)) {
            let values = simd::_mm256_cvtepi32_ps(simd::_mm256_cvtepi16_epi32(half));
            let values = simd::_mm256_mul_ps(simd::_mm256_add_ps(values, light), scale);
            // SAFETY: `out` is a slice of eight values; this function has the features.
            unsafe { V::store(values, out.as_mut_ptr()) }
        }
    }
    let rest = match row.mirror {
        Mirror::No => whole..len,
        Mirror::Yes => 0..len - whole,
    };
    if !rest.is_empty() {
        let row = Row { bytes: &row.bytes[rest.clone()], mean: &row.mean[rest], ..row };
        scalar::write_row(row, &mut out[whole..]);
    }
}

/// Asks for the sample's row that is read later, and for the lines of the batch one page beyond `out`: they, too, are
/// read before they are written.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn prefetch<V>(ahead: &[u8], out: &[V]) {
    let out_ahead = out.as_ptr().cast::<u8>().wrapping_add(PAGE_BYTES);
    for (start, num_bytes) in [(ahead.as_ptr(), ahead.len()), (out_ahead, size_of_val(out))] {
        for line in (0..num_bytes).step_by(64) {
            // Beyond the end of the batch this is another's, or nobody's, address: prefetching it is harmless.
            simd::_mm_prefetch::<{ simd::_MM_HINT_T0 }>(start.wrapping_add(line).cast());
        }
    }
}

/// ((byte + mean) mod 256) - mean, sixteen times.
#[inline]
#[target_feature(enable = "avx2")]
fn residuals(bytes: __m128i, mean: __m128i) -> __m256i {
    let pixels = simd::_mm_add_epi8(bytes, mean);
    simd::_mm256_sub_epi16(simd::_mm256_cvtepu8_epi16(pixels), simd::_mm256_cvtepu8_epi16(mean))
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(sixteen: &[u8]) -> __m128i {
    assert_eq!(sixteen.len(), LANES);
    // SAFETY: the slice has sixteen bytes.
    unsafe { simd::_mm_loadu_si128(sixteen.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn reversed(sixteen: __m128i) -> __m128i {
    let order = simd::_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    simd::_mm_shuffle_epi8(sixteen, order)
}
