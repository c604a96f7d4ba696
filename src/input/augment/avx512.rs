//! The augmenter with AVX-512: thirty-two values at a time.
// SIMD loads and stores go through pointers; every other instruction is safe where its feature is enabled.
#![allow(unsafe_code)]

use std::arch::x86_64 as simd;
use std::arch::x86_64::{__m256i, __m512, __m512i};

use half::f16;

use super::avx2::prefetch;
use super::{Frame, Mirror, Row, Value, View, scalar, write_rows};

/// Values that one turn of the loop writes.
const LANES: usize = 32;

/// Whether this processor has what [`write`] needs.
pub(super) fn is_supported() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
}

/// A type that sixteen values can be stored as.
pub trait Store: Sized {
    /// Stores sixteen values, rounded to nearest, ties to even.
    ///
    /// # Safety
    /// `out` is valid for writes of sixteen values, and the processor has AVX-512 F.
    unsafe fn store_sixteen(values: __m512, out: *mut Self);
}

impl Store for f32 {
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn store_sixteen(values: __m512, out: *mut Self) {
        // SAFETY: the caller gives room for sixteen values.
        unsafe { simd::_mm512_storeu_ps(out, values) }
    }
}

impl Store for f16 {
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn store_sixteen(values: __m512, out: *mut Self) {
        let halves = simd::_mm512_cvtps_ph::<{ simd::_MM_FROUND_TO_NEAREST_INT }>(values);
        // SAFETY: the caller gives room for sixteen values of two bytes.
        unsafe { simd::_mm256_storeu_si256(out.cast(), halves) }
    }
}

/// As [`super::Augmenter::write`], which has checked the lengths.
pub(super) fn write<V: Value>(bytes: &[u8], mean: &[u8], view: &View, frame: Frame, out: &mut [V]) {
    assert!(is_supported(), "a kernel of AVX-512 is made only where it can run");
    // SAFETY: the processor has the features, as asserted above.
    unsafe { write_supported(bytes, mean, view, frame, out) }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn write_supported<V: Value>(bytes: &[u8], mean: &[u8], view: &View, frame: Frame, out: &mut [V]) {
    write_rows(bytes, mean, view, frame, out, |row, out| write_row(row, out));
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn write_row<V: Value>(row: Row<'_>, out: &mut [V]) {
    let len = out.len();
    assert!(row.bytes.len() == len && row.mean.len() == len, "a row of {len} values");
    prefetch(row.ahead, out);
    let (light, scale) = (simd::_mm512_set1_ps(row.light), simd::_mm512_set1_ps(row.scale));
    let whole = len - len % LANES;
    for x in (0..whole).step_by(LANES) {
        let (bytes, mean) = match row.mirror {
            Mirror::No => (load(&row.bytes[x..][..LANES]), load(&row.mean[x..][..LANES])),
            Mirror::Yes => {
                let start = len - LANES - x;
                (reversed(load(&row.bytes[start..][..LANES])), reversed(load(&row.mean[start..][..LANES])))
            }
        };
        let residuals = residuals(bytes, mean);
        let low = simd::_mm512_castsi512_si256(residuals);
        let high = simd::_mm512_extracti64x4_epi64::<1>(residuals);
        let out = &mut out[x..][..LANES];
        for (half, out) in [low, high].into_iter().zip(out.chunks_exact_mut(LANES / 2)) {
            let values = simd::_mm512_cvtepi32_ps(simd::_mm512_cvtepi16_epi32(half));
            let values = simd::_mm512_mul_ps(simd::_mm512_add_ps(values, light), scale);
            // SAFETY: `out` is a slice of sixteen values; this function has the features.
            unsafe { V::store_sixteen(values, out.as_mut_ptr()) }
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

/// ((byte + mean) mod 256) - mean, thirty-two times.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn residuals(bytes: __m256i, mean: __m256i) -> __m512i {
    let pixels = simd::_mm256_add_epi8(bytes, mean);
    simd::_mm512_sub_epi16(simd::_mm512_cvtepu8_epi16(pixels), simd::_mm512_cvtepu8_epi16(mean))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(values: &[u8]) -> __m256i {
    assert_eq!(values.len(), LANES);
    // SAFETY: the slice has thirty-two bytes.
    unsafe { simd::_mm256_loadu_si256(values.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn reversed(values: __m256i) -> __m256i {
    let order = simd::_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let each_half = simd::_mm256_shuffle_epi8(values, simd::_mm256_broadcastsi128_si256(order));
    simd::_mm256_permute2x128_si256::<1>(each_half, each_half)
}
