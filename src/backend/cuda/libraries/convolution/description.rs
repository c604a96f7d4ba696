//! A convolution as cuDNN knows it.

use std::rc::Rc;

use cudarc::cudnn::sys::cudnnDataType_t;

use super::descriptors::{FilterDescriptor, OperationDescriptor, TensorDescriptor};
use super::handle::Cudnn;
use super::shape::ConvolutionShape;
use crate::backend::cuda::libraries::precision::Precision;
use crate::error::Result;

/// The descriptors that every call about one convolution names, and the handle that it goes to.
#[derive(Debug)]
pub(super) struct Description {
    pub(super) library: Rc<Cudnn>,
    pub(super) shape: ConvolutionShape,
    pub(super) input: TensorDescriptor,
    pub(super) kernels: FilterDescriptor,
    pub(super) output: TensorDescriptor,
    pub(super) operation: OperationDescriptor,
}

impl Description {
    pub(super) fn new(library: &Rc<Cudnn>, shape: ConvolutionShape, precision: Precision) -> Result<Self> {
        let ConvolutionShape { num_samples, in_channels, in_side, out_channels, out_side, kernel, groups, .. } = shape;
        let data_type = match precision {
            Precision::Bf16 => cudnnDataType_t::CUDNN_DATA_BFLOAT16,
            Precision::Tf32 | Precision::F32 => cudnnDataType_t::CUDNN_DATA_FLOAT,
        };
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
