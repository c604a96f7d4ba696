//! What a convolution's four descriptors say together.

use cudarc::cudnn::sys::{
    cudnnConvolutionDescriptor_t, cudnnFilterDescriptor_t, cudnnMathType_t, cudnnStatus_t, cudnnTensorDescriptor_t,
};

use super::descriptors::{Convolution, Filter, Tensor};
use super::{objects, refuse};
use crate::numbers::Kind;

/// A convolution of `input` with `filter` to `output`; the same for the gradients.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    pub input: Tensor,
    pub filter: Filter,
    pub output: Tensor,
    pub convolution: Convolution,
}

impl Geometry {
    /// Reads and checks the descriptors: set, of one type, fitting.
    pub fn of(
        input: cudnnTensorDescriptor_t,
        filter: cudnnFilterDescriptor_t,
        convolution: cudnnConvolutionDescriptor_t,
        output: cudnnTensorDescriptor_t,
    ) -> Result<Self, cudnnStatus_t> {
        let found = {
            let objects = objects();
            let tensor = |handle: cudnnTensorDescriptor_t| objects.tensors.get(handle as u64).copied().flatten();
            let filter = objects.filters.get(filter as u64).copied().flatten();
            let convolution = objects.convolutions.get(convolution as u64).copied().flatten();
            tensor(input).zip(filter).zip(convolution).zip(tensor(output))
        };
        let Some((((input, filter), convolution), output)) = found else {
            return refuse(
                cudnnStatus_t::CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED,
                "a descriptor that does not exist or was not set",
            );
        };
        let geometry = Self { input, filter, output, convolution };
        geometry.check()?;
        Ok(geometry)
    }

    fn check(&self) -> Result<(), cudnnStatus_t> {
        let Self { input, filter, output, convolution } = self;
        let [_, channels, height, width] = input.shape;
        let [outputs, group_channels, filter_height, filter_width] = filter.shape;
        if input.kind != filter.kind || input.kind != output.kind {
            return refuse(cudnnStatus_t::CUDNN_STATUS_BAD_PARAM, format!("tensors of different types: {self:?}"));
        }
        let side = |side: usize, filter: usize, axis: usize| {
            (side + 2 * convolution.padding[axis]).checked_sub(filter).map(|last| last / convolution.stride[axis] + 1)
        };
        let sides = side(height, filter_height, 0).zip(side(width, filter_width, 1));
        let groups = convolution.groups;
        let fits = sides.is_some_and(|(height, width)| output.shape == [input.shape[0], outputs, height, width])
            && channels == group_channels * groups
            && outputs % groups == 0;
        if !fits {
            return refuse(
                cudnnStatus_t::CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH,
                format!("shapes that do not fit: {self:?}"),
            );
        }
        if input.kind == Kind::Bf16 && convolution.math == cudnnMathType_t::CUDNN_FMA_MATH {
            return refuse(cudnnStatus_t::CUDNN_STATUS_NOT_SUPPORTED, "bf16 with CUDNN_FMA_MATH");
        }
        if input.kind == Kind::Bf16 && crate::device::lock().settings.sm < 80 {
            return refuse(
                cudnnStatus_t::CUDNN_STATUS_NOT_SUPPORTED_ARCH_MISMATCH,
                "bf16 before compute capability 8.0",
            );
        }
        Ok(())
    }

    /// Whether inputs are rounded to TF32: everything but CUDNN_FMA_MATH allows it.
    pub fn tf32(&self) -> bool {
        self.input.kind == Kind::F32 && self.convolution.math != cudnnMathType_t::CUDNN_FMA_MATH
    }

    /// The math type that an answer about algorithms names.
    pub fn math(&self) -> cudnnMathType_t {
        if self.convolution.math == cudnnMathType_t::CUDNN_FMA_MATH {
            self.convolution.math
        } else {
            cudnnMathType_t::CUDNN_TENSOR_OP_MATH
        }
    }

    /// Bytes of workspace that the supported algorithms demand: never 0, and different for every shape.
    pub fn workspace_bytes(&self) -> usize {
        let pixels: usize = self.output.shape[2] * self.output.shape[3];
        (pixels * 4 + self.filter.bytes() / 2 + self.output.shape[0] * 16).next_multiple_of(256)
    }

    /// Channels of the input in a group.
    pub fn group_channels(&self) -> usize {
        self.filter.shape[1]
    }

    /// Outputs of a group.
    pub fn group_outputs(&self) -> usize {
        self.filter.shape[0] / self.convolution.groups
    }

    /// Numbers of an output's filter.
    pub fn taps(&self) -> usize {
        self.filter.shape[1..].iter().product()
    }

    /// Pixels of the output.
    pub fn output_pixels(&self) -> usize {
        self.output.shape[2] * self.output.shape[3]
    }

    /// Numbers of an image of the input.
    pub fn input_image(&self) -> usize {
        self.input.shape[1..].iter().product()
    }

    /// Numbers of an image of the output.
    pub fn output_image(&self) -> usize {
        self.output.shape[1..].iter().product()
    }
}
