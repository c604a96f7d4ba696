//! libnvidia-ml: what a card tells of itself, always the same.

use std::ffi::{CStr, c_char, c_uint, c_ulonglong};

use nvml_wrapper_sys::bindings::{
    nvmlClockType_enum_NVML_CLOCK_MEM as MEMORY_CLOCK, nvmlClockType_enum_NVML_CLOCK_SM as SM_CLOCK, nvmlClockType_t,
    nvmlDevice_t, nvmlMemory_v2_t, nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT as INVALID_ARGUMENT,
    nvmlReturn_enum_NVML_ERROR_NOT_FOUND as NOT_FOUND, nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED as NOT_SUPPORTED,
    nvmlReturn_enum_NVML_SUCCESS as SUCCESS, nvmlReturn_t, nvmlTemperatureSensors_t, nvmlUtilization_t,
};

use crate::driver::context::FIRST_BUS;

/// What stands for the first device.
const DEVICE: usize = 0x6e76;
const GIB: c_ulonglong = 1 << 30;

/// Writes an answer about the one device.
unsafe fn answer<T>(device: nvmlDevice_t, place: *mut T, value: T) -> nvmlReturn_t {
    if device as usize != DEVICE || place.is_null() {
        return INVALID_ARGUMENT;
    }
    place.write(value);
    SUCCESS
}

/// Succeeds.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlInit_v2() -> nvmlReturn_t {
    SUCCESS
}

/// Succeeds.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlShutdown() -> nvmlReturn_t {
    SUCCESS
}

/// Knows the first device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByPciBusId_v2(
    bus_id: *const c_char,
    device: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    if CStr::from_ptr(bus_id).to_bytes() != format!("00000000:{FIRST_BUS:02x}:00.0").as_bytes() {
        return NOT_FOUND;
    }
    device.write(DEVICE as nvmlDevice_t);
    SUCCESS
}

/// 80 GiB, of which 3 are used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMemoryInfo_v2(
    device: nvmlDevice_t,
    memory: *mut nvmlMemory_v2_t,
) -> nvmlReturn_t {
    let version = size_of::<nvmlMemory_v2_t>() as c_uint | 2 << 24;
    if memory.is_null() || (*memory).version != version {
        return INVALID_ARGUMENT;
    }
    answer(device, memory, nvmlMemory_v2_t { version, total: 80 * GIB, reserved: GIB, free: 76 * GIB, used: 3 * GIB })
}

/// 87% and 45%.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetUtilizationRates(
    device: nvmlDevice_t,
    utilization: *mut nvmlUtilization_t,
) -> nvmlReturn_t {
    answer(device, utilization, nvmlUtilization_t { gpu: 87, memory: 45 })
}

/// 1,980 and 2,619 MHz.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetClockInfo(
    device: nvmlDevice_t,
    clock: nvmlClockType_t,
    megahertz: *mut c_uint,
) -> nvmlReturn_t {
    match clock {
        SM_CLOCK => answer(device, megahertz, 1980),
        MEMORY_CLOCK => answer(device, megahertz, 2619),
        _ => INVALID_ARGUMENT,
    }
}

/// 655.3 watts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetPowerUsage(device: nvmlDevice_t, milliwatts: *mut c_uint) -> nvmlReturn_t {
    answer(device, milliwatts, 655_300)
}

/// 51 degrees, unless `SIMULATED_CUDA_NO_THERMOMETER` is set: not every card has every value.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTemperature(
    device: nvmlDevice_t,
    _sensor: nvmlTemperatureSensors_t,
    celsius: *mut c_uint,
) -> nvmlReturn_t {
    if std::env::var_os("SIMULATED_CUDA_NO_THERMOMETER").is_some() {
        return NOT_SUPPORTED;
    }
    answer(device, celsius, 51)
}
