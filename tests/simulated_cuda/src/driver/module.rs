//! Modules: shared libraries that the simulated NVRTC made, loaded.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::io::Write;
use std::mem::ManuallyDrop;

use cudarc::driver::sys::{CUfunction, CUfunction_attribute, CUkernel, CUmodule, CUresult};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use super::context::{current, not_capturing, releasing};
use super::result::{answer, forever};
use crate::nvrtc::cubin;

/// `simulated_launch_NAME`: parameters, grid, block, shared bytes, order, message and its capacity.
pub type Launch =
    unsafe extern "C" fn(*mut *mut c_void, *const c_uint, *const c_uint, c_uint, c_uint, *mut c_char, usize) -> c_int;
/// `simulated_params_NAME`: writes each parameter's size, and returns their number.
type Parameters = unsafe extern "C" fn(*mut c_uint, c_uint) -> c_uint;

/// A loaded module. Its library stays loaded: what it keeps for each thread must not go while a thread runs.
pub struct Module {
    library: ManuallyDrop<Library>,
    functions: BTreeMap<String, u64>,
}

/// A kernel.
#[derive(Clone)]
pub struct Function {
    pub name: String,
    pub launch: Launch,
    /// Bytes of each parameter.
    pub parameters: Vec<usize>,
}

fn load(image: &[u8]) -> Result<Library, String> {
    let mut file = tempfile::Builder::new()
        .prefix("simulated-cubin")
        .suffix(".so")
        .tempfile()
        .map_err(|error| error.to_string())?;
    file.write_all(image).map_err(|error| error.to_string())?;
    let path = file.into_temp_path();
    // SAFETY: the image carries the mark and the checksum of the simulated NVRTC: only this package's shim runs when it
    // is loaded.
    unsafe { Library::open(Some(&*path), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| error.to_string())
}

impl Module {
    fn function(&self, name: &str) -> Option<Function> {
        // SAFETY: the shim defines symbols of these names with these types.
        let launch = unsafe { self.library.get::<Launch>(format!("simulated_launch_{name}").as_bytes()) }.ok()?;
        let parameters =
            unsafe { self.library.get::<Parameters>(format!("simulated_params_{name}").as_bytes()) }.ok()?;
        let mut sizes = [0; 64];
        // SAFETY: it writes no more sizes than it is told there is room for.
        let count = unsafe { parameters(sizes.as_mut_ptr(), sizes.len() as c_uint) } as usize;
        let parameters = sizes.get(..count)?.iter().map(|size| *size as usize).collect();
        Some(Function { name: name.to_owned(), launch: *launch, parameters })
    }
}

exported! {
    fn cuFuncGetName(name: *mut *const c_char, function: CUfunction) -> CUresult {
        let mut state = current()?;
        match state.functions.get(function as u64).map(|known| forever(&known.name)) {
            Some(text) => answer(name, text),
            None => state.refuse(CUresult::CUDA_ERROR_INVALID_HANDLE, "cuFuncGetName of what is no kernel"),
        }
    }

    /// A CPU plays the device: a kernel has no registers, and whatever else is asked for is 0 too.
    fn cuKernelGetFunction(_function: *mut CUfunction, _kernel: CUkernel) -> CUresult {
        current()?.refuse(CUresult::CUDA_ERROR_INVALID_HANDLE, "cuKernelGetFunction: nothing here is launched as a kernel of a library")
    }

    fn cuFuncGetAttribute(value: *mut c_int, _attribute: CUfunction_attribute, function: CUfunction) -> CUresult {
        let mut state = current()?;
        if state.functions.get(function as u64).is_none() {
            return state.refuse(CUresult::CUDA_ERROR_INVALID_HANDLE, "cuFuncGetAttribute of what is no kernel");
        }
        answer(value, 0)
    }

    fn cuModuleLoadData(module: *mut CUmodule, image: *const c_void) -> CUresult {
        let mut state = not_capturing("cuModuleLoadData")?;
        let sm = state.settings.sm;
        let Some((image, image_sm)) = cubin::read(image.cast()) else {
            return state.refuse(CUresult::CUDA_ERROR_INVALID_IMAGE, "cuModuleLoadData of what the simulated NVRTC did not make, or not whole");
        };
        if image_sm / 10 != sm / 10 || image_sm > sm {
            return state.refuse(CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU, format!("cuModuleLoadData of a CUBIN for sm_{image_sm} on sm_{sm}"));
        }
        match load(image) {
            Err(error) => state.refuse(CUresult::CUDA_ERROR_INVALID_IMAGE, format!("cuModuleLoadData: {error}")),
            Ok(library) => {
                let handle = state.modules.insert(Module { library: ManuallyDrop::new(library), functions: BTreeMap::new() });
                answer(module, handle as CUmodule)
            }
        }
    }

    fn cuModuleUnload(module: CUmodule) -> CUresult {
        let mut state = releasing()?;
        let Some(unloaded) = state.modules.remove(module as u64) else {
            return state.refuse(CUresult::CUDA_ERROR_INVALID_HANDLE, "cuModuleUnload of what is no module");
        };
        for function in unloaded.functions.into_values() {
            state.functions.remove(function);
        }
        state.sound()
    }

    fn cuModuleGetFunction(function: *mut CUfunction, module: CUmodule, name: *const c_char) -> CUresult {
        let mut state = current()?;
        let name = CStr::from_ptr(name).to_string_lossy().into_owned();
        let Some(loaded) = state.modules.get(module as u64) else {
            return state.refuse(CUresult::CUDA_ERROR_INVALID_HANDLE, "cuModuleGetFunction of what is no module");
        };
        if let Some(known) = loaded.functions.get(&name) {
            return answer(function, *known as CUfunction);
        }
        let Some(found) = loaded.function(&name) else {
            return state.refuse(CUresult::CUDA_ERROR_NOT_FOUND, format!("cuModuleGetFunction: no kernel {name}"));
        };
        let handle = state.functions.insert(found);
        if let Some(module) = state.modules.get_mut(module as u64) {
            module.functions.insert(name, handle);
        }
        answer(function, handle as CUfunction)
    }
}
