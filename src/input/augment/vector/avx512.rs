//! AVX-512 F and BW: thirty-two values at a time.

use std::arch::x86_64 as simd;

use super::{Vector, write_row};
use crate::input::augment::rows::{Row, Value, write_rows};
use crate::input::batch::Dtype;
use crate::input::view::{Frame, Mirror, View};

pub struct Avx512;

impl Vector for Avx512 {
    const LANES: usize = 32;

    fn is_supported() -> bool {
        is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn write_rows<V: Value>(bytes: &[u8], mean: &[u8], view: &View, frame: Frame, out: &mut [V]) {
        // SAFETY: this function has the instructions.
        write_rows(bytes, mean, view, frame, out, |row, out| unsafe { write_row::<Self, V>(row, out) });
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn write_piece<V: Value>(row: &Row<'_>, bytes: &[u8], mean: &[u8], out: &mut [V]) {
        let last_first = simd::_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        let load = |bytes: &[u8]| {
            assert_eq!(bytes.len(), 32);
            // SAFETY: the slice has thirty-two bytes.
            let bytes = unsafe { simd::_mm256_loadu_si256(bytes.as_ptr().cast()) };
            if row.mirror == Mirror::No {
                return bytes;
            }
            let each_half = simd::_mm256_shuffle_epi8(bytes, simd::_mm256_broadcastsi128_si256(last_first));
            simd::_mm256_permute2x128_si256::<1>(each_half, each_half)
        };
        let (bytes, mean) = (load(bytes), load(mean));
        let pixels = simd::_mm256_add_epi8(bytes, mean);
        let residuals = simd::_mm512_sub_epi16(simd::_mm512_cvtepu8_epi16(pixels), simd::_mm512_cvtepu8_epi16(mean));
        let halves = [simd::_mm512_castsi512_si256(residuals), simd::_mm512_extracti64x4_epi64::<1>(residuals)];
        let (light, scale) = (simd::_mm512_set1_ps(row.light), simd::_mm512_set1_ps(row.scale));
        for (half, out) in halves.into_iter().zip(out.chunks_exact_mut(16)) {
            let values = simd::_mm512_cvtepi32_ps(simd::_mm512_cvtepi16_epi32(half));
            let values = simd::_mm512_mul_ps(simd::_mm512_add_ps(values, light), scale);
            assert_eq!(size_of_val(out), 16 * V::DTYPE.size());
            match V::DTYPE {
                // SAFETY: the slice has room for sixteen values of four bytes.
                Dtype::F32 => unsafe { simd::_mm512_storeu_ps(out.as_mut_ptr().cast(), values) },
                Dtype::F16 => {
                    let values = simd::_mm512_cvtps_ph::<{ simd::_MM_FROUND_TO_NEAREST_INT }>(values);
                    // SAFETY: the slice has room for sixteen values of two bytes.
                    unsafe { simd::_mm256_storeu_si256(out.as_mut_ptr().cast(), values) }
                }
            }
        }
    }
}
