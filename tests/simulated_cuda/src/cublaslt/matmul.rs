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
use crate::device::Work;
use crate::driver::context::current;
use crate::driver::memory::{POISON, Side};
use crate::numbers;
use crate::product::{Matrix, parallel_product};
use crate::schedule::Class;

/// Where everything lies, in the order A, B, C, D, bias, workspace.
#[derive(Clone, Copy)]
struct Addresses {
    matrices: [u64; 4],
    bias: u64,
    workspace: u64,
    workspace_bytes: usize,
}

fn of_driver(_status: CUresult) -> cublasStatus_t {
    cublasStatus_t::CUBLAS_STATUS_EXECUTION_FAILED
}

/// Checks the algorithm and where everything lies; returns the blocks.
fn checked(
    problem: &Problem,
    algorithm: &Algorithm,
    addresses: &Addresses,
    reads_c: bool,
) -> Result<Vec<u64>, cublasStatus_t> {
    let invalid = cublasStatus_t::CUBLAS_STATUS_INVALID_VALUE;
    if algorithm.problem != problem.key() {
        return refuse(invalid, format!("an algorithm for another problem than {problem:?}"));
    }
    if addresses.workspace_bytes < algorithm.workspace_bytes
        || (addresses.workspace == 0 && algorithm.workspace_bytes > 0)
    {
        let reason = format!(
            "a workspace of {} bytes; the algorithm takes {}",
            addresses.workspace_bytes, algorithm.workspace_bytes
        );
        return refuse(invalid, reason);
    }
    let layouts = [problem.a, problem.b, problem.c, problem.d];
    let mut ranges = Vec::new();
    for (index, name) in ["A", "B", "C", "D"].into_iter().enumerate().filter(|(index, _)| reads_c || *index != 2) {
        let address = addresses.matrices[index];
        if !address.is_multiple_of(u64::from(algorithm.alignments[index])) {
            let reason = format!(
                "{name} at {address:#x} is not aligned to {} bytes, as the heuristic was told",
                algorithm.alignments[index]
            );
            return refuse(invalid, reason);
        }
        ranges.push((name, address, layouts[index].bytes()));
    }
    if problem.description.epilogue.bias {
        ranges.push(("bias", addresses.bias, problem.d.rows * problem.d.kind.bytes()));
    }
    if algorithm.workspace_bytes > 0 {
        if !addresses.workspace.is_multiple_of(256) {
            return refuse(invalid, format!("the workspace at {:#x} is not aligned to 256 bytes", addresses.workspace));
        }
        ranges.push(("workspace", addresses.workspace, algorithm.workspace_bytes));
    }
    let overlap = |one: &(_, u64, usize), other: &(_, u64, usize)| {
        one.1 < other.1 + other.2 as u64 && other.1 < one.1 + one.2 as u64
    };
    let mut blocks = Vec::new();
    for range in &ranges {
        let block = current().map_err(of_driver)?.memory.holding(Side::Device, range.1, range.2);
        let Some(block) = block else {
            return refuse(
                invalid,
                format!("{}: {:#x} + {} bytes do not lie in one device allocation", range.0, range.1, range.2),
            );
        };
        blocks.push(block);
        let is_written = |range: &(&str, u64, usize)| matches!(range.0, "D" | "workspace");
        let in_place = |one: &str, other: &str| matches!((one, other), ("C", "D") | ("D", "C"));
        let clash = ranges.iter().find(|other| {
            other.0 != range.0 && is_written(other) && !in_place(other.0, range.0) && overlap(other, range)
        });
        if let Some(clash) = clash {
            return refuse(invalid, format!("{} and {} overlap", range.0, clash.0));
        }
    }
    Ok(blocks)
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
/// `checked` allowed these addresses, and their blocks live.
unsafe fn multiply(problem: &Problem, addresses: &Addresses, workspace_bytes: usize, alpha: f32, beta: f32) {
    let Problem { description, a, b, c, d, depth } = problem;
    let left = read(b, addresses.matrices[1], description.tf32);
    let right = read(a, addresses.matrices[0], description.tf32);
    let (left, right) = (side(b, &left, description.transposed[1]), side(a, &right, description.transposed[0]));
    let mut product = parallel_product(d.columns, d.rows, *depth, left, right);
    let old = if beta == 0.0 { Vec::new() } else { read(c, addresses.matrices[2], false) };
    let bias =
        if description.epilogue.bias { numbers::read(d.kind, addresses.bias, d.rows, false) } else { Vec::new() };
    std::ptr::write_bytes(addresses.workspace as *mut u8, POISON, workspace_bytes);
    for (column, values) in product.chunks_mut(d.rows).enumerate() {
        for (row, value) in values.iter_mut().enumerate() {
            *value *= alpha;
            if beta != 0.0 {
                *value += beta * old[column * c.stride + row];
            }
            if description.epilogue.bias {
                *value += bias[row];
            }
            // A NaN stays: it must not hide here.
            if description.epilogue.rectify && *value < 0.0 {
                *value = 0.0;
            }
        }
        let place = addresses.matrices[3] + (column * d.stride * d.kind.bytes()) as u64;
        numbers::write(d.kind, place, values, 1.0, 0.0);
    }
}

exported! {
    fn cublasLtMatmul(
        handle: cublasLtHandle_t, description: cublasLtMatmulDesc_t, alpha: *const c_void, a: *const c_void, a_desc: cublasLtMatrixLayout_t,
        b: *const c_void, b_desc: cublasLtMatrixLayout_t, beta: *const c_void, c: *const c_void, c_desc: cublasLtMatrixLayout_t,
        d: *mut c_void, d_desc: cublasLtMatrixLayout_t, algorithm: *const cublasLtMatmulAlgo_t, workspace: *mut c_void,
        workspace_bytes: usize, stream: cudaStream_t,
    ) -> cublasStatus_t {
        check_handle(handle)?;
        let problem = Problem::of(description, [a_desc, b_desc, c_desc, d_desc])?;
        if alpha.is_null() || beta.is_null() || algorithm.is_null() {
            return refuse(cublasStatus_t::CUBLAS_STATUS_INVALID_VALUE, "cublasLtMatmul without alpha, beta or an algorithm");
        }
        if problem.description.epilogue.bias && problem.description.bias == 0 {
            return refuse(cublasStatus_t::CUBLAS_STATUS_INVALID_VALUE, "an epilogue with a bias, and no pointer to it");
        }
        let (alpha, beta) = (alpha.cast::<f32>().read(), beta.cast::<f32>().read());
        let algorithm = Algorithm::decode(&*algorithm)?;
        let matrices = [a as u64, b as u64, c as u64, d as u64];
        let addresses = Addresses { matrices, bias: problem.description.bias, workspace: workspace as u64, workspace_bytes };
        let blocks = checked(&problem, &algorithm, &addresses, beta != 0.0)?;
        if beta != 0.0 && c as u64 == d as u64 && problem.c != problem.d {
            return refuse(cublasStatus_t::CUBLAS_STATUS_INVALID_VALUE, "C in the place of D with another layout");
        }
        let job = Box::new(move |_| {
            multiply(&problem, &addresses, algorithm.workspace_bytes, alpha, beta);
            Ok(())
        });
        let work = Work { name: "cublasLtMatmul", class: Class::Compute, blocks, job };
        current().map_err(of_driver)?.submit(stream as u64, work).map_err(of_driver)
    }
}
