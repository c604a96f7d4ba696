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

/// The algorithm that is known to be good: IMPLICIT_PRECOMP_GEMM, ALGO_1, ALGO_1.
pub const USUAL: u32 = 1;
/// Another one, slower, that takes no workspace.
pub const OTHER: u32 = 5;

impl Direction {
    /// The workspace that an algorithm takes, or an error if it may not be used.
    pub fn workspace_bytes(self, algorithm: u32, geometry: &Geometry) -> Result<usize, cudnnStatus_t> {
        if determinism(self, algorithm) == cudnnDeterminism_t::CUDNN_NON_DETERMINISTIC {
            let reason = format!("{self:?} with algorithm {algorithm}, whose result may differ from run to run");
            device::lock().violation(reason);
        }
        match algorithm {
            USUAL => Ok(geometry.workspace_bytes()),
            OTHER => Ok(0),
            _ => refuse(
                cudnnStatus_t::CUDNN_STATUS_NOT_SUPPORTED,
                format!("{self:?} with algorithm {algorithm} for NHWC"),
            ),
        }
    }
}

fn determinism(direction: Direction, algorithm: u32) -> cudnnDeterminism_t {
    let unrepeatable = device::lock().settings.unrepeatable;
    if Some(algorithm) == unrepeatable || (algorithm == 0 && direction != Direction::Forward) {
        cudnnDeterminism_t::CUDNN_NON_DETERMINISTIC
    } else {
        cudnnDeterminism_t::CUDNN_DETERMINISTIC
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
    let supported = |algorithm, milliseconds, workspace_bytes| Answer {
        algorithm,
        status: cudnnStatus_t::CUDNN_STATUS_SUCCESS,
        milliseconds,
        workspace_bytes,
        determinism: determinism(direction, algorithm),
        math: geometry.math(),
        reserved: [0; 3],
    };
    let usual = supported(USUAL, 0.5, geometry.workspace_bytes());
    let unsupported =
        |algorithm| Answer { status: cudnnStatus_t::CUDNN_STATUS_NOT_SUPPORTED, ..supported(algorithm, -1.0, 0) };
    let other = supported(OTHER, 0.75, 0);
    match direction {
        Direction::Forward => vec![usual, other, unsupported(0)],
        _ => vec![supported(0, 0.25, 0), usual, other, unsupported(3)],
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
        answer(bytes, Direction::Forward.workspace_bytes(algo, &geometry)?)
    }

    fn cudnnGetConvolutionBackwardDataWorkspaceSize(
        handle: cudnnHandle_t, w_desc: cudnnFilterDescriptor_t, dy_desc: cudnnTensorDescriptor_t, conv_desc: cudnnConvolutionDescriptor_t,
        dx_desc: cudnnTensorDescriptor_t, algo: u32, bytes: *mut usize,
    ) -> cudnnStatus_t {
        stream_of(handle)?;
        let geometry = Geometry::of(dx_desc, w_desc, conv_desc, dy_desc)?;
        answer(bytes, Direction::BackwardData.workspace_bytes(algo, &geometry)?)
    }

    fn cudnnGetConvolutionBackwardFilterWorkspaceSize(
        handle: cudnnHandle_t, x_desc: cudnnTensorDescriptor_t, dy_desc: cudnnTensorDescriptor_t, conv_desc: cudnnConvolutionDescriptor_t,
        dw_desc: cudnnFilterDescriptor_t, algo: u32, bytes: *mut usize,
    ) -> cudnnStatus_t {
        stream_of(handle)?;
        let geometry = Geometry::of(x_desc, dw_desc, conv_desc, dy_desc)?;
        answer(bytes, Direction::BackwardFilter.workspace_bytes(algo, &geometry)?)
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
