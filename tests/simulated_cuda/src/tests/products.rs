//! cuBLASLt's strictness. Its sums are compared with the CPU backend's in tests/cuda_backend.

use cudarc::cublaslt::sys::{
    cublasComputeType_t, cublasLtHandle_t, cublasLtMatmulAlgo_t, cublasLtMatmulDesc_t, cublasLtMatmulHeuristicResult_t,
    cublasLtMatmulPreference_t, cublasLtMatmulPreferenceAttributes_t, cublasLtMatrixLayout_t, cublasStatus_t,
    cudaDataType,
};
use cudarc::driver::sys::{CUstream, CUstreamCaptureMode};

use super::session::Session;
use crate::cublaslt::cublasLtCreate;
use crate::cublaslt::descriptors::{
    cublasLtMatmulDescCreate, cublasLtMatmulPreferenceCreate, cublasLtMatmulPreferenceSetAttribute,
    cublasLtMatrixLayoutCreate,
};
use crate::cublaslt::heuristic::cublasLtMatmulAlgoGetHeuristic;
use crate::cublaslt::matmul::cublasLtMatmul;
use crate::driver::capture::cuStreamBeginCapture_v2;

const OK: cublasStatus_t = cublasStatus_t::CUBLAS_STATUS_SUCCESS;
const INVALID: cublasStatus_t = cublasStatus_t::CUBLAS_STATUS_INVALID_VALUE;
const F32: cublasComputeType_t = cublasComputeType_t::CUBLAS_COMPUTE_32F;
const TF32: cublasComputeType_t = cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32;

/// A product of matrices in f32: D (20 x columns) = A (20 x 33) B (33 x columns).
struct Setup {
    handle: cublasLtHandle_t,
    description: cublasLtMatmulDesc_t,
    /// Of A, B and D.
    layouts: [cublasLtMatrixLayout_t; 3],
    preference: cublasLtMatmulPreference_t,
    stream: CUstream,
}

impl Setup {
    fn new(session: &Session, columns: u64, compute: cublasComputeType_t) -> Self {
        let kind = cudaDataType::CUDA_R_32F;
        let workspace = cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
        let (mut handle, mut description, mut preference) = (null(), null(), null());
        let (bytes, mut layouts) = (1u64 << 20, [null(); 3]);
        let done = unsafe {
            [
                cublasLtCreate(&mut handle),
                cublasLtMatmulDescCreate(&mut description, compute, kind),
                cublasLtMatmulPreferenceCreate(&mut preference),
                cublasLtMatmulPreferenceSetAttribute(preference, workspace, (&raw const bytes).cast(), 8),
            ]
        };
        assert_eq!(done, [OK; 4]);
        for (layout, (rows, columns)) in layouts.iter_mut().zip([(20, 33), (33, columns), (20, columns)]) {
            assert_eq!(unsafe { cublasLtMatrixLayoutCreate(layout, kind, rows, columns, rows as i64) }, OK);
        }
        Self { handle, description, layouts, preference, stream: session.stream() }
    }

    /// The algorithm, and the bytes of workspace that it takes.
    fn algorithm(&self) -> Result<(cublasLtMatmulAlgo_t, usize), cublasStatus_t> {
        let mut result = std::mem::MaybeUninit::<cublasLtMatmulHeuristicResult_t>::uninit();
        let ([a, b, d], mut count) = (self.layouts, 0);
        let status = unsafe {
            cublasLtMatmulAlgoGetHeuristic(
                self.handle,
                self.description,
                a,
                b,
                d,
                d,
                self.preference,
                1,
                result.as_mut_ptr(),
                &mut count,
            )
        };
        if status != OK {
            return Err(status);
        }
        let result = unsafe { result.assume_init() };
        Ok((result.algo, result.workspaceSize))
    }

    /// Multiplies at the addresses of A, B and D, and the workspace.
    fn multiply(&self, algorithm: &cublasLtMatmulAlgo_t, addresses: [u64; 4], bytes: usize) -> cublasStatus_t {
        let (alpha, beta, [a, b, d]) = (1.0f32, 0.0f32, self.layouts);
        let [a_at, b_at, d_at, workspace] = addresses;
        unsafe {
            cublasLtMatmul(
                self.handle,
                self.description,
                (&raw const alpha).cast(),
                a_at as _,
                a,
                b_at as _,
                b,
                (&raw const beta).cast(),
                d_at as _,
                d,
                d_at as _,
                d,
                algorithm,
                workspace as _,
                bytes,
                self.stream.cast(),
            )
        }
    }
}

fn null<T>() -> *mut T {
    std::ptr::null_mut()
}

#[test]
fn an_algorithm_is_for_its_problem_and_workspace() {
    let session = Session::new("");
    let setup = Setup::new(&session, 9, F32);
    let [a, b, d, workspace] = [4096, 4096, 4096, 1 << 20].map(|bytes| session.device(bytes));
    let (algorithm, bytes) = setup.algorithm().expect("it is promised");
    assert!(bytes > 0);
    assert_eq!(setup.multiply(&algorithm, [a, b, d, workspace], bytes), OK);
    assert_eq!(setup.multiply(&algorithm, [a, b, d, workspace], bytes - 1), INVALID);
    assert_eq!(setup.multiply(&algorithm, [a, b, a, workspace], bytes), INVALID, "in place");
    let other = Setup::new(&session, 10, F32);
    assert_eq!(other.multiply(&algorithm, [a, b, d, workspace], bytes), INVALID);
    session.finish_all();
}

#[test]
fn factors_are_rounded_to_tf32_where_that_is_allowed() {
    let finer = 1.0 + 2.0f32.powi(-12);
    for (compute, factor) in [(F32, finer), (TF32, 1.0)] {
        let session = Session::new("");
        let setup = Setup::new(&session, 9, compute);
        let (algorithm, bytes) = setup.algorithm().expect("it is promised");
        let (a, b) = (session.uploaded(&[finer; 20 * 33]), session.uploaded(&[1.0f32; 33 * 9]));
        let (d, workspace) = (session.device(20 * 9 * 4), session.device(bytes));
        assert_eq!(setup.multiply(&algorithm, [a, b, d, workspace], bytes), OK);
        session.finish(setup.stream);
        assert_eq!(session.peek::<f32>(d, 20 * 9), [33.0 * factor; 20 * 9]);
    }
}

#[test]
fn the_heuristic_fails_in_a_capture() {
    let session = Session::new("");
    let setup = Setup::new(&session, 9, F32);
    assert!(setup.algorithm().is_ok());
    let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    assert_eq!(unsafe { cuStreamBeginCapture_v2(setup.stream, mode) }, super::session::OK);
    assert!(setup.algorithm().is_err());
}
