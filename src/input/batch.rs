//! A host batch, which the augmenter fills and a backend uploads.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use bytemuck::Pod;
use half::f16;
use memmap2::MmapMut;

/// The type of a batch's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// What the CPU backend takes.
    F32,
    /// What the CUDA backend takes: half the bytes. Integers to 2048 are exact; values after colour jitter have a
    /// relative error of at most 2^-11.
    F16,
}

impl Dtype {
    /// `f32` or `f16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        }
    }

    /// The size of one value in bytes.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// The values of a batch: (N, 3, canvas, canvas), mean subtracted, on the 0-255 scale times `augment.scale`.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// For the CPU backend.
    F32(HostBuffer<f32>),
    /// For the CUDA backend.
    F16(HostBuffer<f16>),
}

/// A fixed number of values, initially zero, in huge pages if the operating system provides them. A device that reads
/// them by itself may have its driver lock the pages.
pub struct HostBuffer<T> {
    /// Unlocks the pages when it is dropped, before they are unmapped.
    page_lock: Option<Box<dyn Any + Send + Sync>>,
    pages: MmapMut,
    values: PhantomData<T>,
}

impl<T: Pod> HostBuffer<T> {
    /// Allocates `num_values`, at least one. Panics if there is no memory, as every allocation does.
    pub fn zeros(num_values: usize) -> Self {
        let pages = MmapMut::map_anon(num_values * size_of::<T>()).expect("memory for a batch");
        // Fewer entries of the page table to look up: a few percent of the augmenter's time. An operating system
        // without huge pages refuses, which costs only that.
        #[cfg(target_os = "linux")]
        let _ = pages.advise(memmap2::Advice::HugePage);
        Self { page_lock: None, pages, values: PhantomData }
    }

    /// Keeps a lock on the pages until the buffer is dropped.
    pub fn lock_pages(&mut self, page_lock: Box<dyn Any + Send + Sync>) {
        self.page_lock = Some(page_lock);
    }

    /// Whether the pages are locked.
    pub fn is_page_locked(&self) -> bool {
        self.page_lock.is_some()
    }
}

impl<T: Pod> From<&[T]> for HostBuffer<T> {
    fn from(values: &[T]) -> Self {
        let mut buffer = Self::zeros(values.len());
        buffer.copy_from_slice(values);
        buffer
    }
}

impl<T: Pod> Deref for HostBuffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        bytemuck::cast_slice(&self.pages)
    }
}

impl<T: Pod> DerefMut for HostBuffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.pages)
    }
}

/// The copy's pages are not locked.
impl<T: Pod> Clone for HostBuffer<T> {
    fn clone(&self) -> Self {
        Self::from(&**self)
    }
}

impl<T: Pod + PartialEq> PartialEq for HostBuffer<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for HostBuffer<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(formatter)
    }
}

/// The inputs and labels of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The step of the plan, counted from 0.
    pub step: u64,
    /// The epoch that the step belongs to.
    pub epoch: u32,
    /// How many samples are valid; the last batch of an evaluation may be short, and the rest is zero.
    pub num_valid: usize,
    /// The inputs, (N, 3, canvas, canvas).
    pub values: Values,
    /// The classes, (N).
    pub labels: Vec<u32>,
}

impl Batch {
    /// Allocates `num_samples` inputs of `sample_values` values, all zero.
    pub fn zeros(dtype: Dtype, num_samples: usize, sample_values: usize) -> Self {
        let values = match dtype {
            Dtype::F32 => Values::F32(HostBuffer::zeros(num_samples * sample_values)),
            Dtype::F16 => Values::F16(HostBuffer::zeros(num_samples * sample_values)),
        };
        Self { step: 0, epoch: 0, num_valid: 0, values, labels: vec![0; num_samples] }
    }

    /// The number of samples that it has room for.
    pub fn num_samples(&self) -> usize {
        self.labels.len()
    }

    /// The size of the values in bytes.
    pub fn num_bytes(&self) -> usize {
        match &self.values {
            Values::F32(values) => size_of_val::<[_]>(values),
            Values::F16(values) => size_of_val::<[_]>(values),
        }
    }
}
