//! Numbers in device memory: bf16 and f32, and TF32's rounding.

use rayon::prelude::*;

/// How a tensor's numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Bf16,
    F32,
}

impl Kind {
    /// Bytes of a number.
    pub fn bytes(self) -> usize {
        match self {
            Self::Bf16 => 2,
            Self::F32 => 4,
        }
    }
}

/// The number that these bits of a bf16 are.
pub fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The nearest bf16, ties to even.
pub fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits.wrapping_add(0x7FFF + ((bits >> 16) & 1))) >> 16) as u16
}

/// The nearest number with TF32's 10 bits of fraction, ties away from zero (`cvt.rna.tf32.f32`).
pub fn to_tf32(value: f32) -> f32 {
    if !value.is_finite() {
        return value;
    }
    f32::from_bits(value.to_bits().wrapping_add(0x1000) & !0x1FFF)
}

/// Numbers that a thread reads at least.
const CHUNK: usize = 1 << 16;

/// Reads `count` numbers, rounded to TF32 if asked.
///
/// # Safety
///
/// `address` is aligned for `kind` and points to as many numbers, which nobody writes meanwhile.
pub unsafe fn read(kind: Kind, address: u64, count: usize, tf32: bool) -> Vec<f32> {
    match kind {
        Kind::F32 => {
            let round = if tf32 { to_tf32 } else { |value| value };
            let values = std::slice::from_raw_parts(address as *const f32, count);
            values.par_iter().with_min_len(CHUNK).map(|value| round(*value)).collect()
        }
        Kind::Bf16 => {
            let values = std::slice::from_raw_parts(address as *const u16, count);
            values.par_iter().with_min_len(CHUNK).map(|bits| from_bf16(*bits)).collect()
        }
    }
}

/// Writes numbers, rounded.
///
/// # Safety
///
/// `address` is aligned for `kind` and points to as many numbers, which nobody else uses meanwhile.
pub unsafe fn write(kind: Kind, address: u64, values: &[f32]) {
    match kind {
        Kind::F32 => std::slice::from_raw_parts_mut(address as *mut f32, values.len()).copy_from_slice(values),
        Kind::Bf16 => {
            let places = std::slice::from_raw_parts_mut(address as *mut u16, values.len());
            places.iter_mut().zip(values).for_each(|(place, value)| *place = to_bf16(*value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{from_bf16, to_bf16, to_tf32};

    #[test]
    fn bf16_rounds_to_nearest_even_and_keeps_nan() {
        assert_eq!(to_bf16(1.0), 0x3F80);
        assert_eq!(to_bf16(f32::from_bits(0x3F80_8000)), 0x3F80);
        assert_eq!(to_bf16(f32::from_bits(0x3F81_8000)), 0x3F82);
        assert!(from_bf16(to_bf16(f32::NAN)).is_nan());
        assert_eq!(from_bf16(to_bf16(f32::MAX)), f32::INFINITY);
    }

    #[test]
    fn tf32_keeps_ten_bits_and_rounds_ties_away() {
        assert_eq!(to_tf32(f32::from_bits(0x3F80_1000)), f32::from_bits(0x3F80_2000));
        assert_eq!(to_tf32(f32::from_bits(0x3F80_0FFF)), 1.0);
        assert_eq!(to_tf32(-3.0), -3.0);
        assert!(to_tf32(f32::NAN).is_nan());
    }
}
