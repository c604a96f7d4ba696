//! The device as a case sees it: a stream, the kernels, and memory that is filled from the host and read again.

use std::cell::OnceCell;
use std::sync::Arc;

use bytemuck::Pod;

use crate::backend::cuda::driver::{Buffer, Context, Priority, Stream};
use crate::backend::cuda::kernels::Kernels;
use crate::backend::cuda::libraries::Versions;
use crate::backend::cuda::{Gpu, Precision, Real, module};
use crate::error::Result;

/// What a byte is before it is written: NaN in bf16, f32 and f64, and no place in a window.
const POISON: u8 = 0xff;

/// Of one run of a case.
pub struct Fixture<R> {
    pub stream: Stream,
    pub precision: Precision,
    context: Arc<Context>,
    versions: Versions,
    /// Products do without them.
    kernels: OnceCell<Kernels<R>>,
}

impl<R: Real> Fixture<R> {
    pub fn new(gpu: &Gpu, precision: Precision) -> Result<Self> {
        let context = Arc::clone(gpu.context());
        let stream = Stream::new(&context, Priority::First)?;
        Ok(Self { stream, precision, context, versions: gpu.versions(), kernels: OnceCell::new() })
    }

    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    pub fn kernels(&self) -> Result<&Kernels<R>> {
        if let Some(kernels) = self.kernels.get() {
            return Ok(kernels);
        }
        let kernels = Kernels::new(&module::<R>(&self.context, self.versions)?)?;
        Ok(self.kernels.get_or_init(|| kernels))
    }

    /// Device memory with these values, there now.
    pub fn upload<T: Pod>(&self, values: &[T]) -> Result<Buffer<T>> {
        let mut buffer = Buffer::zeros(&self.context, "a kernel or a product alone", values.len())?;
        // The zeros may be under way, and no copy waits for them.
        self.context.synchronize()?;
        buffer.all_mut().write(values)?;
        self.context.synchronize()?;
        Ok(buffer)
    }

    /// Device memory with what nobody may leave behind.
    pub fn poisoned<T: Pod>(&self, len: usize) -> Result<Buffer<T>> {
        let mut values = vec![T::zeroed(); len];
        bytemuck::cast_slice_mut::<T, u8>(&mut values).fill(POISON);
        self.upload(&values)
    }

    /// All values, after all that was enqueued.
    pub fn read<T: Pod>(&self, buffer: &Buffer<T>) -> Result<Vec<T>> {
        self.context.synchronize()?;
        let mut values = vec![T::zeroed(); buffer.len()];
        buffer.all().read(&mut values)?;
        Ok(values)
    }

    pub fn synchronize(&self) -> Result<()> {
        self.context.synchronize()
    }
}
