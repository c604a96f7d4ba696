//! The three convolutions as calls.

use std::ffi::c_void;

use cudarc::cudnn::sys::{
    cudnnConvolutionBwdDataAlgo_t, cudnnConvolutionBwdFilterAlgo_t, cudnnConvolutionDescriptor_t,
    cudnnConvolutionFwdAlgo_t, cudnnFilterDescriptor_t, cudnnHandle_t, cudnnStatus_t, cudnnTensorDescriptor_t,
};

use super::algorithms::Direction;
use super::compute;
use super::descriptors::Tensor;
use super::geometry::Geometry;
use super::{of_driver, refuse, stream_of};
use crate::device::{Job, Work};
use crate::driver::context::current;
use crate::driver::memory::{POISON, Side};
use crate::numbers;
use crate::schedule::Class;

/// A tensor in device memory.
#[derive(Clone, Copy)]
pub struct Operand {
    pub name: &'static str,
    pub tensor: Tensor,
    pub address: u64,
}

impl Operand {
    fn read(&self, tf32: bool) -> Vec<f32> {
        // SAFETY: `checked` saw that the address is aligned and that its block, which pending work keeps alive, holds
        // the tensor.
        unsafe { numbers::read(self.tensor.kind, self.address, self.tensor.shape.iter().product(), tf32) }
    }
}

/// The caller's workspace.
#[derive(Clone, Copy)]
pub struct Workspace {
    pub address: u64,
    pub bytes: usize,
}

/// Checks where operands (the last one is written) and workspace lie; returns their blocks.
pub fn checked(geometry: &Geometry, operands: &[Operand; 3], workspace: Workspace) -> Result<Vec<u64>, cudnnStatus_t> {
    let demanded = geometry.workspace_bytes();
    if workspace.bytes < demanded || workspace.address == 0 {
        let reason = format!(
            "a workspace of {} bytes at {:#x}; the algorithm demands {demanded}",
            workspace.bytes, workspace.address
        );
        return refuse(cudnnStatus_t::CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT, reason);
    }
    let operand_ranges = operands.iter().map(|operand| (operand.name, operand.address, operand.tensor.bytes()));
    let ranges: Vec<_> = operand_ranges.chain([("workspace", workspace.address, workspace.bytes)]).collect();
    let mut blocks = Vec::new();
    for (name, address, bytes) in &ranges {
        if !address.is_multiple_of(16) {
            return refuse(
                cudnnStatus_t::CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER,
                format!("{name} at {address:#x} is not aligned to 16 bytes"),
            );
        }
        let block = current().map_err(of_driver)?.memory.holding(Side::Device, *address, *bytes);
        let Some(block) = block else {
            return refuse(
                cudnnStatus_t::CUDNN_STATUS_BAD_PARAM,
                format!("{name}: {address:#x} + {bytes} bytes do not lie in one device allocation"),
            );
        };
        blocks.push(block);
    }
    let overlap = |one: &(_, u64, usize), other: &(_, u64, usize)| {
        one.1 < other.1 + other.2 as u64 && other.1 < one.1 + one.2 as u64
    };
    for written in &ranges[2..] {
        if let Some(read) = ranges.iter().find(|range| range.0 != written.0 && overlap(range, written)) {
            return refuse(cudnnStatus_t::CUDNN_STATUS_BAD_PARAM, format!("{} and {} overlap", written.0, read.0));
        }
    }
    Ok(blocks)
}

/// A scale, which lies on the host.
unsafe fn scale(pointer: *const c_void) -> Result<f32, cudnnStatus_t> {
    if pointer.is_null() {
        return refuse(cudnnStatus_t::CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "alpha or beta is null");
    }
    Ok(pointer.cast::<f32>().read())
}

type Compute = fn(&Geometry, &[f32], &[f32]) -> Vec<f32>;

/// Enqueues a convolution that reads the first two operands and writes the third.
unsafe fn enqueue(
    name: &'static str,
    handle: cudnnHandle_t,
    geometry: Geometry,
    operands: [Operand; 3],
    workspace: Workspace,
    alpha: *const c_void,
    beta: *const c_void,
    compute: Compute,
) -> Result<(), cudnnStatus_t> {
    let stream = stream_of(handle)?;
    let (alpha, beta) = (scale(alpha)?, scale(beta)?);
    let blocks = checked(&geometry, &operands, workspace)?;
    let job: Job = Box::new(move |_| {
        let [first, second, written] = &operands;
        let result = compute(&geometry, &first.read(geometry.tf32()), &second.read(geometry.tf32()));
        // SAFETY: `checked` saw that both lie in blocks, which pending work keeps alive, and overlap nothing.
        unsafe {
            std::ptr::write_bytes(workspace.address as *mut u8, POISON, workspace.bytes);
            numbers::write(written.tensor.kind, written.address, &result, alpha, beta);
        }
        Ok(())
    });
    current().map_err(of_driver)?.submit(stream, Work { name, class: Class::Compute, blocks, job }).map_err(of_driver)
}

fn operand(name: &'static str, tensor: Tensor, pointer: *const c_void) -> Operand {
    Operand { name, tensor, address: pointer as u64 }
}

exported! {
    fn cudnnConvolutionForward(
        handle: cudnnHandle_t, alpha: *const c_void, x_desc: cudnnTensorDescriptor_t, x: *const c_void, w_desc: cudnnFilterDescriptor_t,
        w: *const c_void, conv_desc: cudnnConvolutionDescriptor_t, algo: cudnnConvolutionFwdAlgo_t, workspace: *mut c_void,
        workspace_bytes: usize, beta: *const c_void, y_desc: cudnnTensorDescriptor_t, y: *mut c_void,
    ) -> cudnnStatus_t {
        let geometry = Geometry::of(x_desc, w_desc, conv_desc, y_desc)?;
        Direction::Forward.supports(algo as u32)?;
        let operands = [operand("x", geometry.input, x), operand("w", geometry.filter, w), operand("y", geometry.output, y)];
        let workspace = Workspace { address: workspace as u64, bytes: workspace_bytes };
        enqueue("cudnnConvolutionForward", handle, geometry, operands, workspace, alpha, beta, compute::forward)
    }

    fn cudnnConvolutionBackwardData(
        handle: cudnnHandle_t, alpha: *const c_void, w_desc: cudnnFilterDescriptor_t, w: *const c_void, dy_desc: cudnnTensorDescriptor_t,
        dy: *const c_void, conv_desc: cudnnConvolutionDescriptor_t, algo: cudnnConvolutionBwdDataAlgo_t, workspace: *mut c_void,
        workspace_bytes: usize, beta: *const c_void, dx_desc: cudnnTensorDescriptor_t, dx: *mut c_void,
    ) -> cudnnStatus_t {
        let geometry = Geometry::of(dx_desc, w_desc, conv_desc, dy_desc)?;
        Direction::BackwardData.supports(algo as u32)?;
        let operands = [operand("w", geometry.filter, w), operand("dy", geometry.output, dy), operand("dx", geometry.input, dx)];
        let workspace = Workspace { address: workspace as u64, bytes: workspace_bytes };
        enqueue("cudnnConvolutionBackwardData", handle, geometry, operands, workspace, alpha, beta, compute::backward_data)
    }

    fn cudnnConvolutionBackwardFilter(
        handle: cudnnHandle_t, alpha: *const c_void, x_desc: cudnnTensorDescriptor_t, x: *const c_void, dy_desc: cudnnTensorDescriptor_t,
        dy: *const c_void, conv_desc: cudnnConvolutionDescriptor_t, algo: cudnnConvolutionBwdFilterAlgo_t, workspace: *mut c_void,
        workspace_bytes: usize, beta: *const c_void, dw_desc: cudnnFilterDescriptor_t, dw: *mut c_void,
    ) -> cudnnStatus_t {
        let geometry = Geometry::of(x_desc, dw_desc, conv_desc, dy_desc)?;
        Direction::BackwardFilter.supports(algo as u32)?;
        let operands = [operand("x", geometry.input, x), operand("dy", geometry.output, dy), operand("dw", geometry.filter, dw)];
        let workspace = Workspace { address: workspace as u64, bytes: workspace_bytes };
        enqueue("cudnnConvolutionBackwardFilter", handle, geometry, operands, workspace, alpha, beta, compute::backward_filter)
    }
}
