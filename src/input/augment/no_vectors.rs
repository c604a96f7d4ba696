//! Stands in for the vector kernels on other architectures.

use half::f16;

use super::{Frame, Value, View};

/// Every type of value.
pub trait Store {}
impl Store for f32 {}
impl Store for f16 {}

pub(super) fn is_supported() -> bool {
    false
}

pub(super) fn write<V: Value>(_: &[u8], _: &[u8], view: &View, _: Frame, _: &mut [V]) {
    panic!("a vector kernel on an architecture that has none: {view:?}");
}
