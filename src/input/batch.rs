//! A host batch: what the augmenter fills and a backend uploads.

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
    /// For the CPU.
    F32,
    /// For CUDA: exact for whole numbers to 2048, so within 2^-11 of a relit value, and half the bytes.
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

    /// Bytes of one value.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// (N, 3, canvas, canvas), mean subtracted, on the 0-255 scale times `augment.scale`.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// For the CPU.
    F32(HostBuffer<f32>),
    /// For CUDA.
    F16(HostBuffer<f16>),
}

/// A fixed number of values, all zero at first, in large pages where the kernel gives some. A device that reads them on its own may have
/// its driver hold the pages in place.
pub struct HostBuffer<T> {
    /// Dropped before the pages are unmapped.
    page_lock: Option<Box<dyn Any + Send + Sync>>,
    pages: MmapMut,
    values: PhantomData<T>,
}

impl<T: Pod> HostBuffer<T> {
    /// Room for `num_values`, at least one. Panics where the kernel has no memory, as every allocation does.
    pub fn zeros(num_values: usize) -> Self {
        let pages = MmapMut::map_anon(num_values * size_of::<T>()).expect("memory for a batch");
        // Fewer entries of the page table to look up: some hundredths of the augmenter's time. A kernel without large pages refuses, and loses only that.
        #[cfg(target_os = "linux")]
        let _ = pages.advise(memmap2::Advice::HugePage);
        Self { page_lock: None, pages, values: PhantomData }
    }

    /// Keeps what holds the pages until the buffer is dropped.
    pub fn lock_pages(&mut self, page_lock: Box<dyn Any + Send + Sync>) {
        self.page_lock = Some(page_lock);
    }

    /// Whether something holds the pages.
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

/// The samples of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Its place in the plan: training steps count from 0.
    pub step: u64,
    /// The epoch it belongs to.
    pub epoch: u32,
    /// The first so many samples are real; the last batch of an evaluation may be short.
    pub num_valid: usize,
    /// (N, 3, canvas, canvas).
    pub values: Values,
    /// (N) classes.
    pub labels: Vec<u32>,
}

impl Batch {
    /// Room for `num_samples` inputs of `sample_values` values, all zero.
    pub fn zeros(dtype: Dtype, num_samples: usize, sample_values: usize) -> Self {
        let values = match dtype {
            Dtype::F32 => Values::F32(HostBuffer::zeros(num_samples * sample_values)),
            Dtype::F16 => Values::F16(HostBuffer::zeros(num_samples * sample_values)),
        };
        Self { step: 0, epoch: 0, num_valid: 0, values, labels: vec![0; num_samples] }
    }

    /// Samples it has room for.
    pub fn num_samples(&self) -> usize {
        self.labels.len()
    }

    /// Bytes of the values.
    pub fn num_bytes(&self) -> usize {
        match &self.values {
            Values::F32(values) => size_of_val::<[_]>(values),
            Values::F16(values) => size_of_val::<[_]>(values),
        }
    }
}
