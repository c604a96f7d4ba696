//! What cuDNN says about its algorithms.

use std::ffi::c_int;

use cudarc::cudnn::sys::{
    cudnnConvolutionBwdDataAlgo_t, cudnnConvolutionBwdDataAlgoPerf_t, cudnnConvolutionBwdFilterAlgo_t,
    cudnnConvolutionBwdFilterAlgoPerf_t, cudnnConvolutionDescriptor_t, cudnnConvolutionFwdAlgo_t,
    cudnnConvolutionFwdAlgoPerf_t, cudnnDeterminism_t, cudnnFilterDescriptor_t, cudnnHandle_t, cudnnStatus_t,
    cudnnTensorDescriptor_t,
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

impl Direction {
    /// The one algorithm that is simulated: IMPLICIT_PRECOMP_GEMM, ALGO_1, ALGO_1.
    const SUPPORTED: u32 = 1;

    /// An error for an algorithm that may not be used.
    pub fn supports(self, algorithm: u32) -> Result<(), cudnnStatus_t> {
        if algorithm == Self::SUPPORTED {
            return Ok(());
        }
        if algorithm == 0 && self != Self::Forward {
            device::lock().violation(format!("{self:?} with ALGO_0, whose result may differ from run to run"));
        }
        refuse(cudnnStatus_t::CUDNN_STATUS_NOT_SUPPORTED, format!("{self:?} with algorithm {algorithm} for NHWC"))
    }
}

/// An answer about algorithm 0, 1 or 2: status, milliseconds, bytes of workspace, determinism.
struct Answer {
    status: cudnnStatus_t,
    milliseconds: f32,
    workspace_bytes: usize,
    determinism: cudnnDeterminism_t,
}

/// Fixed answers with the fastest first. Backward, the fastest is ALGO_0, whose result may differ from run to run:
/// who takes it without looking at the determinism is found out.
fn answers(direction: Direction, geometry: &Geometry) -> Vec<(u32, Answer)> {
    let success = |milliseconds, workspace_bytes, determinism| Answer {
        status: cudnnStatus_t::CUDNN_STATUS_SUCCESS,
        milliseconds,
        workspace_bytes,
        determinism,
    };
    let unsupported = Answer {
        status: cudnnStatus_t::CUDNN_STATUS_NOT_SUPPORTED,
        milliseconds: -1.0,
        workspace_bytes: 0,
        determinism: cudnnDeterminism_t::CUDNN_DETERMINISTIC,
    };
    let supported = success(0.5, geometry.workspace_bytes(), cudnnDeterminism_t::CUDNN_DETERMINISTIC);
    match direction {
        Direction::Forward => vec![(1, supported), (0, unsupported)],
        _ => vec![(0, success(0.25, 0, cudnnDeterminism_t::CUDNN_NON_DETERMINISTIC)), (1, supported), (3, unsupported)],
    }
}

/// Refuses where a Find, which allocates and runs, may not be called.
fn may_find(handle: cudnnHandle_t) -> Result<(), cudnnStatus_t> {
    stream_of(handle)?;
    not_capturing("cudnnFindConvolution...Algorithm").map(drop).map_err(of_driver)
}

/// Writes answers as one of the three structures.
macro_rules! write_answers {
    ($direction:expr, $geometry:expr, $requested:expr, $returned:expr, $results:expr, $structure:ident, $algorithms:expr) => {{
        if $requested <= 0 || $results.is_null() {
            return refuse(cudnnStatus_t::CUDNN_STATUS_BAD_PARAM, "no room for answers about algorithms");
        }
        let answers = answers($direction, &$geometry);
        let count = answers.len().min($requested as usize);
        for (index, (algorithm, found)) in answers.into_iter().take(count).enumerate() {
            let algo = $algorithms[algorithm as usize];
            $results.add(index).write($structure {
                algo,
                status: found.status,
                time: found.milliseconds,
                memory: found.workspace_bytes,
                determinism: found.determinism,
                mathType: $geometry.math(),
                reserved: [0; 3],
            });
        }
        answer($returned, count as c_int)
    }};
}

use cudnnConvolutionBwdDataAlgo_t as DataAlgorithm;
use cudnnConvolutionBwdFilterAlgo_t as FilterAlgorithm;
use cudnnConvolutionFwdAlgo_t as ForwardAlgorithm;

const FORWARD: [ForwardAlgorithm; 2] = [
    ForwardAlgorithm::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM,
    ForwardAlgorithm::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM,
];
const DATA: [DataAlgorithm; 4] = [
    DataAlgorithm::CUDNN_CONVOLUTION_BWD_DATA_ALGO_0,
    DataAlgorithm::CUDNN_CONVOLUTION_BWD_DATA_ALGO_1,
    DataAlgorithm::CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT,
    DataAlgorithm::CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT_TILING,
];
const FILTER: [FilterAlgorithm; 4] = [
    FilterAlgorithm::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0,
    FilterAlgorithm::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1,
    FilterAlgorithm::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_FFT,
    FilterAlgorithm::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3,
];

exported! {
    fn cudnnGetConvolutionForwardWorkspaceSize(
        handle: cudnnHandle_t, x_desc: cudnnTensorDescriptor_t, w_desc: cudnnFilterDescriptor_t, conv_desc: cudnnConvolutionDescriptor_t,
        y_desc: cudnnTensorDescriptor_t, algo: cudnnConvolutionFwdAlgo_t, bytes: *mut usize,
    ) -> cudnnStatus_t {
        stream_of(handle)?;
        let geometry = Geometry::of(x_desc, w_desc, conv_desc, y_desc)?;
        Direction::Forward.supports(algo as u32)?;
        answer(bytes, geometry.workspace_bytes())
    }

    fn cudnnGetConvolutionBackwardDataWorkspaceSize(
        handle: cudnnHandle_t, w_desc: cudnnFilterDescriptor_t, dy_desc: cudnnTensorDescriptor_t, conv_desc: cudnnConvolutionDescriptor_t,
        dx_desc: cudnnTensorDescriptor_t, algo: cudnnConvolutionBwdDataAlgo_t, bytes: *mut usize,
    ) -> cudnnStatus_t {
        stream_of(handle)?;
        let geometry = Geometry::of(dx_desc, w_desc, conv_desc, dy_desc)?;
        Direction::BackwardData.supports(algo as u32)?;
        answer(bytes, geometry.workspace_bytes())
    }

    fn cudnnGetConvolutionBackwardFilterWorkspaceSize(
        handle: cudnnHandle_t, x_desc: cudnnTensorDescriptor_t, dy_desc: cudnnTensorDescriptor_t, conv_desc: cudnnConvolutionDescriptor_t,
        dw_desc: cudnnFilterDescriptor_t, algo: cudnnConvolutionBwdFilterAlgo_t, bytes: *mut usize,
    ) -> cudnnStatus_t {
        stream_of(handle)?;
        let geometry = Geometry::of(x_desc, dw_desc, conv_desc, dy_desc)?;
        Direction::BackwardFilter.supports(algo as u32)?;
        answer(bytes, geometry.workspace_bytes())
    }

    fn cudnnGetConvolutionForwardAlgorithm_v7(
        handle: cudnnHandle_t, x_desc: cudnnTensorDescriptor_t, w_desc: cudnnFilterDescriptor_t, conv_desc: cudnnConvolutionDescriptor_t,
        y_desc: cudnnTensorDescriptor_t, requested: c_int, returned: *mut c_int, results: *mut cudnnConvolutionFwdAlgoPerf_t,
    ) -> cudnnStatus_t {
        stream_of(handle)?;
        let geometry = Geometry::of(x_desc, w_desc, conv_desc, y_desc)?;
        write_answers!(Direction::Forward, geometry, requested, returned, results, cudnnConvolutionFwdAlgoPerf_t, FORWARD)
    }

    fn cudnnGetConvolutionBackwardDataAlgorithm_v7(
        handle: cudnnHandle_t, w_desc: cudnnFilterDescriptor_t, dy_desc: cudnnTensorDescriptor_t, conv_desc: cudnnConvolutionDescriptor_t,
        dx_desc: cudnnTensorDescriptor_t, requested: c_int, returned: *mut c_int, results: *mut cudnnConvolutionBwdDataAlgoPerf_t,
    ) -> cudnnStatus_t {
        stream_of(handle)?;
        let geometry = Geometry::of(dx_desc, w_desc, conv_desc, dy_desc)?;
        write_answers!(Direction::BackwardData, geometry, requested, returned, results, cudnnConvolutionBwdDataAlgoPerf_t, DATA)
    }

    fn cudnnGetConvolutionBackwardFilterAlgorithm_v7(
        handle: cudnnHandle_t, x_desc: cudnnTensorDescriptor_t, dy_desc: cudnnTensorDescriptor_t, conv_desc: cudnnConvolutionDescriptor_t,
        dw_desc: cudnnFilterDescriptor_t, requested: c_int, returned: *mut c_int, results: *mut cudnnConvolutionBwdFilterAlgoPerf_t,
    ) -> cudnnStatus_t {
        stream_of(handle)?;
        let geometry = Geometry::of(x_desc, dw_desc, conv_desc, dy_desc)?;
        write_answers!(Direction::BackwardFilter, geometry, requested, returned, results, cudnnConvolutionBwdFilterAlgoPerf_t, FILTER)
    }

    fn cudnnFindConvolutionForwardAlgorithm(
        handle: cudnnHandle_t, x_desc: cudnnTensorDescriptor_t, w_desc: cudnnFilterDescriptor_t, conv_desc: cudnnConvolutionDescriptor_t,
        y_desc: cudnnTensorDescriptor_t, requested: c_int, returned: *mut c_int, results: *mut cudnnConvolutionFwdAlgoPerf_t,
    ) -> cudnnStatus_t {
        may_find(handle)?;
        let geometry = Geometry::of(x_desc, w_desc, conv_desc, y_desc)?;
        write_answers!(Direction::Forward, geometry, requested, returned, results, cudnnConvolutionFwdAlgoPerf_t, FORWARD)
    }

    fn cudnnFindConvolutionBackwardDataAlgorithm(
        handle: cudnnHandle_t, w_desc: cudnnFilterDescriptor_t, dy_desc: cudnnTensorDescriptor_t, conv_desc: cudnnConvolutionDescriptor_t,
        dx_desc: cudnnTensorDescriptor_t, requested: c_int, returned: *mut c_int, results: *mut cudnnConvolutionBwdDataAlgoPerf_t,
    ) -> cudnnStatus_t {
        may_find(handle)?;
        let geometry = Geometry::of(dx_desc, w_desc, conv_desc, dy_desc)?;
        write_answers!(Direction::BackwardData, geometry, requested, returned, results, cudnnConvolutionBwdDataAlgoPerf_t, DATA)
    }

    fn cudnnFindConvolutionBackwardFilterAlgorithm(
        handle: cudnnHandle_t, x_desc: cudnnTensorDescriptor_t, dy_desc: cudnnTensorDescriptor_t, conv_desc: cudnnConvolutionDescriptor_t,
        dw_desc: cudnnFilterDescriptor_t, requested: c_int, returned: *mut c_int, results: *mut cudnnConvolutionBwdFilterAlgoPerf_t,
    ) -> cudnnStatus_t {
        may_find(handle)?;
        let geometry = Geometry::of(x_desc, dw_desc, conv_desc, dy_desc)?;
        write_answers!(Direction::BackwardFilter, geometry, requested, returned, results, cudnnConvolutionBwdFilterAlgoPerf_t, FILTER)
    }
}
