//! cuBLASLt's products against sums in f64, and its strictness.

use cudarc::cublaslt::sys::{
    cublasComputeType_t, cublasLtHandle_t, cublasLtMatmulAlgo_t, cublasLtMatmulDesc_t,
    cublasLtMatmulDescAttributes_t as Attribute, cublasLtMatmulHeuristicResult_t, cublasLtMatmulPreference_t,
    cublasLtMatmulPreferenceAttributes_t as PreferenceAttribute, cublasLtMatrixLayout_t, cublasStatus_t, cudaDataType,
};
use cudarc::driver::sys::{CUstream, CUstreamCaptureMode};

use super::session::Session;
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

fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(next).collect()
}

fn upload(session: &Session, values: &[f32], kind: cudaDataType) -> u64 {
    match kind {
        BF16 => session.uploaded(&values.iter().map(|value| to_bf16(*value)).collect::<Vec<_>>()),
        _ => session.uploaded(values),
    }
}

fn peek(session: &Session, address: u64, count: usize, kind: cudaDataType) -> Vec<f32> {
    match kind {
        BF16 => session.peek::<u16>(address, count).into_iter().map(from_bf16).collect(),
        _ => session.peek(address, count),
    }
}

/// Makes a product, and compares it with its sums in f64.
fn check(case: Case) {
    let session = Session::new("schedule=lazy");
    let [a_size, b_size, d_size] = case.stored().map(|(rows, columns)| (columns - 1) * (rows + GAP) + rows);
    let (a, b, bias) = (noise(a_size, 1), noise(b_size, 2), noise(case.rows, 3));
    let addresses = [
        upload(&session, &a, case.kinds[0]),
        upload(&session, &b, case.kinds[0]),
        upload(&session, &vec![0.5; d_size], case.kinds[1]),
    ];
    let setup = Setup::new(&session, case, upload(&session, &bias, case.kinds[1]));
    let (algorithm, workspace_bytes) = setup.algorithm().expect("it is promised");
    let workspace = session.device(workspace_bytes);
    assert_eq!(setup.multiply(&algorithm, addresses, 1.0, workspace, workspace_bytes), OK);
    session.finish(setup.stream);
    let found = peek(&session, addresses[2], d_size, case.kinds[1]);
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
fn an_algorithm_is_for_its_problem_workspace_and_alignments() {
    let session = Session::new("");
    let setup = Setup::new(&session, CASE, 0);
    let addresses = [session.device(4096), session.device(4096), session.device(4096)];
    let workspace = session.device(1 << 20);
    let (algorithm, bytes) = setup.algorithm().expect("it is promised");
    assert!(bytes > 0);
    assert_eq!(setup.multiply(&algorithm, addresses, 0.0, workspace, bytes), OK);
    assert_eq!(setup.multiply(&algorithm, addresses, 0.0, workspace, bytes - 1), INVALID);
    assert_eq!(setup.multiply(&algorithm, addresses, 0.0, 0, bytes), INVALID);
    let [a, b, d] = addresses;
    assert_eq!(
        setup.multiply(&algorithm, [a + 16, b, d], 0.0, workspace, bytes),
        INVALID,
        "the heuristic was told 256"
    );
    assert_eq!(setup.multiply(&algorithm, [a, b, a], 0.0, workspace, bytes), INVALID, "in place");
    assert_eq!(setup.multiply(&cublasLtMatmulAlgo_t { data: [0; 8] }, addresses, 0.0, workspace, bytes), INVALID);
    let other = Setup::new(&session, Case { columns: 10, ..CASE }, 0);
    assert_eq!(other.multiply(&algorithm, addresses, 0.0, workspace, bytes), INVALID);
    session.finish_all();
}

#[test]
fn what_cublas_does_not_promise_is_refused() {
    let session = Session::new("");
    let status = |case: Case| Setup::new(&session, case, 0).algorithm().map(|_| ());
    let not_supported = Err(cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED);
    assert_eq!(status(Case { kinds: [F32, BF16], ..CASE }), not_supported);
    assert_eq!(status(Case { tf32: true, ..CASE }), not_supported, "TF32 is for f32");
    let mut setup = Setup::new(&session, CASE, 0);
    setup.layouts.swap(0, 1);
    assert_eq!(setup.algorithm().map(|_| ()), Err(INVALID), "shapes that do not fit");
    let biased = Setup::new(&session, Case { epilogue: 4, ..CASE }, 0);
    let (algorithm, bytes) = biased.algorithm().expect("it is promised");
    let addresses = [session.device(4096), session.device(4096), session.device(4096)];
    assert_eq!(
        biased.multiply(&algorithm, addresses, 0.0, session.device(bytes), bytes),
        INVALID,
        "no pointer to the bias"
    );
    assert_eq!(set(biased.description, Attribute::CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, F32 as i32), OK);
    assert_eq!(biased.algorithm().map(|_| ()), not_supported);
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
