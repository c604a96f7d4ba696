//! Stands in for `vector/` on other architectures, where no augmenter is made that would use it.

use super::rows::Value;
use crate::input::view::{Frame, View};

pub struct Avx2;
pub struct Avx512;

pub trait Vector {
    fn is_supported() -> bool {
        false
    }
}

impl Vector for Avx2 {}
impl Vector for Avx512 {}

pub fn write<S: Vector, V: Value>(_: &[u8], _: &[u8], view: &View, _: Frame, _: &mut [V]) {
    unreachable!("vectors on an architecture that has none: {view:?}");
}
