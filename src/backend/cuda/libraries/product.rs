//! The products of dense layers, by cuBLASLt.
//!
//! Our matrices are row-major, cuBLASLt's column-major, so each of ours is there its own transpose, and Y = X W^T is
//! computed as Y^T = W X^T. Each product's description and algorithm are made once: asking for an algorithm fails while
//! a graph is captured.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;

use cudarc::cublaslt::result::{self, CublasError};
use cudarc::cublaslt::sys::{self, cublasComputeType_t, cublasLtEpilogue_t, cudaDataType};

use half::bf16;

use super::precision::Precision;
use super::tuning::{Candidate, Tuning};
use crate::backend::cuda::driver::{Buffer, Context, Slice, SliceMut, Stream, Watch, warned};
use crate::error::{Error, Result};

/// What a product may use beside its operands at most.
const MAX_WORKSPACE_BYTES: usize = 32 << 20;

/// Algorithms that are timed of a product, at most: those that the heuristics find best.
const MAX_ALGORITHMS: usize = 8;

/// Products in a row, when they are timed.
const REPEATS: usize = 5;

/// Parts of a sum are added in f32, in a fixed order, so it is bitwise reproducible.
/// (`CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE`.)
const REDUCTION_SCHEME: u32 = 2;

/// How a factor is taken: cuBLAS's `cublasOperation_t`, which the bindings of cuBLASLt lack.
type Operation = i32;
const AS_IS: Operation = 0;
const TRANSPOSED: Operation = 1;

#[derive(Debug)]
pub struct CublasLt {
    raw: sys::cublasLtHandle_t,
}

impl CublasLt {
    /// A handle on the current context's GPU.
    pub fn new() -> Result<Rc<Self>> {
        Ok(Rc::new(Self { raw: check("cublasLtCreate", result::create_handle())? }))
    }
}

impl Drop for CublasLt {
    fn drop(&mut self) {
        // SAFETY: made by `new`, and no product is left.
        warned(check("cublasLtDestroy", unsafe { result::destroy_handle(self.raw) }));
    }
}

/// Which of a dense layer's three products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// output (N, outputs) = input (N, inputs) weights^T + bias.
    Forward(Units),
    /// weight gradient (outputs, inputs) = output gradient^T input.
    WeightGradient,
    /// input gradient (N, inputs) = output gradient weights.
    InputGradient,
}

/// What the forward product computes. ReLU is left to the kernel that follows: that cuBLASLt's keeps what is not a
/// number is written nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Units {
    /// Sums and bias of the factors' type.
    Hidden,
    /// Both in f32.
    Logits,
}

/// (N, inputs) to (N, outputs).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DenseShape {
    pub num_samples: usize,
    /// Features of the input.
    pub inputs: usize,
    /// Features of the output, padded to a multiple of 8.
    pub outputs: usize,
}

/// A product, ready to run.
#[derive(Debug)]
pub struct Product {
    library: Rc<CublasLt>,
    description: Description,
    left: Layout,
    right: Layout,
    output: Layout,
    algorithm: Algorithm,
}

/// As the heuristics have found it.
#[derive(Clone, Copy, Debug)]
struct Algorithm {
    raw: sys::cublasLtMatmulAlgo_t,
    workspace_bytes: usize,
}

/// A matrix as cuBLASLt sees it: column-major, without gaps between columns.
#[derive(Clone, Copy)]
struct Matrix {
    rows: usize,
    columns: usize,
    operation: Operation,
}

impl Product {
    /// Chooses the algorithm: the heuristics' first one, or the fastest of those that `tuning` times. `bias_address` is
    /// where the forward product's bias lies on the device: as f32 where the output is f32, as the factors' type
    /// otherwise.
    pub fn new(
        context: &Arc<Context>,
        library: &Rc<CublasLt>,
        kind: Kind,
        shape: DenseShape,
        precision: Precision,
        bias_address: Option<u64>,
        tuning: &mut Tuning,
    ) -> Result<Self> {
        let DenseShape { num_samples, inputs, outputs } = shape;
        let matrix = |rows, columns, operation| Matrix { rows, columns, operation };
        let (left, right, rows, columns) = match kind {
            Kind::Forward(_) => {
                (matrix(inputs, outputs, TRANSPOSED), matrix(inputs, num_samples, AS_IS), outputs, num_samples)
            }
            Kind::WeightGradient => {
                (matrix(inputs, num_samples, AS_IS), matrix(outputs, num_samples, TRANSPOSED), inputs, outputs)
            }
            Kind::InputGradient => {
                (matrix(inputs, outputs, AS_IS), matrix(outputs, num_samples, AS_IS), inputs, num_samples)
            }
        };
        let factors = match precision {
            Precision::Bf16 => cudaDataType::CUDA_R_16BF,
            Precision::Tf32 | Precision::F32 => cudaDataType::CUDA_R_32F,
        };
        // Logits go to the loss as they were summed.
        let sums = if kind == Kind::Forward(Units::Logits) { cudaDataType::CUDA_R_32F } else { factors };
        let description = Description::new(kind, precision, [left.operation, right.operation], bias_address)?;
        let left = Layout::new(factors, left.rows, left.columns)?;
        let right = Layout::new(factors, right.rows, right.columns)?;
        let output = Layout::new(sums, rows, columns)?;
        let work = format!("{kind:?} of {shape:?} in {}", precision.name());
        let algorithms = algorithms(library, &description, [&left, &right, &output])
            .map_err(|error| Error::Device(format!("{work}: {error}")))?;
        let Some(first) = algorithms.first() else {
            return Err(Error::Device(format!("cuBLASLt has no algorithm for {work}")));
        };
        let library = Rc::clone(library);
        let mut product = Self { library, description, left, right, output, algorithm: *first };
        let candidate = |(number, algorithm): (usize, &Algorithm)| Candidate {
            algorithm: number as u32,
            milliseconds: 0.0,
            workspace_bytes: algorithm.workspace_bytes,
            // By the reduction scheme that was asked for.
            is_repeatable: true,
        };
        let candidates: Vec<_> = algorithms.iter().enumerate().map(candidate).collect();
        let picked = tuning.pick(&work, Some(0), &candidates, || {
            let timed = candidates.iter().zip(&algorithms).map(|(candidate, algorithm)| {
                product.algorithm = *algorithm;
                let milliseconds = product.milliseconds(context, precision)?;
                Ok(Candidate { milliseconds, ..*candidate })
            });
            timed.collect()
        })?;
        product.algorithm = *algorithms.get(picked as usize).ok_or_else(|| {
            Error::Device(format!("cuBLASLt has no algorithm {picked} for {work}; begin without --tune"))
        })?;
        Ok(product)
    }

    /// Bytes of working memory that it needs.
    pub fn workspace_bytes(&self) -> usize {
        self.algorithm.workspace_bytes
    }

    /// How long it takes, on zeros.
    fn milliseconds(&self, context: &Arc<Context>, precision: Precision) -> Result<f32> {
        let watch = Watch::new(context, REPEATS)?;
        let zeros = |bytes: usize| Buffer::<u8>::zeros(context, "a product that is timed", bytes.max(1));
        let bytes = if precision == Precision::Bf16 { size_of::<bf16>() } else { size_of::<f32>() };
        let (left, right) = (zeros(self.left.1 * bytes)?, zeros(self.right.1 * bytes)?);
        // The output may be f32 where the factors are not.
        let (mut output, mut workspace) = (zeros(self.output.1 * size_of::<f32>())?, zeros(self.workspace_bytes())?);
        let seconds = watch.shortest(|stream| {
            // SAFETY: the buffers are as long as the matrices; the watch waits for the work before they go.
            unsafe {
                self.enqueue(
                    stream,
                    &mut workspace,
                    left.all().address(),
                    right.all().address(),
                    output.all_mut().address(),
                )
            }
        })?;
        Ok(seconds as f32 * 1e3)
    }

    /// Enqueues it. The forward product takes (weights, input), the weight gradient (input, output gradient), the input
    /// gradient (weights, output gradient).
    pub fn run<T, U>(
        &self,
        stream: &Stream,
        workspace: &mut Buffer<u8>,
        left: Slice<'_, T>,
        right: Slice<'_, T>,
        output: &mut SliceMut<'_, U>,
    ) -> Result<()> {
        self.left.assert_holds(left.len());
        self.right.assert_holds(right.len());
        self.output.assert_holds(output.len());
        // SAFETY: the device memory is as long as the matrices (asserted above).
        unsafe { self.enqueue(stream, workspace, left.address(), right.address(), output.address()) }
    }

    /// # Safety
    ///
    /// At the addresses must lie as much device memory as the matrices take, until the product has run.
    unsafe fn enqueue(
        &self,
        stream: &Stream,
        workspace: &mut Buffer<u8>,
        left: u64,
        right: u64,
        output: u64,
    ) -> Result<()> {
        let (one, zero) = (1.0_f32, 0.0_f32);
        let workspace = workspace.part_mut(0..self.workspace_bytes());
        // SAFETY: the descriptors live, and the scalars are read during the call (the pointer mode is the host's); the
        // rest is this function's contract.
        let multiplied = unsafe {
            result::matmul(
                self.library.raw,
                self.description.0,
                (&raw const one).cast(),
                (&raw const zero).cast(),
                left as *const c_void,
                self.left.0,
                right as *const c_void,
                self.right.0,
                output as *const c_void,
                self.output.0,
                output as *mut c_void,
                self.output.0,
                &raw const self.algorithm.raw,
                workspace.address() as *mut c_void,
                workspace.len(),
                stream.raw().cast(),
            )
        };
        check("cublasLtMatmul", multiplied)
    }
}

/// What the heuristics find for a product, the best first.
fn algorithms(
    library: &CublasLt,
    description: &Description,
    [left, right, output]: [&Layout; 3],
) -> Result<Vec<Algorithm>> {
    let preference = Preference::new()?;
    let mut found = [const { MaybeUninit::<sys::cublasLtMatmulHeuristicResult_t>::uninit() }; MAX_ALGORITHMS];
    let mut num_found = 0;
    // SAFETY: all descriptors live, and there is room for as many answers as are asked for.
    let status = unsafe {
        sys::cublasLtMatmulAlgoGetHeuristic(
            library.raw,
            description.0,
            left.0,
            right.0,
            output.0,
            output.0,
            preference.0,
            MAX_ALGORITHMS as i32,
            found.as_mut_ptr().cast(),
            &raw mut num_found,
        )
    };
    check("cublasLtMatmulAlgoGetHeuristic", status.result())?;
    let written = found.iter().take(num_found.unsigned_abs() as usize);
    // SAFETY: cuBLASLt has written so many.
    let written = written.map(|answer| unsafe { answer.assume_init_ref() });
    let usable = written.filter(|answer| answer.state == sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS);
    Ok(usable.map(|answer| Algorithm { raw: answer.algo, workspace_bytes: answer.workspaceSize }).collect())
}

#[derive(Debug)]
struct Description(sys::cublasLtMatmulDesc_t);

impl Description {
    fn new(kind: Kind, precision: Precision, operations: [Operation; 2], bias_address: Option<u64>) -> Result<Self> {
        use sys::cublasLtMatmulDescAttributes_t as Attribute;
        let compute = match precision {
            Precision::Bf16 | Precision::F32 => cublasComputeType_t::CUBLAS_COMPUTE_32F,
            Precision::Tf32 => cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
        };
        let raw = check("cublasLtMatmulDescCreate", result::create_matmul_desc(compute, cudaDataType::CUDA_R_32F))?;
        let description = Self(raw);
        description.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &operations[0])?;
        description.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSB, &operations[1])?;
        if let Kind::Forward(_) = kind {
            let epilogue = cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS;
            let bias = bias_address.expect("the forward product adds a bias");
            description.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue)?;
            description.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias)?;
        }
        Ok(description)
    }

    fn set<T>(&self, attribute: sys::cublasLtMatmulDescAttributes_t, value: &T) -> Result<()> {
        // SAFETY: the description lives, and the value is as long as its type.
        let set = unsafe {
            result::set_matmul_desc_attribute(self.0, attribute, ptr::from_ref(value).cast(), size_of::<T>())
        };
        check("cublasLtMatmulDescSetAttribute", set)
    }
}

impl Drop for Description {
    fn drop(&mut self) {
        // SAFETY: made by `new`; it is the host's memory.
        warned(check("cublasLtMatmulDescDestroy", unsafe { result::destroy_matmul_desc(self.0) }));
    }
}

/// A matrix's type and extent.
#[derive(Debug)]
struct Layout(sys::cublasLtMatrixLayout_t, usize);

impl Layout {
    fn new(data_type: cudaDataType, rows: usize, columns: usize) -> Result<Self> {
        let made = result::create_matrix_layout(data_type, rows as u64, columns as u64, rows as i64);
        Ok(Self(check("cublasLtMatrixLayoutCreate", made)?, rows * columns))
    }

    fn assert_holds(&self, len: usize) {
        assert_eq!(len, self.1, "values of a matrix");
    }
}

impl Drop for Layout {
    fn drop(&mut self) {
        // SAFETY: made by `new`; it is the host's memory.
        warned(check("cublasLtMatrixLayoutDestroy", unsafe { result::destroy_matrix_layout(self.0) }));
    }
}

/// Which algorithms may be chosen.
struct Preference(sys::cublasLtMatmulPreference_t);

impl Preference {
    fn new() -> Result<Self> {
        use sys::cublasLtMatmulPreferenceAttributes_t as Attribute;
        let preference = Self(check("cublasLtMatmulPreferenceCreate", result::create_matmul_pref())?);
        preference.set(Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &MAX_WORKSPACE_BYTES)?;
        preference.set(Attribute::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &REDUCTION_SCHEME)?;
        Ok(preference)
    }

    fn set<T>(&self, attribute: sys::cublasLtMatmulPreferenceAttributes_t, value: &T) -> Result<()> {
        // SAFETY: the preference lives, and the value is as long as its type.
        let set = unsafe {
            result::set_matmul_pref_attribute(self.0, attribute, ptr::from_ref(value).cast(), size_of::<T>())
        };
        check("cublasLtMatmulPreferenceSetAttribute", set)
    }
}

impl Drop for Preference {
    fn drop(&mut self) {
        // SAFETY: made by `new`; it is the host's memory.
        warned(check("cublasLtMatmulPreferenceDestroy", unsafe { result::destroy_matmul_pref(self.0) }));
    }
}

fn check<T>(call: &'static str, result: Result<T, CublasError>) -> Result<T> {
    result.map_err(|error| Error::Device(format!("{call} failed: {error}")))
}
