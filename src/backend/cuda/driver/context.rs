//! A GPU's primary context.

use std::sync::Arc;

use cudarc::driver::result;
use cudarc::driver::sys::{self, CUdevice_attribute, CUresult};

use super::{check, released};
use crate::error::{Error, Result};

/// What an architecture can do: 8.0 is the A100's, 9.0 the H100's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capability {
    /// 9 of sm_90.
    pub major: u32,
    /// 0 of sm_90.
    pub minor: u32,
}

/// The primary context of one GPU. It is current on the thread that made it; other threads call
/// [`Context::make_current`].
#[derive(Debug)]
pub struct Context {
    device: sys::CUdevice,
    raw: sys::CUcontext,
    ordinal: u32,
    name: String,
    pci_bus_id: String,
    capability: Capability,
}

// SAFETY: a context may be used from any thread that has made it current; the fields never change.
unsafe impl Send for Context {}
// SAFETY: likewise; the driver locks what its calls share.
unsafe impl Sync for Context {}

impl Context {
    /// GPUs that the driver shows; the driver's library must be there.
    pub fn num_devices() -> Result<u32> {
        match result::init() {
            Err(error) if error.0 == CUresult::CUDA_ERROR_NO_DEVICE => return Ok(0),
            other => check("cuInit", other)?,
        }
        Ok(check("cuDeviceGetCount", result::device::get_count())?.unsigned_abs())
    }

    /// The context of GPU number `ordinal`, current on this thread.
    pub fn new(ordinal: u32) -> Result<Arc<Self>> {
        let num_devices = Self::num_devices()?;
        if num_devices == 0 {
            return Err(Error::Device("the driver shows no GPU".into()));
        }
        if ordinal >= num_devices {
            return Err(Error::usage(format!(
                "--device cuda:{ordinal}: expected a number below {num_devices}, the GPUs that the driver shows"
            )));
        }
        let device = check("cuDeviceGet", result::device::get(ordinal.cast_signed()))?;
        let name = check("cuDeviceGetName", result::device::get_name(device))?;
        let attribute = |attribute| {
            // SAFETY: the device comes from cuDeviceGet.
            let value = unsafe { result::device::get_attribute(device, attribute) };
            check("cuDeviceGetAttribute", value).map(i32::unsigned_abs)
        };
        let capability = Capability {
            major: attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            minor: attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        };
        let pci_bus_id = format!(
            "{:08x}:{:02x}:{:02x}.0",
            attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID)?,
            attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_PCI_BUS_ID)?,
            attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID)?
        );
        // SAFETY: the device comes from cuDeviceGet; `Drop` releases what is retained here.
        let raw = check("cuDevicePrimaryCtxRetain", unsafe { result::primary_ctx::retain(device) })?;
        let context = Arc::new(Self { device, raw, ordinal, name, pci_bus_id, capability });
        context.make_current()?;
        Ok(context)
    }

    /// Makes the calls of this thread go to this GPU.
    pub fn make_current(&self) -> Result<()> {
        // SAFETY: the context is retained as long as `self` lives.
        check("cuCtxSetCurrent", unsafe { result::ctx::set_current(self.raw) })
    }

    /// Waits for all streams.
    pub fn synchronize(&self) -> Result<()> {
        check("cuCtxSynchronize", result::ctx::synchronize())
    }

    /// The N of `cuda:N`.
    pub fn ordinal(&self) -> u32 {
        self.ordinal
    }

    /// As the driver names it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it sits, as NVML names it too, whichever GPUs this process may see: `00000000:1a:00.0`.
    pub fn pci_bus_id(&self) -> &str {
        &self.pci_bus_id
    }

    /// What its architecture can do.
    pub fn capability(&self) -> Capability {
        self.capability
    }

    /// Free and total bytes of its memory.
    pub fn memory(&self) -> Result<(u64, u64)> {
        let (free, total) = check("cuMemGetInfo", result::mem_get_info())?;
        Ok((free as u64, total as u64))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: retained by `new`, and everything that lives in the context holds it alive by an `Arc`.
        released("cuDevicePrimaryCtxRelease", unsafe { result::primary_ctx::release(self.device) });
    }
}
