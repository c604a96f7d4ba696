//! The augmenter against the formula, and the vector augmenters against plain Rust.

use half::f16;
use proptest::prelude::*;

use super::{Augmenter, Value};
use crate::input::view::{Cut, Frame, Mirror, View};
use crate::philox::{Purpose, words};
use crate::shard::{CHANNELS, SAMPLE_BYTES, SIDE};

/// Values after an input that must stay as they are: more than a cache line holds.
const NUM_AFTER: usize = 64;

/// (3, 256, 256) of noise.
fn noise(stream: u32) -> Vec<u8> {
    let words = (0..(SAMPLE_BYTES / 16) as u32).flat_map(|i| words(1, Purpose::Synthetic, [i, 0, stream]));
    words.flat_map(u32::to_le_bytes).collect()
}

/// Compares values by their bits, so that -0 and 0 differ.
trait Bits: Value {
    const UNWRITTEN: Self;
    fn bits(self) -> u32;
}

impl Bits for f32 {
    const UNWRITTEN: Self = Self::NAN;
    fn bits(self) -> u32 {
        self.to_bits()
    }
}

impl Bits for f16 {
    const UNWRITTEN: Self = Self::NAN;
    fn bits(self) -> u32 {
        self.to_bits().into()
    }
}

/// The bits of an input that begins `lead` values into an allocation, after checking that its neighbours on both sides
/// are untouched.
fn written<V: Bits>(augmenter: Augmenter, view: &View, frame: Frame, lead: usize) -> Vec<u32> {
    let mut all = vec![V::UNWRITTEN; lead + frame.num_values() + NUM_AFTER];
    augmenter.write(&noise(0), &noise(1), view, frame, &mut all[lead..][..frame.num_values()]);
    let (before, rest) = all.split_at(lead);
    let (out, after) = rest.split_at(frame.num_values());
    let unwritten = |value: &V| value.bits() == V::UNWRITTEN.bits();
    assert!(before.iter().all(unwritten) && after.iter().all(unwritten), "a neighbour was written");
    out.iter().map(|value| value.bits()).collect()
}

/// The formula, straight from the documentation.
fn expected(view: &View, frame: Frame) -> Vec<f32> {
    let (bytes, mean) = (noise(0), noise(1));
    let mut out = Vec::new();
    for channel in 0..CHANNELS {
        for y in 0..frame.canvas {
            for x in 0..frame.canvas {
                if y >= frame.crop || x >= frame.crop {
                    out.push(0.0);
                    continue;
                }
                let x = if view.mirror == Mirror::Yes { frame.crop - 1 - x } else { x };
                let at = (channel * SIDE + view.top + y) * SIDE + view.left + x;
                let residual = (i32::from(bytes[at]) + i32::from(mean[at])) % 256 - i32::from(mean[at]);
                out.push((residual as f32 + view.light[channel]) * frame.scale);
            }
        }
    }
    out
}

/// Any view of any frame, with numbers among them that overflow f16, vanish in it, or change nothing.
fn any_view() -> impl Strategy<Value = (View, Frame)> {
    let lights = prop_oneof![Just(0.0_f32), -200.0_f32..200.0, Just(-0.0), Just(1e6)];
    let scales = prop_oneof![Just(1.0_f32), Just(1.0 / 58.0), Just(-1.0), 1e-8_f32..1e-3, 1.0_f32..1e4];
    let mirrors = prop_oneof![Just(Mirror::No), Just(Mirror::Yes)];
    let crops = prop_oneof![Just(224_usize), Just(227), Just(256), 1_usize..=256];
    (crops, 0_usize..40, scales, mirrors, [lights.clone(), lights.clone(), lights]).prop_flat_map(
        |(crop, padding, scale, mirror, light)| {
            let frame = Frame { crop, canvas: crop + padding, scale };
            (0..=frame.last_position(), 0..=frame.last_position())
                .prop_map(move |(top, left)| (View { sample: 0, top, left, cut: Cut::AsCrop, mirror, light }, frame))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_scalar_augmenter_is_the_formula((view, frame) in any_view(), lead in 0_usize..80) {
        let expected = expected(&view, frame);
        let wide: Vec<u32> = expected.iter().map(|value| value.to_bits()).collect();
        prop_assert!(written::<f32>(Augmenter::scalar(), &view, frame, lead) == wide);
        let narrow: Vec<u32> = expected.iter().map(|value| f16::from_f32_const(*value).to_bits().into()).collect();
        prop_assert!(written::<f16>(Augmenter::scalar(), &view, frame, lead) == narrow);
    }

    #[test]
    fn vector_augmenters_write_the_bits_of_the_scalar_augmenter((view, frame) in any_view(), lead in 0_usize..80) {
        let (wide, narrow) = (
            written::<f32>(Augmenter::scalar(), &view, frame, lead),
            written::<f16>(Augmenter::scalar(), &view, frame, lead),
        );
        for augmenter in vector_augmenters() {
            prop_assert!(written::<f32>(augmenter, &view, frame, lead) == wide, "{}", augmenter.name());
            prop_assert!(written::<f16>(augmenter, &view, frame, lead) == narrow, "{}", augmenter.name());
        }
    }
}

/// The vector augmenters that this processor can run.
fn vector_augmenters() -> Vec<Augmenter> {
    Augmenter::avx2().into_iter().chain(Augmenter::avx512()).collect()
}

#[test]
fn vector_augmenters_agree_at_every_position_of_the_paper_s_crop() {
    let (bytes, mean) = (noise(0), noise(1));
    let frame = Frame { crop: 224, canvas: 227, scale: 1.0 };
    let mut expected = vec![f16::NAN; frame.num_values()];
    let mut found = expected.clone();
    for place in 0..33 {
        for mirror in [Mirror::No, Mirror::Yes] {
            let view =
                View { sample: 0, top: 32 - place, left: place, cut: Cut::AsCrop, mirror, light: [1.25, -3.5, 0.1] };
            Augmenter::scalar().write(&bytes, &mean, &view, frame, &mut expected);
            for augmenter in vector_augmenters() {
                augmenter.write(&bytes, &mean, &view, frame, &mut found);
                assert!(found == expected, "{}: {view:?}", augmenter.name());
            }
        }
    }
}

#[test]
#[should_panic(expected = "reaches out of the sample")]
fn a_view_that_reaches_out_of_the_sample_panics() {
    let view = View { sample: 0, top: 33, left: 0, cut: Cut::AsCrop, mirror: Mirror::No, light: [0.0; CHANNELS] };
    written::<f32>(Augmenter::fastest(), &view, Frame { crop: 224, canvas: 227, scale: 1.0 }, 0);
}

#[test]
fn a_part_of_the_crops_own_size_is_not_changed_by_resizing() {
    let frame = Frame { crop: 60, canvas: 63, scale: 0.5 };
    for mirror in [Mirror::No, Mirror::Yes] {
        let plain = View { sample: 0, top: 100, left: 31, cut: Cut::AsCrop, mirror, light: [1.25, -3.5, 0.1] };
        let resized = View { cut: Cut::Resized { height: 60, width: 60 }, ..plain };
        let both = [plain, resized].map(|view| written::<f16>(Augmenter::fastest(), &view, frame, 0));
        assert_eq!(both[0], both[1], "{mirror:?}");
    }
}

#[test]
fn resizing_keeps_a_slope_and_its_ends() {
    // Residuals that rise by one a column: the mean is 0, so bytes are residuals.
    let bytes: Vec<u8> = (0..SAMPLE_BYTES).map(|at| (at % SIDE) as u8).collect();
    let mean = vec![0; SAMPLE_BYTES];
    let frame = Frame { crop: 50, canvas: 50, scale: 1.0 };
    for (mirror, width) in [(Mirror::No, 100), (Mirror::Yes, 20)] {
        let cut = Cut::Resized { height: 7, width };
        let view = View { sample: 0, top: 3, left: 10, cut, mirror, light: [0.0; CHANNELS] };
        let mut out = vec![0.0_f32; frame.num_values()];
        Augmenter::fastest().write(&bytes, &mean, &view, frame, &mut out);
        let (first, last) = (10.0, 10.0 + width as f32 - 1.0);
        for (index, value) in out.iter().enumerate() {
            let x = if mirror == Mirror::Yes { 49 - index % 50 } else { index % 50 };
            let expected = (10.0 + (x as f32 + 0.5) * width as f32 / 50.0 - 0.5).clamp(first, last);
            assert!((value - expected).abs() < 1e-4, "{mirror:?} {index}: {value}, expected {expected}");
        }
    }
}
