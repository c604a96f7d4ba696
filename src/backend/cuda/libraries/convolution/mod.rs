//! Convolutions, by cuDNN's plain C API. Beside this folder only [`super`] knows cuDNN, to open it and ask its version.
//!
//! Tensors are (N, H, W, C) and kernels (O, H, W, I). The algorithms are those that run on tensor cores and are
//! bitwise reproducible.

mod algorithms;
mod descriptors;
mod handle;
pub(crate) mod shape;

use std::ffi::c_void;
use std::rc::Rc;

use cudarc::cudnn::sys::{
    self, cudnnConvolutionBwdDataAlgo_t as InputGradientAlgorithm,
    cudnnConvolutionBwdFilterAlgo_t as WeightGradientAlgorithm, cudnnConvolutionFwdAlgo_t as ForwardAlgorithm,
};

use self::algorithms::Chosen;
use self::descriptors::{ActivationDescriptor, Description, TensorDescriptor, data_type};
pub(crate) use self::handle::Cudnn;
use self::handle::check;
pub(crate) use self::shape::ConvolutionShape;
use super::precision::Precision;
use super::tuning::Tuning;
use crate::backend::cuda::driver::{Buffer, Slice, SliceMut};
use crate::backend::cuda::real::Real;
use crate::error::Result;

/// A convolution, ready to run in three directions.
#[derive(Debug)]
pub struct Convolution {
    description: Description,
    bias: TensorDescriptor,
    relu: ActivationDescriptor,
    /// Weight gradients go by way of another handle, to another stream.
    for_weights: Rc<Cudnn>,
    algorithms: Algorithms,
}

#[derive(Clone, Copy, Debug)]
struct Algorithms {
    forward: Chosen<ForwardAlgorithm>,
    weight_gradient: Chosen<WeightGradientAlgorithm>,
    input_gradient: Chosen<InputGradientAlgorithm>,
}

impl Convolution {
    /// Describes it and chooses its algorithms: what `tuning` has found, or those that are known to be good.
    pub fn new(
        library: &Rc<Cudnn>,
        for_weights: &Rc<Cudnn>,
        shape: ConvolutionShape,
        precision: Precision,
        tuning: &mut Tuning,
    ) -> Result<Self> {
        let description = Description::new(library, shape, precision)?;
        let algorithms = Algorithms {
            forward: algorithms::forward(&description, tuning)?,
            weight_gradient: algorithms::weight_gradient(&description, tuning)?,
            input_gradient: algorithms::input_gradient(&description, tuning)?,
        };
        Ok(Self {
            bias: TensorDescriptor::new(data_type(precision), [1, shape.out_channels, 1])?,
            relu: ActivationDescriptor::relu()?,
            for_weights: Rc::clone(for_weights),
            description,
            algorithms,
        })
    }

    /// Bytes of working memory that it needs: for the weight gradient, and for the others.
    pub fn workspace_bytes(&self) -> [usize; 2] {
        let Algorithms { forward, weight_gradient, input_gradient } = &self.algorithms;
        [weight_gradient.workspace_bytes, forward.workspace_bytes.max(input_gradient.workspace_bytes)]
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
        let (on, [one, zero]) = (&self.description, SCALARS);
        let workspace = self.algorithms.forward.workspace(workspace);
        // SAFETY: the descriptors live and describe the device memory (asserted above), as does the algorithm the
        // workspace.
        check("cudnnConvolutionForward", unsafe {
            sys::cudnnConvolutionForward(
                on.library.raw,
                (&raw const one).cast(),
                on.input.0,
                input.address() as *const c_void,
                on.kernels.0,
                kernels.address() as *const c_void,
                on.operation.0,
                self.algorithms.forward.algorithm,
                workspace.address() as *mut c_void,
                workspace.len(),
                (&raw const zero).cast(),
                on.output.0,
                output.address() as *mut c_void,
            )
        })
    }

    /// output = ReLU(input * kernels + bias), in one. Not every cuDNN can do so for every shape and type.
    pub fn forward_bias_relu<R: Real>(
        &self,
        workspace: &mut Buffer<u8>,
        input: Slice<'_, R>,
        kernels: Slice<'_, R>,
        bias: Slice<'_, R>,
        output: &mut SliceMut<'_, R>,
    ) -> Result<()> {
        self.assert_lengths(input.len(), kernels.len(), output.len());
        assert_eq!(bias.len(), self.description.shape.out_channels, "values of the bias");
        let (on, [one, zero]) = (&self.description, SCALARS);
        let workspace = self.algorithms.forward.workspace(workspace);
        // SAFETY: as above. What is added beside the bias is the output itself, zero times: it is not read.
        check("cudnnConvolutionBiasActivationForward", unsafe {
            sys::cudnnConvolutionBiasActivationForward(
                on.library.raw,
                (&raw const one).cast(),
                on.input.0,
                input.address() as *const c_void,
                on.kernels.0,
                kernels.address() as *const c_void,
                on.operation.0,
                self.algorithms.forward.algorithm,
                workspace.address() as *mut c_void,
                workspace.len(),
                (&raw const zero).cast(),
                on.output.0,
                output.address() as *const c_void,
                self.bias.0,
                bias.address() as *const c_void,
                self.relu.0,
                on.output.0,
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
        let (on, [one, zero]) = (&self.description, SCALARS);
        let workspace = self.algorithms.weight_gradient.workspace(workspace);
        // SAFETY: as above.
        check("cudnnConvolutionBackwardFilter", unsafe {
            sys::cudnnConvolutionBackwardFilter(
                self.for_weights.raw,
                (&raw const one).cast(),
                on.input.0,
                input.address() as *const c_void,
                on.output.0,
                output_gradient.address() as *const c_void,
                on.operation.0,
                self.algorithms.weight_gradient.algorithm,
                workspace.address() as *mut c_void,
                workspace.len(),
                (&raw const zero).cast(),
                on.kernels.0,
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
        let (on, [one, zero]) = (&self.description, SCALARS);
        let workspace = self.algorithms.input_gradient.workspace(workspace);
        // SAFETY: as above.
        check("cudnnConvolutionBackwardData", unsafe {
            sys::cudnnConvolutionBackwardData(
                on.library.raw,
                (&raw const one).cast(),
                on.kernels.0,
                kernels.address() as *const c_void,
                on.output.0,
                output_gradient.address() as *const c_void,
                on.operation.0,
                self.algorithms.input_gradient.algorithm,
                workspace.address() as *mut c_void,
                workspace.len(),
                (&raw const zero).cast(),
                on.input.0,
                input_gradient.address() as *mut c_void,
            )
        })
    }

    fn assert_lengths(&self, input: usize, kernels: usize, output: usize) {
        let shape = &self.description.shape;
        assert_eq!(
            (input, kernels, output),
            (shape.input_values(), shape.kernel_values(), shape.output_values()),
            "values of input, kernels and output of {shape:?}"
        );
    }
}

/// Alpha and beta: results are written, not added to.
const SCALARS: [f32; 2] = [1.0, 0.0];
