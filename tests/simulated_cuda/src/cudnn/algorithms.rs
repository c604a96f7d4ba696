//! What cuDNN says about its algorithms.

use std::ffi::c_int;

use cudarc::cudnn::sys::{
    cudnnConvolutionDescriptor_t, cudnnDeterminism_t, cudnnFilterDescriptor_t, cudnnHandle_t, cudnnMathType_t,
    cudnnStatus_t, cudnnTensorDescriptor_t,
};

use super::geometry::Geometry;
use super::{answer, of_driver, refuse, stream_of};
use crate::device;
use crate::driver::context::not_capturing;

/// Which of the three convolutions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Direction {
    Forward,
    BackwardData,
    BackwardFilter,
}

/// The one algorithm that is simulated: IMPLICIT_PRECOMP_GEMM, ALGO_1, ALGO_1.
pub const SUPPORTED: u32 = 1;

impl Direction {
    /// An error for an algorithm that may not be used.
    pub fn supports(self, algorithm: u32) -> Result<(), cudnnStatus_t> {
        if algorithm == SUPPORTED {
            return Ok(());
        }
        if algorithm == 0 && self != Self::Forward {
            device::lock().violation(format!("{self:?} with ALGO_0, whose result may differ from run to run"));
        }
        refuse(cudnnStatus_t::CUDNN_STATUS_NOT_SUPPORTED, format!("{self:?} with algorithm {algorithm} for NHWC"))
    }
}

/// What is said about an algorithm: the layout of cudnnConvolutionFwdAlgoPerf_t, and of the structures for the two
/// gradients, which have another enumeration in the place of the number.
#[repr(C)]
pub struct Answer {
    pub algorithm: u32,
    pub status: cudnnStatus_t,
    pub milliseconds: f32,
    pub workspace_bytes: usize,
    pub determinism: cudnnDeterminism_t,
    pub math: cudnnMathType_t,
    pub reserved: [c_int; 3],
}

/// Fixed answers with the fastest first. Backward, the fastest is ALGO_0, whose result may differ from run to run:
/// who takes it without looking at the determinism is found out.
fn answers(direction: Direction, geometry: &Geometry) -> Vec<Answer> {
    let supported = |algorithm, milliseconds, workspace_bytes, determinism| Answer {
        algorithm,
        status: cudnnStatus_t::CUDNN_STATUS_SUCCESS,
        milliseconds,
        workspace_bytes,
        determinism,
        math: geometry.math(),
        reserved: [0; 3],
    };
    let repeatable = supported(SUPPORTED, 0.5, geometry.workspace_bytes(), cudnnDeterminism_t::CUDNN_DETERMINISTIC);
    let unsupported = |algorithm| Answer {
        status: cudnnStatus_t::CUDNN_STATUS_NOT_SUPPORTED,
        ..supported(algorithm, -1.0, 0, cudnnDeterminism_t::CUDNN_DETERMINISTIC)
    };
    match direction {
        Direction::Forward => vec![repeatable, unsupported(0)],
        _ => vec![supported(0, 0.25, 0, cudnnDeterminism_t::CUDNN_NON_DETERMINISTIC), repeatable, unsupported(3)],
    }
}

/// Writes as many answers as there is room for.
unsafe fn write_answers(
    direction: Direction,
    geometry: Geometry,
    requested: c_int,
    returned: *mut c_int,
    results: *mut Answer,
) -> Result<(), cudnnStatus_t> {
    if requested <= 0 || results.is_null() {
        return refuse(cudnnStatus_t::CUDNN_STATUS_BAD_PARAM, "no room for answers about algorithms");
    }
    let answers = answers(direction, &geometry);
    let count = answers.len().min(requested as usize);
    for (index, answer) in answers.into_iter().take(count).enumerate() {
        results.add(index).write(answer);
    }
    answer(returned, count as c_int)
}

/// Refuses where a Find, which allocates and runs, may not be called.
fn may_find(handle: cudnnHandle_t) -> Result<(), cudnnStatus_t> {
    stream_of(handle)?;
    not_capturing("cudnnFindConvolution...Algorithm").map(drop).map_err(of_driver)
}

exported! {
    fn cudnnGetConvolutionForwardWorkspaceSize(
        handle: cudnnHandle_t, x_desc: cudnnTensorDescriptor_t, w_desc: cudnnFilterDescriptor_t, conv_desc: cudnnConvolutionDescriptor_t,
        y_desc: cudnnTensorDescriptor_t, algo: u32, bytes: *mut usize,
    ) -> cudnnStatus_t {
        stream_of(handle)?;
        let geometry = Geometry::of(x_desc, w_desc, conv_desc, y_desc)?;
        Direction::Forward.supports(algo)?;
        answer(bytes, geometry.workspace_bytes())
    }

    fn cudnnGetConvolutionBackwardDataWorkspaceSize(
        handle: cudnnHandle_t, w_desc: cudnnFilterDescriptor_t, dy_desc: cudnnTensorDescriptor_t, conv_desc: cudnnConvolutionDescriptor_t,
        dx_desc: cudnnTensorDescriptor_t, algo: u32, bytes: *mut usize,
    ) -> cudnnStatus_t {
        stream_of(handle)?;
        let geometry = Geometry::of(dx_desc, w_desc, conv_desc, dy_desc)?;
        Direction::BackwardData.supports(algo)?;
        answer(bytes, geometry.workspace_bytes())
    }

    fn cudnnGetConvolutionBackwardFilterWorkspaceSize(
        handle: cudnnHandle_t, x_desc: cudnnTensorDescriptor_t, dy_desc: cudnnTensorDescriptor_t, conv_desc: cudnnConvolutionDescriptor_t,
        dw_desc: cudnnFilterDescriptor_t, algo: u32, bytes: *mut usize,
    ) -> cudnnStatus_t {
        stream_of(handle)?;
        let geometry = Geometry::of(x_desc, dw_desc, conv_desc, dy_desc)?;
        Direction::BackwardFilter.supports(algo)?;
        answer(bytes, geometry.workspace_bytes())
    }

    fn cudnnGetConvolutionForwardAlgorithm_v7(
        handle: cudnnHandle_t, x_desc: cudnnTensorDescriptor_t, w_desc: cudnnFilterDescriptor_t, conv_desc: cudnnConvolutionDescriptor_t,
        y_desc: cudnnTensorDescriptor_t, requested: c_int, returned: *mut c_int, results: *mut Answer,
    ) -> cudnnStatus_t {
        stream_of(handle)?;
        let geometry = Geometry::of(x_desc, w_desc, conv_desc, y_desc)?;
        write_answers(Direction::Forward, geometry, requested, returned, results)
    }

    fn cudnnGetConvolutionBackwardDataAlgorithm_v7(
        handle: cudnnHandle_t, w_desc: cudnnFilterDescriptor_t, dy_desc: cudnnTensorDescriptor_t, conv_desc: cudnnConvolutionDescriptor_t,
        dx_desc: cudnnTensorDescriptor_t, requested: c_int, returned: *mut c_int, results: *mut Answer,
    ) -> cudnnStatus_t {
        stream_of(handle)?;
        let geometry = Geometry::of(dx_desc, w_desc, conv_desc, dy_desc)?;
        write_answers(Direction::BackwardData, geometry, requested, returned, results)
    }

    fn cudnnGetConvolutionBackwardFilterAlgorithm_v7(
        handle: cudnnHandle_t, x_desc: cudnnTensorDescriptor_t, dy_desc: cudnnTensorDescriptor_t, conv_desc: cudnnConvolutionDescriptor_t,
        dw_desc: cudnnFilterDescriptor_t, requested: c_int, returned: *mut c_int, results: *mut Answer,
    ) -> cudnnStatus_t {
        stream_of(handle)?;
        let geometry = Geometry::of(x_desc, dw_desc, conv_desc, dy_desc)?;
        write_answers(Direction::BackwardFilter, geometry, requested, returned, results)
    }

    fn cudnnFindConvolutionForwardAlgorithm(
        handle: cudnnHandle_t, x_desc: cudnnTensorDescriptor_t, w_desc: cudnnFilterDescriptor_t, conv_desc: cudnnConvolutionDescriptor_t,
        y_desc: cudnnTensorDescriptor_t, requested: c_int, returned: *mut c_int, results: *mut Answer,
    ) -> cudnnStatus_t {
        may_find(handle)?;
        let geometry = Geometry::of(x_desc, w_desc, conv_desc, y_desc)?;
        write_answers(Direction::Forward, geometry, requested, returned, results)
    }

    fn cudnnFindConvolutionBackwardDataAlgorithm(
        handle: cudnnHandle_t, w_desc: cudnnFilterDescriptor_t, dy_desc: cudnnTensorDescriptor_t, conv_desc: cudnnConvolutionDescriptor_t,
        dx_desc: cudnnTensorDescriptor_t, requested: c_int, returned: *mut c_int, results: *mut Answer,
    ) -> cudnnStatus_t {
        may_find(handle)?;
        let geometry = Geometry::of(dx_desc, w_desc, conv_desc, dy_desc)?;
        write_answers(Direction::BackwardData, geometry, requested, returned, results)
    }

    fn cudnnFindConvolutionBackwardFilterAlgorithm(
        handle: cudnnHandle_t, x_desc: cudnnTensorDescriptor_t, dy_desc: cudnnTensorDescriptor_t, conv_desc: cudnnConvolutionDescriptor_t,
        dw_desc: cudnnFilterDescriptor_t, requested: c_int, returned: *mut c_int, results: *mut Answer,
    ) -> cudnnStatus_t {
        may_find(handle)?;
        let geometry = Geometry::of(x_desc, dw_desc, conv_desc, dy_desc)?;
        write_answers(Direction::BackwardFilter, geometry, requested, returned, results)
    }
}
