//! A convolution as cuDNN knows it: what it is told about tensors, kernels and the operation.

use std::ptr;
use std::rc::Rc;

use cudarc::cudnn::sys::{
    self, cudnnActivationMode_t, cudnnDataType_t, cudnnMathType_t, cudnnNanPropagation_t, cudnnTensorFormat_t,
};

use super::handle::{Cudnn, check};
use super::shape::ConvolutionShape;
use crate::backend::cuda::driver::warned;
use crate::backend::cuda::libraries::precision::Precision;
use crate::error::Result;

/// The descriptors that every call about one convolution names, and the handle that it goes to.
#[derive(Debug)]
pub struct Description {
    pub library: Rc<Cudnn>,
    pub shape: ConvolutionShape,
    pub input: TensorDescriptor,
    pub kernels: FilterDescriptor,
    pub output: TensorDescriptor,
    pub operation: OperationDescriptor,
}

impl Description {
    pub fn new(library: &Rc<Cudnn>, shape: ConvolutionShape, precision: Precision) -> Result<Self> {
        let ConvolutionShape { num_samples, in_channels, in_side, out_channels, out_side, kernel, groups, .. } = shape;
        let data_type = data_type(precision);
        Ok(Self {
            library: Rc::clone(library),
            shape,
            input: TensorDescriptor::new(data_type, [num_samples, in_channels, in_side])?,
            kernels: FilterDescriptor::new(data_type, [out_channels, in_channels / groups, kernel])?,
            output: TensorDescriptor::new(data_type, [num_samples, out_channels, out_side])?,
            operation: OperationDescriptor::new(shape.pad, shape.stride, groups, precision)?,
        })
    }
}

/// (N, side, side, C).
#[derive(Debug)]
pub struct TensorDescriptor(pub sys::cudnnTensorDescriptor_t);

/// (O, side, side, I).
#[derive(Debug)]
pub struct FilterDescriptor(pub sys::cudnnFilterDescriptor_t);

/// Padding, stride, groups and the numbers to compute in.
#[derive(Debug)]
pub struct OperationDescriptor(pub sys::cudnnConvolutionDescriptor_t);

/// ReLU.
#[derive(Debug)]
pub struct ActivationDescriptor(pub sys::cudnnActivationDescriptor_t);

const NHWC: cudnnTensorFormat_t = cudnnTensorFormat_t::CUDNN_TENSOR_NHWC;

/// Of all tensors.
pub fn data_type(precision: Precision) -> cudnnDataType_t {
    match precision {
        Precision::Bf16 => cudnnDataType_t::CUDNN_DATA_BFLOAT16,
        Precision::Tf32 | Precision::F32 => cudnnDataType_t::CUDNN_DATA_FLOAT,
    }
}

impl TensorDescriptor {
    /// Of (N, C, side): cuDNN names extents in that order whatever the layout is.
    pub fn new(data_type: cudnnDataType_t, extents: [usize; 3]) -> Result<Self> {
        let [samples, channels, side] = extents.map(|extent| extent as i32);
        let mut raw = ptr::null_mut();
        // SAFETY: the pointer outlives the call; `Drop` destroys what it makes.
        check("cudnnCreateTensorDescriptor", unsafe { sys::cudnnCreateTensorDescriptor(&raw mut raw) })?;
        let tensor = Self(raw);
        // SAFETY: the descriptor was made above.
        let set = unsafe { sys::cudnnSetTensor4dDescriptor(tensor.0, NHWC, data_type, samples, channels, side, side) };
        check("cudnnSetTensor4dDescriptor", set)?;
        Ok(tensor)
    }
}

impl Drop for TensorDescriptor {
    fn drop(&mut self) {
        // SAFETY: made by `new`; it is the host's memory.
        warned(check("cudnnDestroyTensorDescriptor", unsafe { sys::cudnnDestroyTensorDescriptor(self.0) }));
    }
}

impl FilterDescriptor {
    /// Of (O, I, side).
    pub fn new(data_type: cudnnDataType_t, extents: [usize; 3]) -> Result<Self> {
        let [kernels, channels, side] = extents.map(|extent| extent as i32);
        let mut raw = ptr::null_mut();
        // SAFETY: the pointer outlives the call; `Drop` destroys what it makes.
        check("cudnnCreateFilterDescriptor", unsafe { sys::cudnnCreateFilterDescriptor(&raw mut raw) })?;
        let filter = Self(raw);
        // SAFETY: the descriptor was made above.
        let set = unsafe { sys::cudnnSetFilter4dDescriptor(filter.0, data_type, NHWC, kernels, channels, side, side) };
        check("cudnnSetFilter4dDescriptor", set)?;
        Ok(filter)
    }
}

impl Drop for FilterDescriptor {
    fn drop(&mut self) {
        // SAFETY: made by `new`; it is the host's memory.
        warned(check("cudnnDestroyFilterDescriptor", unsafe { sys::cudnnDestroyFilterDescriptor(self.0) }));
    }
}

impl OperationDescriptor {
    /// Sums are in f32 in every precision.
    pub fn new(pad: usize, stride: usize, groups: usize, precision: Precision) -> Result<Self> {
        let mut raw = ptr::null_mut();
        // SAFETY: the pointer outlives the call; `Drop` destroys what it makes.
        check("cudnnCreateConvolutionDescriptor", unsafe { sys::cudnnCreateConvolutionDescriptor(&raw mut raw) })?;
        let operation = Self(raw);
        let (pad, stride, dilation) = (pad as i32, stride as i32, 1);
        let mode = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
        let sums = cudnnDataType_t::CUDNN_DATA_FLOAT;
        // SAFETY: the descriptor was made above.
        let set = unsafe {
            sys::cudnnSetConvolution2dDescriptor(raw, pad, pad, stride, stride, dilation, dilation, mode, sums)
        };
        check("cudnnSetConvolution2dDescriptor", set)?;
        // SAFETY: likewise.
        let set = unsafe { sys::cudnnSetConvolutionGroupCount(raw, groups as i32) };
        check("cudnnSetConvolutionGroupCount", set)?;
        let math = match precision {
            // f32 tensors are rounded to TF32 for the tensor cores.
            Precision::Bf16 | Precision::Tf32 => cudnnMathType_t::CUDNN_TENSOR_OP_MATH,
            // The only type that forbids that.
            Precision::F32 => cudnnMathType_t::CUDNN_FMA_MATH,
        };
        // SAFETY: likewise.
        check("cudnnSetConvolutionMathType", unsafe { sys::cudnnSetConvolutionMathType(raw, math) })?;
        Ok(operation)
    }
}

impl Drop for OperationDescriptor {
    fn drop(&mut self) {
        // SAFETY: made by `new`; it is the host's memory.
        warned(check("cudnnDestroyConvolutionDescriptor", unsafe { sys::cudnnDestroyConvolutionDescriptor(self.0) }));
    }
}

impl ActivationDescriptor {
    /// What is not a number stays so.
    pub fn relu() -> Result<Self> {
        let mut raw = ptr::null_mut();
        // SAFETY: the pointer outlives the call; `Drop` destroys what it makes.
        check("cudnnCreateActivationDescriptor", unsafe { sys::cudnnCreateActivationDescriptor(&raw mut raw) })?;
        let activation = Self(raw);
        let (mode, nan) = (cudnnActivationMode_t::CUDNN_ACTIVATION_RELU, cudnnNanPropagation_t::CUDNN_PROPAGATE_NAN);
        // SAFETY: the descriptor was made above. The last number is a clipped ReLU's.
        check("cudnnSetActivationDescriptor", unsafe { sys::cudnnSetActivationDescriptor(raw, mode, nan, 0.0) })?;
        Ok(activation)
    }
}

impl Drop for ActivationDescriptor {
    fn drop(&mut self) {
        // SAFETY: made by `relu`; it is the host's memory.
        warned(check("cudnnDestroyActivationDescriptor", unsafe { sys::cudnnDestroyActivationDescriptor(self.0) }));
    }
}
