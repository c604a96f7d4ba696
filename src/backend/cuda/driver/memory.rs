//! Memory on the device, and memory of the host that the device reads and writes on its own.

use std::ffi::c_void;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use cudarc::driver::result;
use cudarc::driver::sys::{self, CUdeviceptr};

use super::{Context, check, released};
use crate::error::{Error, Result};

/// Values of device memory, all zero when allocated.
#[derive(Debug)]
pub struct Buffer<T> {
    address: CUdeviceptr,
    len: usize,
    _context: Arc<Context>,
    _values: PhantomData<T>,
}

/// Some of a buffer's values, to be read.
#[derive(Debug)]
pub struct Slice<'a, T> {
    address: CUdeviceptr,
    len: usize,
    _values: PhantomData<&'a T>,
}

/// Some of a buffer's values, to be written.
#[derive(Debug)]
pub struct SliceMut<'a, T> {
    address: CUdeviceptr,
    len: usize,
    _values: PhantomData<&'a mut T>,
}

impl<T: Zeroable> Buffer<T> {
    /// `len` values of zero, after the next [`Context::synchronize`]; `what` they are for is named where there is no
    /// room.
    pub fn zeros(context: &Arc<Context>, what: &str, len: usize) -> Result<Self> {
        assert!(len > 0, "a buffer of no values ({what})");
        let num_bytes = len * size_of::<T>();
        // SAFETY: the context is current on the backend's thread; `Drop` frees what is allocated here.
        let address = unsafe { result::malloc_sync(num_bytes) }
            .map_err(|error| no_room(context, what, num_bytes, &super::describe(error)))?;
        let buffer = Self { address, len, _context: Arc::clone(context), _values: PhantomData };
        // SAFETY: `num_bytes` were allocated at the address, and all of them zero is a `T`.
        check("cuMemsetD8", unsafe { result::memset_d8_sync(address, 0, num_bytes) })?;
        Ok(buffer)
    }
}

impl<T> Buffer<T> {
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes of device memory.
    pub fn num_bytes(&self) -> u64 {
        (self.len * size_of::<T>()) as u64
    }

    /// All values, to be read.
    pub fn all(&self) -> Slice<'_, T> {
        self.part(0..self.len)
    }

    /// Some values, to be read.
    pub fn part(&self, range: Range<usize>) -> Slice<'_, T> {
        let address = part_address::<T>(self.address, self.len, &range);
        Slice { address, len: range.len(), _values: PhantomData }
    }

    /// All values, to be written.
    pub fn all_mut(&mut self) -> SliceMut<'_, T> {
        self.part_mut(0..self.len)
    }

    /// Some values, to be written.
    pub fn part_mut(&mut self, range: Range<usize>) -> SliceMut<'_, T> {
        let address = part_address::<T>(self.address, self.len, &range);
        SliceMut { address, len: range.len(), _values: PhantomData }
    }
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        // SAFETY: allocated by `zeros`; cuMemFree waits for the work that uses it.
        released("cuMemFree", unsafe { result::free_sync(self.address) });
    }
}

impl<T> Slice<'_, T> {
    pub fn len(&self) -> usize {
        self.len
    }

    /// Where it lies on the device.
    pub fn address(&self) -> CUdeviceptr {
        self.address
    }
}

impl<'a, T> Slice<'a, T> {
    /// Some of the values.
    pub fn part(self, range: Range<usize>) -> Self {
        let address = part_address::<T>(self.address, self.len, &range);
        Self { address, len: range.len(), _values: PhantomData }
    }

    /// The same bytes as values of another type of the same size.
    pub fn cast<U: Pod>(self) -> Slice<'a, U> {
        assert_eq!(size_of::<T>(), size_of::<U>(), "bytes of a value");
        Slice { address: self.address, len: self.len, _values: PhantomData }
    }
}

impl<T: Pod> Slice<'_, T> {
    /// Copies to the host and waits for the copy; the caller has waited for whatever wrote the values.
    pub fn read(&self, to: &mut [T]) -> Result<()> {
        assert_eq!(self.len, to.len(), "values to copy, and room for them");
        // SAFETY: the lengths are equal, and the call returns when the copy is done.
        check("cuMemcpyDtoH", unsafe { result::memcpy_dtoh_sync(to, self.address) })
    }
}

impl<T: Pod> SliceMut<'_, T> {
    /// Copies from the host; the caller has waited for whatever uses the values. The host's values may be overwritten
    /// when it returns, but the copy may be under way until [`Context::synchronize`]: no stream waits for it.
    pub fn write(&mut self, from: &[T]) -> Result<()> {
        assert_eq!(from.len(), self.len, "values to copy, and room for them");
        // SAFETY: the lengths are equal, and the call returns when the host's values have been read.
        check("cuMemcpyHtoD", unsafe { result::memcpy_htod_sync(self.address, from) })
    }
}

impl<T> SliceMut<'_, T> {
    pub fn len(&self) -> usize {
        self.len
    }

    /// Where it lies on the device.
    pub fn address(&self) -> CUdeviceptr {
        self.address
    }

    /// The same values, to be read.
    pub fn as_slice(&self) -> Slice<'_, T> {
        Slice { address: self.address, len: self.len, _values: PhantomData }
    }

    /// Two parts, the first wholly before the second.
    pub fn split(self, first: Range<usize>, second: Range<usize>) -> (Self, Self) {
        assert!(first.end <= second.start, "parts {first:?} and {second:?} overlap");
        let part = |range: Range<usize>| Self {
            address: part_address::<T>(self.address, self.len, &range),
            len: range.len(),
            _values: PhantomData,
        };
        (part(first), part(second))
    }
}

impl<T> Clone for Slice<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Slice<'_, T> {}

fn part_address<T>(address: CUdeviceptr, len: usize, range: &Range<usize>) -> CUdeviceptr {
    assert!(range.start <= range.end && range.end <= len, "values {range:?} of a buffer of {len}");
    address + (range.start * size_of::<T>()) as u64
}

fn no_room(context: &Context, what: &str, num_bytes: usize, error: &str) -> Error {
    let megabytes = |bytes: u64| bytes / 1_000_000;
    let memory = context.memory().map_or_else(
        |_| String::new(),
        |(free, total)| format!(", {} of its {} MB are free", megabytes(free), megabytes(total)),
    );
    Error::Device(format!(
        "cuMemAlloc of {} MB for {what} on {} failed: {error}{memory}; \
         take a smaller --batch-size, a smaller --width, or another GPU",
        megabytes(num_bytes as u64),
        context.name()
    ))
}

/// Page-locked memory of the host, all zero when allocated: the device reads and writes it while the host does other
/// things.
pub struct Pinned<T> {
    values: NonNull<T>,
    len: usize,
    _context: Arc<Context>,
}

impl<T: Zeroable> Pinned<T> {
    /// `len` values of zero.
    pub fn zeros(context: &Arc<Context>, len: usize) -> Result<Self> {
        assert!(len > 0, "pinned memory of no values");
        // SAFETY: `Drop` frees it. Flags of 0: not write-combined, since the host reads it.
        let memory = check("cuMemHostAlloc", unsafe { result::malloc_host(len * size_of::<T>(), 0) })?;
        let values = NonNull::new(memory.cast::<T>()).expect("cuMemHostAlloc gives an address where it succeeds");
        // SAFETY: it is as long as `len` values, aligned to a page, and nobody else knows it yet.
        unsafe { values.write_bytes(0, len) };
        Ok(Self { values, len, _context: Arc::clone(context) })
    }
}

impl<T> Pinned<T> {
    /// The values.
    ///
    /// # Safety
    ///
    /// No copy to them may be under way while they are borrowed.
    pub unsafe fn as_slice(&self) -> &[T] {
        // SAFETY: `len` values, initialised by `zeros`; that the device writes none of them is this function's
        // contract.
        unsafe { std::slice::from_raw_parts(self.values.as_ptr(), self.len) }
    }

    /// The values.
    ///
    /// # Safety
    ///
    /// No copy to or from them may be under way while they are borrowed.
    pub unsafe fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as above, and `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.values.as_ptr(), self.len) }
    }
}

impl<T> Pinned<T> {
    /// The values where the device finds them, for kernels to write: by unified addressing, where the host does.
    pub fn on_device(&mut self) -> SliceMut<'_, T> {
        SliceMut { address: self.values.as_ptr() as CUdeviceptr, len: self.len, _values: PhantomData }
    }
}

impl<T> fmt::Debug for Pinned<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Pinned({} values)", self.len)
    }
}

impl<T> Drop for Pinned<T> {
    fn drop(&mut self) {
        // SAFETY: allocated by `zeros`; whoever enqueued a copy has waited for it.
        released("cuMemFreeHost", unsafe { result::free_host(self.values.as_ptr().cast::<c_void>()) });
    }
}

/// Keeps memory that the host allocated page-locked, so that copies from it are the device's own work.
pub struct PageLock {
    address: *mut c_void,
    context: Arc<Context>,
}

// SAFETY: it is a number to the driver; nothing is read through it.
unsafe impl Send for PageLock {}
// SAFETY: likewise; it has no methods.
unsafe impl Sync for PageLock {}

impl PageLock {
    /// Locks the pages of `values`.
    ///
    /// # Safety
    ///
    /// The memory must stay allocated until the lock is dropped.
    pub unsafe fn new<T>(context: &Arc<Context>, values: &[T]) -> Result<Self> {
        let address = values.as_ptr().cast_mut().cast::<c_void>();
        // SAFETY: the range is allocated, and stays so by this function's contract; `Drop` unlocks it.
        let locked = unsafe { sys::cuMemHostRegister_v2(address, size_of_val(values), 0) };
        check("cuMemHostRegister", locked.result())?;
        Ok(Self { address, context: Arc::clone(context) })
    }
}

impl fmt::Debug for PageLock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PageLock")
    }
}

impl Drop for PageLock {
    fn drop(&mut self) {
        // The input's threads drop batches too, and theirs have no context.
        if let Err(error) = self.context.make_current() {
            crate::tell!("warning: a batch's pages stay locked: {error}");
            return;
        }
        // SAFETY: registered by `new`, and still allocated.
        released("cuMemHostUnregister", unsafe { sys::cuMemHostUnregister(self.address) }.result());
    }
}
