//! Launches of kernels.

use std::ffi::{CStr, c_char, c_uint, c_void};

use cudarc::driver::sys::{CUfunction, CUresult, CUstream};

use super::context::current;
use super::module::Function;
use crate::device::{Job, Launched, State, Work};
use crate::schedule::Class;

/// Copies the arguments, in words of 8 bytes each so that all are aligned.
///
/// # Safety
///
/// `parameters` points to as many pointers as the kernel has parameters, each to as many bytes as the parameter has.
unsafe fn copied(kernel: &Function, parameters: *mut *mut c_void) -> Vec<Vec<u128>> {
    let copy = |(index, bytes): (usize, &usize)| {
        let mut words = vec![0u128; bytes.div_ceil(16)];
        std::ptr::copy_nonoverlapping((*parameters.add(index)).cast::<u8>(), words.as_mut_ptr().cast::<u8>(), *bytes);
        words
    };
    kernel.parameters.iter().enumerate().map(copy).collect()
}

/// The blocks that the arguments point into; an error if one points into freed memory.
fn blocks(state: &mut State, kernel: &Function, arguments: &[Vec<u128>]) -> Result<Vec<u64>, CUresult> {
    let mut blocks = Vec::new();
    for (index, bytes) in kernel.parameters.iter().enumerate().filter(|(_, bytes)| **bytes == 8) {
        let address = arguments[index][0] as u64;
        if state.memory.is_dangling(address) {
            let message =
                format!("cuLaunchKernel of {}: argument {index} ({bytes} bytes) points into freed memory", kernel.name);
            state.violation(message);
            state.break_down(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
            return Err(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
        }
        blocks.extend(state.memory.containing(address).map(|block| block.address));
    }
    Ok(blocks)
}

fn launching(
    kernel: Function,
    grid: [c_uint; 3],
    block: [c_uint; 3],
    shared_bytes: c_uint,
    arguments: Vec<Vec<u128>>,
) -> Job {
    Box::new(move |order| {
        let mut pointers: Vec<*mut c_void> = arguments.iter().map(|words| words.as_ptr().cast_mut().cast()).collect();
        let mut message = [0 as c_char; 512];
        // SAFETY: the arguments have the sizes that the kernel's own shim stated; the message ends in a zero since its
        // last byte is never written.
        let outcome = unsafe {
            (kernel.launch)(
                pointers.as_mut_ptr(),
                grid.as_ptr(),
                block.as_ptr(),
                shared_bytes,
                order,
                message.as_mut_ptr(),
                message.len() - 1,
            )
        };
        if outcome == 0 {
            return Ok(());
        }
        // SAFETY: as above.
        let message = unsafe { CStr::from_ptr(message.as_ptr()) }.to_string_lossy();
        Err(format!("kernel {}: {message}", kernel.name))
    })
}

exported! {
    fn cuLaunchKernel(
        function: CUfunction, grid_x: c_uint, grid_y: c_uint, grid_z: c_uint, block_x: c_uint, block_y: c_uint, block_z: c_uint,
        shared_bytes: c_uint, stream: CUstream, parameters: *mut *mut c_void, extra: *mut *mut c_void,
    ) -> CUresult {
        let mut state = current()?;
        let Some(kernel) = state.functions.get(function as u64).cloned() else {
            return state.refuse(CUresult::CUDA_ERROR_INVALID_HANDLE, "cuLaunchKernel of what is no kernel");
        };
        if !extra.is_null() || (parameters.is_null() && !kernel.parameters.is_empty()) {
            return state.refuse(CUresult::CUDA_ERROR_INVALID_VALUE, format!("cuLaunchKernel of {} without arguments, or with extra ones", kernel.name));
        }
        let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
        let arguments = copied(&kernel, parameters);
        let blocks = blocks(&mut state, &kernel, &arguments)?;
        *state.observed.kernels.entry(kernel.name.clone()).or_default() += 1;
        let launched = Some(Launched { function: function as u64, grid, block, shared_bytes });
        let job: Job = match state.settings.spoils(&kernel.name) {
            true => Box::new(|_| Ok(())),
            false => launching(kernel, grid, block, shared_bytes, arguments),
        };
        state.submit(stream as u64, Work { name: "cuLaunchKernel", class: Class::Compute, blocks, launched, job })
    }
}
