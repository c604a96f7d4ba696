//! AVX2 and F16C: sixteen values at a time.

use std::arch::x86_64 as simd;

use super::{Vector, write_row};
use crate::input::augment::rows::{Row, Value, write_rows};
use crate::input::batch::Dtype;
use crate::input::view::{Frame, Mirror, View};

pub struct Avx2;

impl Vector for Avx2 {
    const LANES: usize = 16;

    fn is_supported() -> bool {
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c")
    }

    #[target_feature(enable = "avx2,f16c")]
    unsafe fn write_rows<V: Value>(bytes: &[u8], mean: &[u8], view: &View, frame: Frame, out: &mut [V]) {
        // SAFETY: this function has the instructions.
        write_rows(bytes, mean, view, frame, out, |row, out| unsafe { write_row::<Self, V>(row, out) });
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn write_piece<V: Value>(row: &Row<'_>, bytes: &[u8], mean: &[u8], out: &mut [V]) {
        let last_first = simd::_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        let load = |bytes: &[u8]| {
            assert_eq!(bytes.len(), 16);
            // SAFETY: the slice has sixteen bytes.
            let bytes = unsafe { simd::_mm_loadu_si128(bytes.as_ptr().cast()) };
            if row.mirror == Mirror::Yes { simd::_mm_shuffle_epi8(bytes, last_first) } else { bytes }
        };
        let (bytes, mean) = (load(bytes), load(mean));
        let pixels = simd::_mm_add_epi8(bytes, mean);
        let residuals = simd::_mm256_sub_epi16(simd::_mm256_cvtepu8_epi16(pixels), simd::_mm256_cvtepu8_epi16(mean));
        let halves = [simd::_mm256_castsi256_si128(residuals), simd::_mm256_extracti128_si256::<1>(residuals)];
        let (light, scale) = (simd::_mm256_set1_ps(row.light), simd::_mm256_set1_ps(row.scale));
        for (half, out) in halves.into_iter().zip(out.chunks_exact_mut(8)) {
            let values = simd::_mm256_cvtepi32_ps(simd::_mm256_cvtepi16_epi32(half));
            let values = simd::_mm256_mul_ps(simd::_mm256_add_ps(values, light), scale);
            assert_eq!(size_of_val(out), 8 * V::DTYPE.size());
            match V::DTYPE {
                // SAFETY: the slice has room for eight values of four bytes.
                Dtype::F32 => unsafe { simd::_mm256_storeu_ps(out.as_mut_ptr().cast(), values) },
                Dtype::F16 => {
                    let values = simd::_mm256_cvtps_ph::<{ simd::_MM_FROUND_TO_NEAREST_INT }>(values);
                    // SAFETY: the slice has room for eight values of two bytes.
                    unsafe { simd::_mm_storeu_si128(out.as_mut_ptr().cast(), values) }
                }
            }
        }
    }
}
