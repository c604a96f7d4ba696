//! Descriptors of tensors, filters and convolutions.

use std::ffi::c_int;

use cudarc::cudnn::sys::{
    cudnnActivationDescriptor_t, cudnnActivationMode_t, cudnnConvolutionDescriptor_t, cudnnConvolutionMode_t,
    cudnnDataType_t, cudnnFilterDescriptor_t, cudnnMathType_t, cudnnNanPropagation_t, cudnnStatus_t,
    cudnnTensorDescriptor_t, cudnnTensorFormat_t,
};

use super::{answer, objects, positive, refuse};
use crate::numbers::Kind;

/// (n, c, h, w), stored NHWC.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tensor {
    pub kind: Kind,
    pub shape: [usize; 4],
}

impl Tensor {
    pub fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.kind.bytes()
    }
}

/// (k, c / groups, h, w), stored KHWC.
pub type Filter = Tensor;

/// How a filter moves.
#[derive(Clone, Copy, Debug)]
pub struct Convolution {
    pub padding: [usize; 2],
    pub stride: [usize; 2],
    pub groups: usize,
    pub math: cudnnMathType_t,
}

fn kind(data_type: cudnnDataType_t) -> Result<Kind, cudnnStatus_t> {
    match data_type {
        cudnnDataType_t::CUDNN_DATA_FLOAT => Ok(Kind::F32),
        cudnnDataType_t::CUDNN_DATA_BFLOAT16 => Ok(Kind::Bf16),
        _ => refuse(cudnnStatus_t::CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE, format!("{data_type:?} is not simulated")),
    }
}

fn nhwc(format: cudnnTensorFormat_t) -> Result<(), cudnnStatus_t> {
    match format {
        cudnnTensorFormat_t::CUDNN_TENSOR_NHWC => Ok(()),
        _ => refuse(cudnnStatus_t::CUDNN_STATUS_NOT_SUPPORTED_LAYOUT, format!("{format:?}: only NHWC is simulated")),
    }
}

/// What a call on a descriptor that does not exist returns.
fn missing<T>(call: &str) -> Result<T, cudnnStatus_t> {
    refuse(cudnnStatus_t::CUDNN_STATUS_BAD_PARAM, format!("{call} of a descriptor that does not exist"))
}

exported! {
    fn cudnnCreateTensorDescriptor(descriptor: *mut cudnnTensorDescriptor_t) -> cudnnStatus_t {
        let created = objects().tensors.insert(None);
        answer(descriptor, created as cudnnTensorDescriptor_t)
    }

    fn cudnnSetTensor4dDescriptor(
        descriptor: cudnnTensorDescriptor_t, format: cudnnTensorFormat_t, data_type: cudnnDataType_t, n: c_int, c: c_int, h: c_int, w: c_int,
    ) -> cudnnStatus_t {
        nhwc(format)?;
        let tensor = Tensor { kind: kind(data_type)?, shape: [positive("n", n)?, positive("c", c)?, positive("h", h)?, positive("w", w)?] };
        let set = objects().tensors.get_mut(descriptor as u64).map(|place| *place = Some(tensor));
        set.map_or_else(|| missing("cudnnSetTensor4dDescriptor"), Ok)
    }

    fn cudnnDestroyTensorDescriptor(descriptor: cudnnTensorDescriptor_t) -> cudnnStatus_t {
        let removed = objects().tensors.remove(descriptor as u64);
        removed.map_or_else(|| missing("cudnnDestroyTensorDescriptor"), |_| Ok(()))
    }

    fn cudnnCreateFilterDescriptor(descriptor: *mut cudnnFilterDescriptor_t) -> cudnnStatus_t {
        let created = objects().filters.insert(None);
        answer(descriptor, created as cudnnFilterDescriptor_t)
    }

    fn cudnnSetFilter4dDescriptor(
        descriptor: cudnnFilterDescriptor_t, data_type: cudnnDataType_t, format: cudnnTensorFormat_t, k: c_int, c: c_int, h: c_int, w: c_int,
    ) -> cudnnStatus_t {
        nhwc(format)?;
        let filter = Filter { kind: kind(data_type)?, shape: [positive("k", k)?, positive("c", c)?, positive("h", h)?, positive("w", w)?] };
        let set = objects().filters.get_mut(descriptor as u64).map(|place| *place = Some(filter));
        set.map_or_else(|| missing("cudnnSetFilter4dDescriptor"), Ok)
    }

    fn cudnnDestroyFilterDescriptor(descriptor: cudnnFilterDescriptor_t) -> cudnnStatus_t {
        let removed = objects().filters.remove(descriptor as u64);
        removed.map_or_else(|| missing("cudnnDestroyFilterDescriptor"), |_| Ok(()))
    }

    fn cudnnCreateActivationDescriptor(descriptor: *mut cudnnActivationDescriptor_t) -> cudnnStatus_t {
        let created = objects().activations.insert(false);
        answer(descriptor, created as cudnnActivationDescriptor_t)
    }

    fn cudnnSetActivationDescriptor(
        descriptor: cudnnActivationDescriptor_t, mode: cudnnActivationMode_t, nan: cudnnNanPropagation_t, _coefficient: f64,
    ) -> cudnnStatus_t {
        if mode != cudnnActivationMode_t::CUDNN_ACTIVATION_RELU || nan != cudnnNanPropagation_t::CUDNN_PROPAGATE_NAN {
            return refuse(cudnnStatus_t::CUDNN_STATUS_NOT_SUPPORTED, format!("{mode:?} with {nan:?}: only ReLU that keeps NaN is simulated"));
        }
        let set = objects().activations.get_mut(descriptor as u64).map(|is_set| *is_set = true);
        set.map_or_else(|| missing("cudnnSetActivationDescriptor"), Ok)
    }

    fn cudnnDestroyActivationDescriptor(descriptor: cudnnActivationDescriptor_t) -> cudnnStatus_t {
        let removed = objects().activations.remove(descriptor as u64);
        removed.map_or_else(|| missing("cudnnDestroyActivationDescriptor"), |_| Ok(()))
    }

    fn cudnnCreateConvolutionDescriptor(descriptor: *mut cudnnConvolutionDescriptor_t) -> cudnnStatus_t {
        let created = objects().convolutions.insert(None);
        answer(descriptor, created as cudnnConvolutionDescriptor_t)
    }

    fn cudnnSetConvolution2dDescriptor(
        descriptor: cudnnConvolutionDescriptor_t, pad_h: c_int, pad_w: c_int, stride_h: c_int, stride_w: c_int, dilation_h: c_int,
        dilation_w: c_int, mode: cudnnConvolutionMode_t, compute_type: cudnnDataType_t,
    ) -> cudnnStatus_t {
        if (dilation_h, dilation_w) != (1, 1) || mode != cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION {
            return refuse(cudnnStatus_t::CUDNN_STATUS_NOT_SUPPORTED, format!("dilation {dilation_h} x {dilation_w} or {mode:?} is not simulated"));
        }
        if compute_type != cudnnDataType_t::CUDNN_DATA_FLOAT {
            return refuse(cudnnStatus_t::CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE, format!("computing in {compute_type:?} is not simulated"));
        }
        if pad_h < 0 || pad_w < 0 {
            return refuse(cudnnStatus_t::CUDNN_STATUS_BAD_PARAM, format!("padding {pad_h} x {pad_w}"));
        }
        let stride = [positive("the vertical stride", stride_h)?, positive("the horizontal stride", stride_w)?];
        let convolution = Convolution { padding: [pad_h as usize, pad_w as usize], stride, groups: 1, math: cudnnMathType_t::CUDNN_DEFAULT_MATH };
        let set = objects().convolutions.get_mut(descriptor as u64).map(|place| *place = Some(convolution));
        set.map_or_else(|| missing("cudnnSetConvolution2dDescriptor"), Ok)
    }

    fn cudnnSetConvolutionGroupCount(descriptor: cudnnConvolutionDescriptor_t, count: c_int) -> cudnnStatus_t {
        let groups = positive("the number of groups", count)?;
        let set = objects().convolutions.get_mut(descriptor as u64).and_then(Option::as_mut).map(|convolution| convolution.groups = groups);
        set.map_or_else(|| missing("cudnnSetConvolutionGroupCount before its geometry, or"), Ok)
    }

    fn cudnnSetConvolutionMathType(descriptor: cudnnConvolutionDescriptor_t, math: cudnnMathType_t) -> cudnnStatus_t {
        let set = objects().convolutions.get_mut(descriptor as u64).and_then(Option::as_mut).map(|convolution| convolution.math = math);
        set.map_or_else(|| missing("cudnnSetConvolutionMathType before its geometry, or"), Ok)
    }

    fn cudnnDestroyConvolutionDescriptor(descriptor: cudnnConvolutionDescriptor_t) -> cudnnStatus_t {
        let removed = objects().convolutions.remove(descriptor as u64);
        removed.map_or_else(|| missing("cudnnDestroyConvolutionDescriptor"), |_| Ok(()))
    }
}
