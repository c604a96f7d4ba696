//! Descriptions of products, layouts of matrices, and preferences for algorithms.

use std::ffi::c_void;

use cudarc::cublaslt::sys::{
    cublasComputeType_t, cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t, cublasLtMatmulPreference_t,
    cublasLtMatmulPreferenceAttributes_t, cublasLtMatrixLayout_t, cublasStatus_t, cudaDataType,
};

use super::{answer, objects, refuse};
use crate::numbers::Kind;

/// What happens to a product before it is stored.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub struct Epilogue {
    pub bias: bool,
    pub rectify: bool,
}

/// A product, with TF32 allowed or not.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    pub tf32: bool,
    /// Whether A is transposed, and B.
    pub transposed: [bool; 2],
    pub epilogue: Epilogue,
    pub bias: u64,
}

/// A matrix in columns: `rows` numbers, then the next column `stride` numbers after this one.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub struct Layout {
    pub kind: Kind,
    pub rows: usize,
    pub columns: usize,
    pub stride: usize,
}

impl Layout {
    /// Bytes from the first number to the last.
    pub fn bytes(&self) -> usize {
        ((self.columns - 1) * self.stride + self.rows) * self.kind.bytes()
    }
}

/// What algorithms may use.
#[derive(Clone, Copy, Debug)]
pub struct Preference {
    pub max_workspace_bytes: usize,
}

/// The type of a matrix by its number in cudaDataType.
fn kind(number: u32) -> Result<Kind, cublasStatus_t> {
    match number {
        0 => Ok(Kind::F32),
        14 => Ok(Kind::Bf16),
        _ => refuse(cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED, format!("data type {number} is not simulated")),
    }
}

/// Reads an attribute's value, which must have the size of its type.
unsafe fn value<T: Copy>(name: &str, buffer: *const c_void, bytes: usize) -> Result<T, cublasStatus_t> {
    if buffer.is_null() || bytes != size_of::<T>() {
        let reason = format!("{name} in {bytes} bytes at {buffer:?}; it has {}", size_of::<T>());
        return refuse(cublasStatus_t::CUBLAS_STATUS_INVALID_VALUE, reason);
    }
    Ok(buffer.cast::<T>().read_unaligned())
}

fn missing<T>(call: &str) -> Result<T, cublasStatus_t> {
    refuse(cublasStatus_t::CUBLAS_STATUS_INVALID_VALUE, format!("{call} of an object that does not exist"))
}

/// Sets an attribute in a copy of a description.
unsafe fn set(
    description: &mut Description,
    attribute: cublasLtMatmulDescAttributes_t,
    buffer: *const c_void,
    bytes: usize,
) -> Result<(), cublasStatus_t> {
    use cublasLtMatmulDescAttributes_t as Attribute;
    let name = format!("{attribute:?}");
    let transposition = |number: i32| match number {
        0 => Ok(false),
        1 => Ok(true),
        _ => refuse(cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED, format!("{name} {number} is not simulated")),
    };
    match attribute {
        Attribute::CUBLASLT_MATMUL_DESC_TRANSA => {
            description.transposed[0] = transposition(value(&name, buffer, bytes)?)?
        }
        Attribute::CUBLASLT_MATMUL_DESC_TRANSB => {
            description.transposed[1] = transposition(value(&name, buffer, bytes)?)?
        }
        Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE => {
            let number: u32 = value(&name, buffer, bytes)?;
            if ![1, 2, 4, 6].contains(&number) {
                let reason = format!("epilogue {number} is not simulated");
                return refuse(cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED, reason);
            }
            description.epilogue = Epilogue { bias: number & 4 != 0, rectify: number & 2 != 0 };
        }
        Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER => description.bias = value(&name, buffer, bytes)?,
        _ => return refuse(cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED, format!("{name} is not simulated")),
    }
    Ok(())
}

exported! {
    fn cublasLtMatmulDescCreate(descriptor: *mut cublasLtMatmulDesc_t, compute: cublasComputeType_t, scale: cudaDataType) -> cublasStatus_t {
        let tf32 = match compute {
            cublasComputeType_t::CUBLAS_COMPUTE_32F => false,
            cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32 => true,
            _ => return refuse(cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED, format!("{compute:?} is not simulated")),
        };
        if scale != cudaDataType::CUDA_R_32F {
            return refuse(cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED, format!("{compute:?} with scales in {scale:?}"));
        }
        let epilogue = Epilogue { bias: false, rectify: false };
        let created = objects().descriptions.insert(Description { tf32, transposed: [false; 2], epilogue, bias: 0 });
        answer(descriptor, created as cublasLtMatmulDesc_t)
    }

    fn cublasLtMatmulDescSetAttribute(
        descriptor: cublasLtMatmulDesc_t, attribute: cublasLtMatmulDescAttributes_t, buffer: *const c_void, bytes: usize,
    ) -> cublasStatus_t {
        let found = objects().descriptions.get(descriptor as u64).copied();
        let Some(mut description) = found else { return missing("cublasLtMatmulDescSetAttribute") };
        set(&mut description, attribute, buffer, bytes)?;
        let stored = objects().descriptions.get_mut(descriptor as u64).map(|place| *place = description);
        stored.map_or_else(|| missing("cublasLtMatmulDescSetAttribute"), Ok)
    }

    fn cublasLtMatmulDescDestroy(descriptor: cublasLtMatmulDesc_t) -> cublasStatus_t {
        let removed = objects().descriptions.remove(descriptor as u64);
        removed.map_or_else(|| missing("cublasLtMatmulDescDestroy"), |_| Ok(()))
    }

    fn cublasLtMatrixLayoutCreate(layout: *mut cublasLtMatrixLayout_t, data_type: cudaDataType, rows: u64, columns: u64, stride: i64) -> cublasStatus_t {
        if rows == 0 || columns == 0 || stride < rows as i64 {
            return refuse(cublasStatus_t::CUBLAS_STATUS_INVALID_VALUE, format!("a layout of {rows} rows and {columns} columns {stride} apart"));
        }
        let layout_of = Layout { kind: kind(data_type as u32)?, rows: rows as usize, columns: columns as usize, stride: stride as usize };
        let created = objects().layouts.insert(layout_of);
        answer(layout, created as cublasLtMatrixLayout_t)
    }

    fn cublasLtMatrixLayoutDestroy(layout: cublasLtMatrixLayout_t) -> cublasStatus_t {
        let removed = objects().layouts.remove(layout as u64);
        removed.map_or_else(|| missing("cublasLtMatrixLayoutDestroy"), |_| Ok(()))
    }

    fn cublasLtMatmulPreferenceCreate(preference: *mut cublasLtMatmulPreference_t) -> cublasStatus_t {
        let created = objects().preferences.insert(Preference { max_workspace_bytes: 0 });
        answer(preference, created as cublasLtMatmulPreference_t)
    }

    fn cublasLtMatmulPreferenceSetAttribute(
        preference: cublasLtMatmulPreference_t, attribute: cublasLtMatmulPreferenceAttributes_t, buffer: *const c_void, bytes: usize,
    ) -> cublasStatus_t {
        use cublasLtMatmulPreferenceAttributes_t as Attribute;
        let found = objects().preferences.get(preference as u64).copied();
        let Some(mut changed) = found else { return missing("cublasLtMatmulPreferenceSetAttribute") };
        let name = format!("{attribute:?}");
        match attribute {
            Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES => changed.max_workspace_bytes = value::<u64>(&name, buffer, bytes)? as usize,
            // Which reductions an algorithm may make changes nothing here: all of them add in one order.
            Attribute::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK => drop(value::<u32>(&name, buffer, bytes)?),
            _ => return refuse(cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED, format!("{name} is not simulated")),
        }
        let stored = objects().preferences.get_mut(preference as u64).map(|place| *place = changed);
        stored.map_or_else(|| missing("cublasLtMatmulPreferenceSetAttribute"), Ok)
    }

    fn cublasLtMatmulPreferenceDestroy(preference: cublasLtMatmulPreference_t) -> cublasStatus_t {
        let removed = objects().preferences.remove(preference as u64);
        removed.map_or_else(|| missing("cublasLtMatmulPreferenceDestroy"), |_| Ok(()))
    }
}
