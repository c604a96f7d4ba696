//! Algorithms: each is for one problem and one workspace.

use std::ffi::c_int;

use cudarc::cublaslt::sys::{
    cublasLtHandle_t, cublasLtMatmulAlgo_t, cublasLtMatmulDesc_t, cublasLtMatmulHeuristicResult_t,
    cublasLtMatmulPreference_t, cublasLtMatrixLayout_t, cublasStatus_t,
};

use super::problem::Problem;
use super::{answer, check_handle, objects, refuse};
use crate::device;

const MARK: u64 = u64::from_le_bytes(*b"SIMLTALG");

/// What hides in a cublasLtMatmulAlgo_t.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Algorithm {
    pub problem: u64,
    pub workspace_bytes: usize,
}

impl Algorithm {
    fn encode(&self) -> cublasLtMatmulAlgo_t {
        let data = [MARK, self.problem, self.workspace_bytes as u64, !self.problem, 0, 0, 0, 0];
        cublasLtMatmulAlgo_t { data }
    }

    /// Reads what a heuristic gave.
    pub fn decode(algorithm: &cublasLtMatmulAlgo_t) -> Result<Self, cublasStatus_t> {
        let [mark, problem, workspace_bytes, check, ..] = algorithm.data;
        if mark != MARK || check != !problem {
            return refuse(cublasStatus_t::CUBLAS_STATUS_INVALID_VALUE, "an algorithm that no heuristic gave");
        }
        Ok(Self { problem, workspace_bytes: workspace_bytes as usize })
    }
}

exported! {
    fn cublasLtMatmulAlgoGetHeuristic(
        handle: cublasLtHandle_t, description: cublasLtMatmulDesc_t, a: cublasLtMatrixLayout_t, b: cublasLtMatrixLayout_t,
        c: cublasLtMatrixLayout_t, d: cublasLtMatrixLayout_t, preference: cublasLtMatmulPreference_t, requested: c_int,
        results: *mut cublasLtMatmulHeuristicResult_t, returned: *mut c_int,
    ) -> cublasStatus_t {
        check_handle(handle)?;
        if device::lock().captures_here() {
            return refuse(cublasStatus_t::CUBLAS_STATUS_INTERNAL_ERROR, "cublasLtMatmulAlgoGetHeuristic by a thread that captures a stream");
        }
        let problem = Problem::of(description, [a, b, c, d])?;
        let found = objects().preferences.get(preference as u64).copied();
        let Some(preference) = found else {
            return refuse(cublasStatus_t::CUBLAS_STATUS_INVALID_VALUE, "a preference that does not exist");
        };
        if requested <= 0 || results.is_null() {
            return refuse(cublasStatus_t::CUBLAS_STATUS_INVALID_VALUE, "no room for algorithms");
        }
        // The first algorithm takes a part of the workspace that is a number of its own, the second none.
        let wanted = (problem.d.bytes() / 2 + problem.depth).next_multiple_of(256);
        let workspaces = [wanted.min(preference.max_workspace_bytes), 0];
        let count = if workspaces[0] == 0 { 1 } else { 2.min(requested as usize) };
        for (index, workspace_bytes) in workspaces.into_iter().take(count).enumerate() {
            let algorithm = Algorithm { problem: problem.key(), workspace_bytes };
            results.add(index).write(cublasLtMatmulHeuristicResult_t {
                algo: algorithm.encode(),
                workspaceSize: workspace_bytes,
                state: cublasStatus_t::CUBLAS_STATUS_SUCCESS,
                wavesCount: 1.0,
                reserved: [0; 4],
            });
        }
        answer(returned, count as c_int)
    }
}
