//! cuBLASLt's products against sums in f64, and its strictness.

use cudarc::cublaslt::sys::{
    cublasComputeType_t, cublasLtHandle_t, cublasLtMatmulAlgo_t, cublasLtMatmulDesc_t,
    cublasLtMatmulDescAttributes_t as Attribute, cublasLtMatmulHeuristicResult_t, cublasLtMatmulPreference_t,
    cublasLtMatmulPreferenceAttributes_t as PreferenceAttribute, cublasLtMatrixLayout_t, cublasStatus_t, cudaDataType,
};
use cudarc::driver::sys::{CUstream, CUstreamCaptureMode};

use super::session::{Session, noise};
use crate::cublaslt::cublasLtCreate;
use crate::cublaslt::descriptors::{
    cublasLtMatmulDescCreate, cublasLtMatmulDescSetAttribute, cublasLtMatmulPreferenceCreate,
    cublasLtMatmulPreferenceSetAttribute, cublasLtMatrixLayoutCreate,
};
use crate::cublaslt::heuristic::cublasLtMatmulAlgoGetHeuristic;
use crate::cublaslt::matmul::cublasLtMatmul;
use crate::driver::capture::cuStreamBeginCapture_v2;
use crate::numbers::{from_bf16, to_bf16, to_tf32};

const OK: cublasStatus_t = cublasStatus_t::CUBLAS_STATUS_SUCCESS;
const INVALID: cublasStatus_t = cublasStatus_t::CUBLAS_STATUS_INVALID_VALUE;
const F32: cudaDataType = cudaDataType::CUDA_R_32F;
const BF16: cudaDataType = cudaDataType::CUDA_R_16BF;

/// A product to be made.
#[derive(Clone, Copy, Debug)]
struct Case {
    rows: usize,
    columns: usize,
    depth: usize,
    transposed: [bool; 2],
    /// Of A and B, and of D.
    kinds: [cudaDataType; 2],
    tf32: bool,
    /// As cublasLtEpilogue_t.
    epilogue: u32,
}

/// Its objects.
struct Setup {
    handle: cublasLtHandle_t,
    description: cublasLtMatmulDesc_t,
    layouts: [cublasLtMatrixLayout_t; 3],
    preference: cublasLtMatmulPreference_t,
    stream: CUstream,
}

/// Columns are stored this much further apart than their rows need.
const GAP: usize = 3;

impl Case {
    /// Stored rows and columns of A, B and D.
    fn stored(self) -> [(usize, usize); 3] {
        let turned = |(rows, columns), transposed| if transposed { (columns, rows) } else { (rows, columns) };
        let [a, b] = self.transposed;
        [turned((self.rows, self.depth), a), turned((self.depth, self.columns), b), (self.rows, self.columns)]
    }
}

fn set<T>(description: cublasLtMatmulDesc_t, attribute: Attribute, value: T) -> cublasStatus_t {
    unsafe { cublasLtMatmulDescSetAttribute(description, attribute, (&raw const value).cast(), size_of::<T>()) }
}

impl Setup {
    fn new(session: &Session, case: Case, bias: u64) -> Self {
        let mut setup = Self {
            handle: std::ptr::null_mut(),
            description: std::ptr::null_mut(),
            layouts: [std::ptr::null_mut(); 3],
            preference: std::ptr::null_mut(),
            stream: session.stream(),
        };
        let compute = if case.tf32 {
            cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32
        } else {
            cublasComputeType_t::CUBLAS_COMPUTE_32F
        };
        unsafe {
            assert_eq!(cublasLtCreate(&mut setup.handle), OK);
            assert_eq!(cublasLtMatmulDescCreate(&mut setup.description, compute, F32), OK);
            for (attribute, transposed) in
                [(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, 0), (Attribute::CUBLASLT_MATMUL_DESC_TRANSB, 1)]
            {
                assert_eq!(set(setup.description, attribute, i32::from(case.transposed[transposed])), OK);
            }
            assert_eq!(set(setup.description, Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, case.epilogue), OK);
            assert_eq!(set(setup.description, Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias), OK);
            for (index, (rows, columns)) in case.stored().into_iter().enumerate() {
                let kind = case.kinds[index / 2];
                let layout = &mut setup.layouts[index];
                assert_eq!(
                    cublasLtMatrixLayoutCreate(layout, kind, rows as u64, columns as u64, (rows + GAP) as i64),
                    OK
                );
            }
            assert_eq!(cublasLtMatmulPreferenceCreate(&mut setup.preference), OK);
            let bytes = 1u64 << 20;
            let attribute = PreferenceAttribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
            assert_eq!(
                cublasLtMatmulPreferenceSetAttribute(setup.preference, attribute, (&raw const bytes).cast(), 8),
                OK
            );
        }
        setup
    }

    /// The algorithm, and the bytes of workspace that it takes.
    fn algorithm(&self) -> Result<(cublasLtMatmulAlgo_t, usize), cublasStatus_t> {
        let mut results: Vec<cublasLtMatmulHeuristicResult_t> = Vec::with_capacity(1);
        let [a, b, d] = self.layouts;
        let mut count = 0;
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
                results.as_mut_ptr(),
                &mut count,
            )
        };
        if status != OK {
            return Err(status);
        }
        unsafe { results.set_len(count as usize) };
        Ok((results[0].algo, results[0].workspaceSize))
    }

    fn multiply(
        &self,
        algorithm: &cublasLtMatmulAlgo_t,
        addresses: [u64; 3],
        beta: f32,
        workspace: u64,
        bytes: usize,
    ) -> cublasStatus_t {
        let (alpha, [a, b, d]) = (1.0f32, self.layouts);
        unsafe {
            cublasLtMatmul(
                self.handle,
                self.description,
                (&raw const alpha).cast(),
                addresses[0] as _,
                a,
                addresses[1] as _,
                b,
                (&raw const beta).cast(),
                addresses[2] as _,
                d,
                addresses[2] as _,
                d,
                algorithm,
                workspace as _,
                bytes,
                self.stream.cast(),
            )
        }
    }
}

/// Makes a product, and compares it with its sums in f64.
fn check(case: Case) {
    let session = Session::new("schedule=lazy");
    let [a_size, b_size, d_size] = case.stored().map(|(rows, columns)| (columns - 1) * (rows + GAP) + rows);
    let (a, b, bias) = (noise(a_size, 1), noise(b_size, 2), noise(case.rows, 3));
    let addresses = [
        session.uploaded_floats(&a, case.kinds[0] == BF16),
        session.uploaded_floats(&b, case.kinds[0] == BF16),
        session.uploaded_floats(&vec![0.5; d_size], case.kinds[1] == BF16),
    ];
    let setup = Setup::new(&session, case, session.uploaded_floats(&bias, case.kinds[1] == BF16));
    let (algorithm, workspace_bytes) = setup.algorithm().expect("it is promised");
    let workspace = session.device(workspace_bytes);
    assert_eq!(setup.multiply(&algorithm, addresses, 1.0, workspace, workspace_bytes), OK);
    session.finish(setup.stream);
    let found = session.peek_floats(addresses[2], d_size, case.kinds[1] == BF16);
    let input = |value: f32| match (case.kinds[0], case.tf32) {
        (BF16, _) => from_bf16(to_bf16(value)),
        (_, true) => to_tf32(value),
        _ => value,
    };
    let [(a_rows, _), (b_rows, _), _] = case.stored();
    for column in 0..case.columns {
        for row in 0..case.rows {
            let (mut expected, mut size) = (0.5, 0.5);
            for index in 0..case.depth {
                let a_at = if case.transposed[0] { row * (a_rows + GAP) + index } else { index * (a_rows + GAP) + row };
                let b_at =
                    if case.transposed[1] { index * (b_rows + GAP) + column } else { column * (b_rows + GAP) + index };
                let product = f64::from(input(a[a_at])) * f64::from(input(b[b_at]));
                expected += product;
                size += product.abs();
            }
            if case.epilogue & 4 != 0 {
                let bias = if case.kinds[1] == BF16 { from_bf16(to_bf16(bias[row])) } else { bias[row] };
                expected += f64::from(bias);
            }
            if case.epilogue & 2 != 0 {
                expected = expected.max(0.0);
            }
            // An f32's rounding of each partial sum, and the result's own.
            let tolerance = 1e-6 * size + if case.kinds[1] == BF16 { expected.abs() / 256.0 } else { 0.0 };
            let found = f64::from(found[column * (case.rows + GAP) + row]);
            assert!((found - expected).abs() <= tolerance, "{case:?} ({row}, {column}): {found}, expected {expected}");
        }
    }
    let gap = found[case.rows..case.rows + GAP].iter().all(|value| *value == 0.5);
    assert!(gap, "nothing is written between columns");
    assert_eq!(session.violations(), Vec::<String>::new());
}

const CASE: Case =
    Case { rows: 20, columns: 9, depth: 33, transposed: [false, false], kinds: [BF16, BF16], tf32: false, epilogue: 1 };

#[test]
fn products_are_the_sums_in_f64_for_all_transpositions_types_and_epilogues() {
    for transposed in [[false, false], [false, true], [true, false], [true, true]] {
        for (kinds, tf32) in [([BF16, BF16], false), ([BF16, F32], false), ([F32, F32], false), ([F32, F32], true)] {
            for epilogue in [1, 4, 6] {
                check(Case { transposed, kinds, tf32, epilogue, ..CASE });
            }
        }
    }
    check(Case { rows: 300, columns: 140, depth: 70, ..CASE });
}

#[test]
fn an_algorithm_is_for_its_problem_and_workspace() {
    let session = Session::new("");
    let setup = Setup::new(&session, CASE, 0);
    let addresses = [session.device(4096), session.device(4096), session.device(4096)];
    let workspace = session.device(1 << 20);
    let (algorithm, bytes) = setup.algorithm().expect("it is promised");
    assert!(bytes > 0);
    assert_eq!(setup.multiply(&algorithm, addresses, 0.0, workspace, bytes), OK);
    assert_eq!(setup.multiply(&algorithm, addresses, 0.0, workspace, bytes - 1), INVALID);
    let [a, b, _] = addresses;
    assert_eq!(setup.multiply(&algorithm, [a, b, a], 0.0, workspace, bytes), INVALID, "in place");
    let other = Setup::new(&session, Case { columns: 10, ..CASE }, 0);
    assert_eq!(other.multiply(&algorithm, addresses, 0.0, workspace, bytes), INVALID);
    session.finish_all();
}

#[test]
fn the_heuristic_fails_in_a_capture() {
    let session = Session::new("");
    let setup = Setup::new(&session, CASE, 0);
    assert!(setup.algorithm().is_ok());
    let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    assert_eq!(unsafe { cuStreamBeginCapture_v2(setup.stream, mode) }, super::session::OK);
    assert!(setup.algorithm().is_err());
}
