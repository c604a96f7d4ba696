//! The product as a call.

use std::ffi::c_void;

use cudarc::cublaslt::sys::{
    cublasLtHandle_t, cublasLtMatmulAlgo_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t, cublasStatus_t, cudaStream_t,
};
use cudarc::driver::sys::CUresult;

use super::descriptors::Layout;
use super::heuristic::Algorithm;
use super::problem::Problem;
use super::{check_handle, refuse};
use crate::device::{self, Work};
use crate::driver::context::current;
use crate::driver::memory::{POISON, Region};
use crate::numbers;
use crate::product::{Matrix, parallel_product};
use crate::schedule::Class;

fn of_driver(_status: CUresult) -> cublasStatus_t {
    cublasStatus_t::CUBLAS_STATUS_EXECUTION_FAILED
}

/// Reads the numbers of a layout, with those between its columns.
///
/// # Safety
///
/// The layout lies in a live block, and nobody writes it meanwhile.
unsafe fn read(layout: &Layout, address: u64, tf32: bool) -> Vec<f32> {
    numbers::read(layout.kind, address, layout.bytes() / layout.kind.bytes(), tf32)
}

/// A stored matrix as the right or left side of the transposed product.
fn side<'a>(layout: &Layout, values: &'a [f32], transposed: bool) -> Matrix<'a> {
    let (row_stride, column_stride) = if transposed { (1, layout.stride) } else { (layout.stride, 1) };
    Matrix { values, row_stride, column_stride }
}

/// Computes the product, column by column of D: D's transpose, by rows, is op(B)'s transpose times op(A)'s.
///
/// # Safety
///
/// `blocks_of` allowed the addresses of A, B, D and the bias, and their blocks live.
unsafe fn multiply(problem: &Problem, [a_at, b_at, d_at]: [u64; 3]) {
    let Problem { description, a, b, d, depth } = problem;
    let (left, right) = (read(b, b_at, description.tf32), read(a, a_at, description.tf32));
    let (left, right) = (side(b, &left, description.transposed[1]), side(a, &right, description.transposed[0]));
    let mut product = parallel_product(d.columns, d.rows, *depth, left, right);
    let bias = description.epilogue.bias.then(|| numbers::read(d.kind, description.bias, d.rows, false));
    for (column, values) in product.chunks_mut(d.rows).enumerate() {
        if let Some(bias) = &bias {
            values.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
        }
        // A NaN becomes 0, as it may: the library does not say.
        if description.epilogue.rectify {
            values.iter_mut().for_each(|value| *value = value.max(0.0));
        }
        let is_last = column + 1 == d.columns;
        let values = if is_last { device::lock().settings.written("cublasLtMatmul", values) } else { values };
        numbers::write(d.kind, d_at + (column * d.stride * d.kind.bytes()) as u64, values);
    }
}

exported! {
    fn cublasLtMatmul(
        handle: cublasLtHandle_t, description: cublasLtMatmulDesc_t, alpha: *const c_void, a: *const c_void, a_desc: cublasLtMatrixLayout_t,
        b: *const c_void, b_desc: cublasLtMatrixLayout_t, beta: *const c_void, _c: *const c_void, c_desc: cublasLtMatrixLayout_t,
        d: *mut c_void, d_desc: cublasLtMatrixLayout_t, algorithm: *const cublasLtMatmulAlgo_t, workspace: *mut c_void,
        workspace_bytes: usize, stream: cudaStream_t,
    ) -> cublasStatus_t {
        check_handle(handle)?;
        let invalid = cublasStatus_t::CUBLAS_STATUS_INVALID_VALUE;
        let problem = Problem::of(description, [a_desc, b_desc, c_desc, d_desc])?;
        if alpha.is_null() || beta.is_null() || algorithm.is_null() {
            return refuse(invalid, "cublasLtMatmul without alpha, beta or an algorithm");
        }
        if [alpha, beta].map(|scale| scale.cast::<f32>().read()) != [1.0, 0.0] {
            return refuse(cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED, "only an alpha of 1 and a beta of 0 are simulated");
        }
        let algorithm = Algorithm::decode(&*algorithm)?;
        if algorithm.problem != problem.key() {
            return refuse(invalid, format!("an algorithm for another problem than {problem:?}"));
        }
        if workspace_bytes < algorithm.workspace_bytes {
            let taken = algorithm.workspace_bytes;
            return refuse(invalid, format!("a workspace of {workspace_bytes} bytes; the algorithm takes {taken}"));
        }
        let (addresses, workspace, workspace_bytes) = ([a as u64, b as u64, d as u64], workspace as u64, algorithm.workspace_bytes);
        // Heuristics give algorithms for this alignment.
        let region = |name, address, bytes| Region { name, address, bytes, alignment: 256 };
        let mut regions = vec![region("A", addresses[0], problem.a.bytes()), region("B", addresses[1], problem.b.bytes())];
        if problem.description.epilogue.bias {
            let alignment = problem.d.kind.bytes();
            let bytes = problem.d.rows * alignment;
            regions.push(Region { name: "bias", address: problem.description.bias, bytes, alignment: alignment as u64 });
        }
        let num_read = regions.len();
        regions.push(region("D", addresses[2], problem.d.bytes()));
        if workspace_bytes > 0 {
            regions.push(region("workspace", workspace, workspace_bytes));
        }
        let blocks = current().map_err(of_driver)?.memory.blocks_of(&regions, num_read);
        let blocks = blocks.or_else(|reason| refuse(invalid, reason))?;
        let job = Box::new(move |_| {
            multiply(&problem, addresses);
            std::ptr::write_bytes(workspace as *mut u8, POISON, workspace_bytes);
            Ok(())
        });
        let work = Work { name: "cublasLtMatmul", class: Class::Compute, blocks, launched: None, job };
        current().map_err(of_driver)?.submit(stream as u64, work).map_err(of_driver)
    }
}
