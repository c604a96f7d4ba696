//! The three convolutions as calls.

use std::ffi::c_void;

use cudarc::cudnn::sys::{
    cudnnActivationDescriptor_t, cudnnConvolutionDescriptor_t, cudnnFilterDescriptor_t, cudnnHandle_t, cudnnStatus_t,
    cudnnTensorDescriptor_t,
};

use super::algorithms::Direction;
use super::compute;
use super::descriptors::Tensor;
use super::geometry::Geometry;
use super::{objects, of_driver, refuse, stream_of};
use crate::device::{self, Job, Work};
use crate::driver::context::current;
use crate::driver::memory::{POISON, Region};
use crate::numbers;
use crate::schedule::Class;

/// What the call names a tensor, the tensor, and where it lies in device memory.
type Operand = (&'static str, Tensor, u64);

/// The caller's workspace and its bytes.
type Workspace = (*mut c_void, usize);

/// Alpha and beta, which lie on the host.
type Scales = [*const c_void; 2];

type Compute = fn(&Geometry, &[f32], &[f32]) -> Vec<f32>;

/// Enqueues a convolution that reads the first two operands and writes the third, with bias and ReLU where there is a
/// bias.
unsafe fn enqueue(
    name: &'static str,
    handle: cudnnHandle_t,
    geometry: Geometry,
    operands: [Operand; 3],
    bias: Option<Operand>,
    demanded: usize,
    (workspace, workspace_bytes): Workspace,
    scales: Scales,
    compute: Compute,
) -> Result<(), cudnnStatus_t> {
    let stream = stream_of(handle)?;
    if scales.iter().any(|scale| scale.is_null()) {
        return refuse(cudnnStatus_t::CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "alpha or beta is null");
    }
    if scales.map(|scale| scale.cast::<f32>().read()) != [1.0, 0.0] {
        return refuse(cudnnStatus_t::CUDNN_STATUS_NOT_SUPPORTED, "only an alpha of 1 and a beta of 0 are simulated");
    }
    // With more than it asked for the real library would take, and name nowhere, another kernel.
    if workspace_bytes != demanded || (workspace.is_null() && demanded > 0) {
        let reason =
            format!("a workspace of {workspace_bytes} bytes at {workspace:?}; the algorithm demands {demanded}");
        return refuse(cudnnStatus_t::CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT, reason);
    }
    let region = |name, address, bytes| Region { name, address, bytes, alignment: 16 };
    let [first, second, written] = operands.map(|(name, tensor, address)| region(name, address, tensor.bytes()));
    let mut regions = vec![first, second];
    regions.extend(bias.map(|(name, tensor, address)| region(name, address, tensor.bytes())));
    let num_read = regions.len();
    regions.push(written);
    if demanded > 0 {
        regions.push(region("workspace", workspace as u64, workspace_bytes));
    }
    let blocks = current().map_err(of_driver)?.memory.blocks_of(&regions, num_read);
    let blocks = blocks.or_else(|reason| refuse(cudnnStatus_t::CUDNN_STATUS_BAD_PARAM, reason))?;
    let workspace = workspace as u64;
    let job: Job = Box::new(move |_| {
        let [first, second, (_, written, address)] = operands;
        let read = |(_, tensor, address): Operand| {
            // SAFETY: `blocks_of` saw that the address is aligned and that its block, which pending work keeps alive,
            // holds the tensor.
            unsafe { numbers::read(tensor.kind, address, tensor.shape.iter().product(), geometry.tf32()) }
        };
        let mut result = compute(&geometry, &read(first), &read(second));
        if let Some(bias) = bias {
            let bias = read(bias);
            for (value, bias) in result.iter_mut().zip(bias.iter().cycle()) {
                let sum = *value + bias;
                *value = if sum < 0.0 { 0.0 } else { sum };
            }
        }
        let result = device::lock().settings.written(name, &result);
        // SAFETY: `blocks_of` saw that both lie in blocks, which pending work keeps alive, and overlap nothing.
        unsafe {
            std::ptr::write_bytes(workspace as *mut u8, POISON, workspace_bytes);
            numbers::write(written.kind, address, result);
        }
        Ok(())
    });
    current()
        .map_err(of_driver)?
        .submit(stream, Work { name, class: Class::Compute, blocks, launched: None, job })
        .map_err(of_driver)
}

exported! {
    fn cudnnConvolutionForward(
        handle: cudnnHandle_t, alpha: *const c_void, x_desc: cudnnTensorDescriptor_t, x: *const c_void, w_desc: cudnnFilterDescriptor_t,
        w: *const c_void, conv_desc: cudnnConvolutionDescriptor_t, algo: u32, workspace: *mut c_void, workspace_bytes: usize,
        beta: *const c_void, y_desc: cudnnTensorDescriptor_t, y: *mut c_void,
    ) -> cudnnStatus_t {
        let geometry = Geometry::of(x_desc, w_desc, conv_desc, y_desc)?;
        let demanded = Direction::Forward.workspace_bytes(algo, &geometry)?;
        let operands = [("x", geometry.input, x as u64), ("w", geometry.filter, w as u64), ("y", geometry.output, y as u64)];
        enqueue("cudnnConvolutionForward", handle, geometry, operands, None, demanded, (workspace, workspace_bytes), [alpha, beta], compute::forward)
    }

    fn cudnnConvolutionBiasActivationForward(
        handle: cudnnHandle_t, alpha: *const c_void, x_desc: cudnnTensorDescriptor_t, x: *const c_void, w_desc: cudnnFilterDescriptor_t,
        w: *const c_void, conv_desc: cudnnConvolutionDescriptor_t, algo: u32, workspace: *mut c_void, workspace_bytes: usize,
        other_alpha: *const c_void, _z_desc: cudnnTensorDescriptor_t, z: *const c_void, bias_desc: cudnnTensorDescriptor_t,
        bias: *const c_void, activation_desc: cudnnActivationDescriptor_t, y_desc: cudnnTensorDescriptor_t, y: *mut c_void,
    ) -> cudnnStatus_t {
        let geometry = Geometry::of(x_desc, w_desc, conv_desc, y_desc)?;
        let demanded = Direction::Forward.workspace_bytes(algo, &geometry)?;
        let (is_set, bias_tensor) = {
            let objects = objects();
            let is_set = objects.activations.get(activation_desc as u64).copied();
            (is_set == Some(true), objects.tensors.get(bias_desc as u64).copied().flatten())
        };
        let expected = Tensor { kind: geometry.output.kind, shape: [1, geometry.output.shape[1], 1, 1] };
        if !is_set || bias_tensor != Some(expected) || z != y.cast_const() {
            return refuse(cudnnStatus_t::CUDNN_STATUS_BAD_PARAM, format!("a bias of {bias_tensor:?}, expected {expected:?}; or no activation; or another z than y"));
        }
        let operands = [("x", geometry.input, x as u64), ("w", geometry.filter, w as u64), ("y", geometry.output, y as u64)];
        let bias = Some(("bias", expected, bias as u64));
        let scales = [alpha, other_alpha];
        enqueue("cudnnConvolutionBiasActivationForward", handle, geometry, operands, bias, demanded, (workspace, workspace_bytes), scales, compute::forward)
    }

    fn cudnnConvolutionBackwardData(
        handle: cudnnHandle_t, alpha: *const c_void, w_desc: cudnnFilterDescriptor_t, w: *const c_void, dy_desc: cudnnTensorDescriptor_t,
        dy: *const c_void, conv_desc: cudnnConvolutionDescriptor_t, algo: u32, workspace: *mut c_void, workspace_bytes: usize,
        beta: *const c_void, dx_desc: cudnnTensorDescriptor_t, dx: *mut c_void,
    ) -> cudnnStatus_t {
        let geometry = Geometry::of(dx_desc, w_desc, conv_desc, dy_desc)?;
        let demanded = Direction::BackwardData.workspace_bytes(algo, &geometry)?;
        let operands = [("w", geometry.filter, w as u64), ("dy", geometry.output, dy as u64), ("dx", geometry.input, dx as u64)];
        enqueue("cudnnConvolutionBackwardData", handle, geometry, operands, None, demanded, (workspace, workspace_bytes), [alpha, beta], compute::backward_data)
    }

    fn cudnnConvolutionBackwardFilter(
        handle: cudnnHandle_t, alpha: *const c_void, x_desc: cudnnTensorDescriptor_t, x: *const c_void, dy_desc: cudnnTensorDescriptor_t,
        dy: *const c_void, conv_desc: cudnnConvolutionDescriptor_t, algo: u32, workspace: *mut c_void, workspace_bytes: usize,
        beta: *const c_void, dw_desc: cudnnFilterDescriptor_t, dw: *mut c_void,
    ) -> cudnnStatus_t {
        let geometry = Geometry::of(x_desc, dw_desc, conv_desc, dy_desc)?;
        let demanded = Direction::BackwardFilter.workspace_bytes(algo, &geometry)?;
        let operands = [("x", geometry.input, x as u64), ("dy", geometry.output, dy as u64), ("dw", geometry.filter, dw as u64)];
        enqueue("cudnnConvolutionBackwardFilter", handle, geometry, operands, None, demanded, (workspace, workspace_bytes), [alpha, beta], compute::backward_filter)
    }
}
