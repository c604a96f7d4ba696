//! The device and its primary context.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_uint};

use cudarc::driver::sys::{CUcontext, CUdevice, CUdevice_attribute, CUresult};

use super::result::answer;
use crate::device::{self, Demand, Guard};

/// The PCI bus of the first device; each of the others has the next one.
pub const FIRST_BUS: c_int = 0x1a;

/// The handle of the primary context.
const CONTEXT: u64 = 0x500 << 40;

thread_local! {
    static CURRENT: Cell<u64> = const { Cell::new(0) };
}

/// The state, for a call that needs cuInit only.
fn initialised() -> Result<Guard, CUresult> {
    let state = device::lock();
    if state.initialised { Ok(state) } else { Err(CUresult::CUDA_ERROR_NOT_INITIALIZED) }
}

/// The state, for a call that needs a current context but works in a broken one: the release of something.
pub fn releasing() -> Result<Guard, CUresult> {
    let state = initialised()?;
    if CURRENT.get() != CONTEXT || state.retained == 0 { Err(CUresult::CUDA_ERROR_INVALID_CONTEXT) } else { Ok(state) }
}

/// The state, for a call that needs a current, sound context.
pub fn current() -> Result<Guard, CUresult> {
    let state = releasing()?;
    state.sound()?;
    Ok(state)
}

/// As `current`, for a call that a thread must not make while it captures: it ends the capture.
pub fn not_capturing(call: &str) -> Result<Guard, CUresult> {
    let mut state = current()?;
    if state.invalidate_own_captures() {
        return state.refuse(
            CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
            format!("{call} by a thread that captures a stream"),
        );
    }
    Ok(state)
}

fn checked(device: CUdevice) -> Result<Guard, CUresult> {
    let state = initialised()?;
    if device < 0 || device >= state.settings.num_devices {
        Err(CUresult::CUDA_ERROR_INVALID_DEVICE)
    } else {
        Ok(state)
    }
}

exported! {
    fn cuInit(flags: c_uint) -> CUresult {
        if flags != 0 {
            return Err(CUresult::CUDA_ERROR_INVALID_VALUE);
        }
        let mut state = device::lock();
        if state.settings.num_devices == 0 {
            return Err(CUresult::CUDA_ERROR_NO_DEVICE);
        }
        state.initialised = true;
        drop(state);
        device::start();
        Ok(())
    }

    fn cuDriverGetVersion(version: *mut c_int) -> CUresult {
        answer(version, device::lock().settings.driver_version)
    }

    fn cuDeviceGetCount(count: *mut c_int) -> CUresult {
        answer(count, initialised()?.settings.num_devices)
    }

    fn cuDeviceGet(device: *mut CUdevice, ordinal: c_int) -> CUresult {
        drop(checked(ordinal)?);
        answer(device, ordinal)
    }

    fn cuDeviceGetName(name: *mut c_char, length: c_int, device: CUdevice) -> CUresult {
        drop(checked(device)?);
        let text = b"Simulated H100\0";
        if name.is_null() || (length as usize) < text.len() {
            return Err(CUresult::CUDA_ERROR_INVALID_VALUE);
        }
        std::ptr::copy_nonoverlapping(text.as_ptr().cast(), name, text.len());
        Ok(())
    }

    fn cuDeviceGetAttribute(value: *mut c_int, attribute: CUdevice_attribute, device: CUdevice) -> CUresult {
        use CUdevice_attribute as Attribute;
        let mut state = checked(device)?;
        let known = match attribute {
            Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR => state.settings.sm / 10,
            Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR => state.settings.sm % 10,
            Attribute::CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID => 0,
            Attribute::CU_DEVICE_ATTRIBUTE_PCI_BUS_ID => FIRST_BUS + device,
            Attribute::CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID => 0,
            _ => return state.refuse(CUresult::CUDA_ERROR_INVALID_VALUE, format!("{attribute:?} is not simulated")),
        };
        answer(value, known)
    }

    fn cuDevicePrimaryCtxRetain(context: *mut CUcontext, device: CUdevice) -> CUresult {
        let mut state = checked(device)?;
        state.retained += 1;
        answer(context, CONTEXT as CUcontext)
    }

    fn cuDevicePrimaryCtxRelease_v2(device: CUdevice) -> CUresult {
        let mut state = checked(device)?;
        if state.retained == 0 {
            return state.refuse(CUresult::CUDA_ERROR_INVALID_CONTEXT, "cuDevicePrimaryCtxRelease_v2 of a context that nobody retains");
        }
        state.retained -= 1;
        let last = state.retained == 0;
        drop(state);
        if last {
            crate::report::tear_down();
            crate::report::write();
        }
        Ok(())
    }

    fn cuCtxSetCurrent(context: CUcontext) -> CUresult {
        drop(initialised()?);
        if !context.is_null() && context as u64 != CONTEXT {
            return Err(CUresult::CUDA_ERROR_INVALID_CONTEXT);
        }
        CURRENT.set(context as u64);
        Ok(())
    }

    fn cuCtxSynchronize() -> CUresult {
        let mut state = not_capturing("cuCtxSynchronize")?;
        state.all_arrive()?;
        let streams = state.streams.iter().map(|(handle, _)| handle).collect();
        let last = state.last_number();
        device::wait(state, Demand::Streams(streams, last)).map(drop)
    }
}
