//! The products of dense layers, by cuBLASLt.
//!
//! Our matrices are row-major, cuBLASLt's column-major, so each of ours is there its own transpose, and Y = X W^T is
//! computed as Y^T = W X^T. Each product's description and algorithm are made once: asking for an algorithm fails while
//! a graph is captured.

use std::ffi::c_void;
use std::ptr;
use std::rc::Rc;

use cudarc::cublaslt::result::{self, CublasError};
use cudarc::cublaslt::sys::{self, cublasComputeType_t, cublasLtEpilogue_t, cudaDataType};

use super::precision::Precision;
use crate::backend::cuda::driver::{Buffer, Slice, SliceMut, Stream, warned};
use crate::error::{Error, Result};

/// What cuBLASLt may use beside its operands, for all products together: they run one after another.
pub const WORKSPACE_BYTES: usize = 32 << 20;

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
    algorithm: sys::cublasLtMatmulAlgo_t,
}

/// A matrix as cuBLASLt sees it: column-major, without gaps between columns.
#[derive(Clone, Copy)]
struct Matrix {
    rows: usize,
    columns: usize,
    operation: Operation,
}

impl Product {
    /// Chooses the algorithm. `bias_address` is where the forward product's bias lies on the device: as f32 where the
    /// output is f32, as the factors' type otherwise.
    pub fn new(
        library: &Rc<CublasLt>,
        kind: Kind,
        shape: DenseShape,
        precision: Precision,
        bias_address: Option<u64>,
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
        let preference = Preference::new()?;
        // SAFETY: all descriptors live.
        let found = unsafe {
            result::get_matmul_algo_heuristic(
                library.raw,
                description.0,
                left.0,
                right.0,
                output.0,
                output.0,
                preference.0,
            )
        };
        let algorithm = check("cublasLtMatmulAlgoGetHeuristic", found)
            .map_err(|error| Error::Device(format!("{kind:?} of {shape:?} in {}: {error}", precision.name())))?
            .algo;
        Ok(Self { library: Rc::clone(library), description, left, right, output, algorithm })
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
        let (one, zero) = (1.0_f32, 0.0_f32);
        let workspace = workspace.all_mut();
        // SAFETY: the descriptors live, the device memory is as long as they say (asserted above), and the scalars are
        // read during the call (the pointer mode is the host's).
        let multiplied = unsafe {
            result::matmul(
                self.library.raw,
                self.description.0,
                (&raw const one).cast(),
                (&raw const zero).cast(),
                left.address() as *const c_void,
                self.left.0,
                right.address() as *const c_void,
                self.right.0,
                output.address() as *const c_void,
                self.output.0,
                output.address() as *mut c_void,
                self.output.0,
                &raw const self.algorithm,
                workspace.address() as *mut c_void,
                WORKSPACE_BYTES.min(workspace.len()),
                stream.raw().cast(),
            )
        };
        check("cublasLtMatmul", multiplied)
    }
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
        preference.set(Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &WORKSPACE_BYTES)?;
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
