//! What a product's descriptors say together.

use std::hash::{DefaultHasher, Hash, Hasher};

use cudarc::cublaslt::sys::{cublasLtMatmulDesc_t, cublasLtMatrixLayout_t, cublasStatus_t};

use super::descriptors::{Description, Layout};
use super::{objects, refuse};
use crate::numbers::Kind;

/// `D = epilogue(op(A) op(B))`.
#[derive(Clone, Copy, Debug)]
pub struct Problem {
    pub description: Description,
    pub a: Layout,
    pub b: Layout,
    pub d: Layout,
    /// The length of the sums.
    pub depth: usize,
}

impl Problem {
    /// Reads and checks the descriptors: types and shapes that cuBLASLt promises to multiply.
    pub fn of(description: cublasLtMatmulDesc_t, layouts: [cublasLtMatrixLayout_t; 4]) -> Result<Self, cublasStatus_t> {
        let found = {
            let objects = objects();
            let layout = |index: usize| objects.layouts.get(layouts[index] as u64).copied();
            let description = objects.descriptions.get(description as u64).copied();
            description.zip(layout(0)).zip(layout(1)).zip(layout(2)).zip(layout(3))
        };
        let Some(((((description, a), b), c), d)) = found else {
            let reason = "a description or a layout that does not exist";
            return refuse(cublasStatus_t::CUBLAS_STATUS_INVALID_VALUE, reason);
        };
        if c != d {
            return refuse(
                cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED,
                "C with another layout than D is not simulated",
            );
        }
        let depth = if description.transposed[0] { a.rows } else { a.columns };
        let problem = Self { description, a, b, d, depth };
        problem.check_shapes()?;
        problem.check_types()?;
        Ok(problem)
    }

    fn check_shapes(&self) -> Result<(), cublasStatus_t> {
        let sides = |layout: &Layout, transposed: bool| {
            if transposed { (layout.columns, layout.rows) } else { (layout.rows, layout.columns) }
        };
        let (rows, depth) = sides(&self.a, self.description.transposed[0]);
        let (other_depth, columns) = sides(&self.b, self.description.transposed[1]);
        if depth != other_depth || (self.d.rows, self.d.columns) != (rows, columns) {
            return refuse(cublasStatus_t::CUBLAS_STATUS_INVALID_VALUE, format!("shapes that do not fit: {self:?}"));
        }
        Ok(())
    }

    fn check_types(&self) -> Result<(), cublasStatus_t> {
        let bf16 = self.a.kind == Kind::Bf16;
        if self.a.kind != self.b.kind || (!bf16 && self.d.kind == Kind::Bf16) || (bf16 && self.description.tf32) {
            let reason = format!("types that are not multiplied: {self:?}");
            return refuse(cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED, reason);
        }
        if bf16 && crate::device::lock().settings.sm < 80 {
            return refuse(cublasStatus_t::CUBLAS_STATUS_ARCH_MISMATCH, "bf16 before compute capability 8.0");
        }
        Ok(())
    }

    /// What an algorithm is for: all but addresses.
    pub fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let Description { tf32, transposed, epilogue, .. } = self.description;
        (tf32, transposed, epilogue, self.a, self.b, self.d).hash(&mut hasher);
        hasher.finish()
    }
}
