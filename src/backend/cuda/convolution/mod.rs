//! Convolutions, by cuDNN's plain C API: this folder is all that knows of it.
//!
//! Tensors are (N, H, W, C) and kernels (O, H, W, I). The algorithms are those that run on tensor cores and give the same bits each time.

mod algorithms;
mod descriptors;

use std::ffi::{CStr, c_void};
use std::ptr;
use std::rc::Rc;

use cudarc::cudnn::sys::{
    self, cudnnConvolutionBwdDataAlgo_t as InputGradientAlgorithm,
    cudnnConvolutionBwdFilterAlgo_t as WeightGradientAlgorithm, cudnnConvolutionFwdAlgo_t as ForwardAlgorithm,
    cudnnDataType_t, cudnnStatus_t,
};

use self::algorithms::Chosen;
use self::descriptors::{FilterDescriptor, OperationDescriptor, TensorDescriptor};
use super::Real;
use super::driver::{Buffer, Slice, SliceMut, Stream, warned};
use super::precision::Precision;
use super::tuning::Tuning;
use crate::error::{Error, Result};

/// The library's handle, bound to one stream.
#[derive(Debug)]
pub struct Cudnn {
    raw: sys::cudnnHandle_t,
}

/// (N, in_side, in_side, in_channels) to (N, out_side, out_side, out_channels).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvolutionShape {
    /// N.
    pub num_samples: usize,
    /// Channels of the input.
    pub in_channels: usize,
    /// Height and width of the input.
    pub in_side: usize,
    /// Kernels.
    pub out_channels: usize,
    /// Height and width of the output.
    pub out_side: usize,
    /// Height and width of a kernel.
    pub kernel: usize,
    /// Zeros around the input.
    pub pad: usize,
    /// Each group of output channels sees its group of input channels.
    pub groups: usize,
}

/// A convolution of stride 1, ready to run in three directions.
#[derive(Debug)]
pub struct Convolution {
    library: Rc<Cudnn>,
    shape: ConvolutionShape,
    input: TensorDescriptor,
    kernels: FilterDescriptor,
    output: TensorDescriptor,
    operation: OperationDescriptor,
    algorithms: Option<Algorithms>,
}

#[derive(Clone, Copy, Debug)]
struct Algorithms {
    forward: Chosen<ForwardAlgorithm>,
    weight_gradient: Chosen<WeightGradientAlgorithm>,
    input_gradient: Chosen<InputGradientAlgorithm>,
}

impl Cudnn {
    /// A handle on the current context's GPU, whose work goes to `stream`.
    pub fn new(stream: &Stream) -> Result<Rc<Self>> {
        let mut raw = ptr::null_mut();
        // SAFETY: the pointer outlives the call; `Drop` destroys what it makes.
        check("cudnnCreate", unsafe { sys::cudnnCreate(&raw mut raw) })?;
        let library = Self { raw };
        // SAFETY: both live; the backend keeps the stream longer than the handle.
        check("cudnnSetStream", unsafe { sys::cudnnSetStream(library.raw, stream.raw().cast()) })?;
        Ok(Rc::new(library))
    }
}

impl Drop for Cudnn {
    fn drop(&mut self) {
        // SAFETY: made by `new`, and no convolution is left.
        warned(check("cudnnDestroy", unsafe { sys::cudnnDestroy(self.raw) }));
    }
}

impl ConvolutionShape {
    fn input_values(&self) -> usize {
        self.num_samples * self.in_side * self.in_side * self.in_channels
    }

    fn kernel_values(&self) -> usize {
        self.out_channels * self.kernel * self.kernel * (self.in_channels / self.groups)
    }

    fn output_values(&self) -> usize {
        self.num_samples * self.out_side * self.out_side * self.out_channels
    }
}

impl Convolution {
    /// Describes it and chooses its algorithms: what `tuning` has found, or those that are known to be good.
    pub fn new(
        library: &Rc<Cudnn>,
        shape: ConvolutionShape,
        precision: Precision,
        tuning: &mut Tuning,
    ) -> Result<Self> {
        let ConvolutionShape { num_samples, in_channels, in_side, out_channels, out_side, kernel, groups, .. } = shape;
        let data_type = match precision {
            Precision::Bf16 => cudnnDataType_t::CUDNN_DATA_BFLOAT16,
            Precision::Tf32 | Precision::F32 => cudnnDataType_t::CUDNN_DATA_FLOAT,
        };
        let mut convolution = Self {
            library: Rc::clone(library),
            shape,
            input: TensorDescriptor::new(data_type, [num_samples, in_channels, in_side])?,
            kernels: FilterDescriptor::new(data_type, [out_channels, in_channels / groups, kernel])?,
            output: TensorDescriptor::new(data_type, [num_samples, out_channels, out_side])?,
            operation: OperationDescriptor::new(shape.pad, groups, precision)?,
            algorithms: None,
        };
        convolution.algorithms = Some(Algorithms {
            forward: algorithms::forward(&convolution, tuning)?,
            weight_gradient: algorithms::weight_gradient(&convolution, tuning)?,
            input_gradient: algorithms::input_gradient(&convolution, tuning)?,
        });
        Ok(convolution)
    }

    /// Bytes of working memory that its directions need at most.
    pub fn workspace_bytes(&self) -> usize {
        let Algorithms { forward, weight_gradient, input_gradient } = self.algorithms();
        forward.workspace_bytes.max(weight_gradient.workspace_bytes).max(input_gradient.workspace_bytes)
    }

    /// output = input * kernels.
    pub fn forward<R: Real>(
        &self,
        workspace: &mut Buffer<u8>,
        input: Slice<'_, R>,
        kernels: Slice<'_, R>,
        output: &mut SliceMut<'_, R>,
    ) -> Result<()> {
        self.assert_lengths(input.len(), kernels.len(), output.len());
        let ([one, zero], workspace) = (SCALARS, workspace.all_mut());
        // SAFETY: the descriptors live and describe the device memory (asserted above); the workspace has been sized by `workspace_bytes`.
        check("cudnnConvolutionForward", unsafe {
            sys::cudnnConvolutionForward(
                self.library.raw,
                (&raw const one).cast(),
                self.input.0,
                input.address() as *const c_void,
                self.kernels.0,
                kernels.address() as *const c_void,
                self.operation.0,
                self.algorithms().forward.algorithm,
                workspace.address() as *mut c_void,
                workspace.len(),
                (&raw const zero).cast(),
                self.output.0,
                output.address() as *mut c_void,
            )
        })
    }

    /// The gradient of the kernels.
    pub fn weight_gradient<R: Real>(
        &self,
        workspace: &mut Buffer<u8>,
        input: Slice<'_, R>,
        output_gradient: Slice<'_, R>,
        kernel_gradient: &mut SliceMut<'_, R>,
    ) -> Result<()> {
        self.assert_lengths(input.len(), kernel_gradient.len(), output_gradient.len());
        let ([one, zero], workspace) = (SCALARS, workspace.all_mut());
        // SAFETY: as above.
        check("cudnnConvolutionBackwardFilter", unsafe {
            sys::cudnnConvolutionBackwardFilter(
                self.library.raw,
                (&raw const one).cast(),
                self.input.0,
                input.address() as *const c_void,
                self.output.0,
                output_gradient.address() as *const c_void,
                self.operation.0,
                self.algorithms().weight_gradient.algorithm,
                workspace.address() as *mut c_void,
                workspace.len(),
                (&raw const zero).cast(),
                self.kernels.0,
                kernel_gradient.address() as *mut c_void,
            )
        })
    }

    /// The gradient of the input.
    pub fn input_gradient<R: Real>(
        &self,
        workspace: &mut Buffer<u8>,
        kernels: Slice<'_, R>,
        output_gradient: Slice<'_, R>,
        input_gradient: &mut SliceMut<'_, R>,
    ) -> Result<()> {
        self.assert_lengths(input_gradient.len(), kernels.len(), output_gradient.len());
        let ([one, zero], workspace) = (SCALARS, workspace.all_mut());
        // SAFETY: as above.
        check("cudnnConvolutionBackwardData", unsafe {
            sys::cudnnConvolutionBackwardData(
                self.library.raw,
                (&raw const one).cast(),
                self.kernels.0,
                kernels.address() as *const c_void,
                self.output.0,
                output_gradient.address() as *const c_void,
                self.operation.0,
                self.algorithms().input_gradient.algorithm,
                workspace.address() as *mut c_void,
                workspace.len(),
                (&raw const zero).cast(),
                self.input.0,
                input_gradient.address() as *mut c_void,
            )
        })
    }

    fn algorithms(&self) -> Algorithms {
        self.algorithms.expect("chosen by `new`")
    }

    fn assert_lengths(&self, input: usize, kernels: usize, output: usize) {
        let shape = &self.shape;
        assert_eq!(
            (input, kernels, output),
            (shape.input_values(), shape.kernel_values(), shape.output_values()),
            "values of input, kernels and output of {shape:?}"
        );
    }
}

/// Alpha and beta: results are written, not added to.
const SCALARS: [f32; 2] = [1.0, 0.0];

fn check(call: &'static str, status: cudnnStatus_t) -> Result<()> {
    if status == cudnnStatus_t::CUDNN_STATUS_SUCCESS {
        return Ok(());
    }
    let mut details = [0; 256];
    // SAFETY: the status has a text that lives as long as the library; there is room for as many bytes as are said.
    let (status, details) = unsafe {
        sys::cudnnGetLastErrorString(details.as_mut_ptr(), details.len());
        (CStr::from_ptr(sys::cudnnGetErrorString(status)), CStr::from_ptr(details.as_ptr()))
    };
    let (status, details) = (status.to_string_lossy(), details.to_string_lossy());
    let details = if details.is_empty() { String::new() } else { format!(" ({details})") };
    Err(Error::Device(format!("{call} failed: {status}{details}")))
}
