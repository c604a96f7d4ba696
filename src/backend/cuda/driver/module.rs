//! Modules: compiled kernels on the device.

use std::ffi::CString;
use std::rc::Rc;
use std::sync::Arc;

use cudarc::driver::result;
use cudarc::driver::sys;

use super::{Context, check, released};
use crate::error::Result;

#[derive(Debug)]
pub struct Module {
    loaded: Rc<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    raw: sys::CUmodule,
    _context: Arc<Context>,
}

/// A kernel; its module stays loaded as long as it lives.
#[derive(Debug)]
pub struct Function {
    raw: sys::CUfunction,
    name: &'static str,
    _module: Rc<Loaded>,
}

impl Module {
    /// Loads a CUBIN made for the context's architecture.
    pub fn load(context: &Arc<Context>, cubin: &[u8]) -> Result<Self> {
        // SAFETY: the image is a whole CUBIN, whose length stands in its own header; `Drop` unloads what is loaded.
        let raw = check("cuModuleLoadData", unsafe { result::module::load_data(cubin.as_ptr().cast()) })?;
        Ok(Self { loaded: Rc::new(Loaded { raw, _context: Arc::clone(context) }) })
    }

    /// The kernel of that name.
    pub fn function(&self, name: &'static str) -> Result<Function> {
        let c_name = CString::new(name).expect("a kernel's name has no zero byte");
        // SAFETY: the module is loaded as long as the `Rc` that the function keeps.
        let raw = check("cuModuleGetFunction", unsafe { result::module::get_function(self.loaded.raw, c_name) })?;
        Ok(Function { raw, name, _module: Rc::clone(&self.loaded) })
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // SAFETY: loaded by `load`; no function of it is left.
        released("cuModuleUnload", unsafe { result::module::unload(self.raw) });
    }
}

impl Function {
    pub fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn raw(&self) -> sys::CUfunction {
        self.raw
    }
}
