//! cuDNN's strictness. Its sums are compared with the CPU backend's in tests/cuda_backend.

use cudarc::cudnn::sys::{
    cudnnConvolutionDescriptor_t, cudnnConvolutionMode_t, cudnnDataType_t, cudnnDeterminism_t, cudnnFilterDescriptor_t,
    cudnnHandle_t, cudnnMathType_t, cudnnStatus_t, cudnnTensorDescriptor_t, cudnnTensorFormat_t,
};
use cudarc::driver::sys::CUstream;

use super::session::Session;
use crate::cudnn::algorithms::{
    Answer, OTHER, USUAL, cudnnGetConvolutionBackwardFilterAlgorithm_v7, cudnnGetConvolutionForwardWorkspaceSize,
};
use crate::cudnn::convolution::cudnnConvolutionForward;
use crate::cudnn::descriptors::{
    cudnnCreateConvolutionDescriptor, cudnnCreateFilterDescriptor, cudnnCreateTensorDescriptor,
    cudnnSetConvolution2dDescriptor, cudnnSetConvolutionMathType, cudnnSetFilter4dDescriptor,
    cudnnSetTensor4dDescriptor,
};
use crate::cudnn::{cudnnCreate, cudnnSetStream};

const OK: cudnnStatus_t = cudnnStatus_t::CUDNN_STATUS_SUCCESS;

/// Two images of 4 channels of 7 x 7 pixels in f32, and four filters of 3 x 3 with padding 1: what goes in and what
/// comes out have one shape.
struct Setup {
    handle: cudnnHandle_t,
    tensor: cudnnTensorDescriptor_t,
    filter: cudnnFilterDescriptor_t,
    convolution: cudnnConvolutionDescriptor_t,
    stream: CUstream,
    workspace: u64,
    workspace_bytes: usize,
}

const VALUES: usize = 2 * 7 * 7 * 4;
const FILTER_VALUES: usize = 4 * 3 * 3 * 4;

impl Setup {
    fn new(session: &Session, math: cudnnMathType_t) -> Self {
        let (kind, nhwc) = (cudnnDataType_t::CUDNN_DATA_FLOAT, cudnnTensorFormat_t::CUDNN_TENSOR_NHWC);
        let mode = cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
        let null = std::ptr::null_mut();
        let (mut handle, mut tensor, mut filter, mut convolution) = (null, null as _, null as _, null as _);
        let (stream, mut workspace_bytes) = (session.stream(), 0);
        let done = unsafe {
            [
                cudnnCreate(&mut handle),
                cudnnSetStream(handle, stream.cast()),
                cudnnCreateTensorDescriptor(&mut tensor),
                cudnnSetTensor4dDescriptor(tensor, nhwc, kind, 2, 4, 7, 7),
                cudnnCreateFilterDescriptor(&mut filter),
                cudnnSetFilter4dDescriptor(filter, kind, nhwc, 4, 4, 3, 3),
                cudnnCreateConvolutionDescriptor(&mut convolution),
                cudnnSetConvolution2dDescriptor(convolution, 1, 1, 1, 1, 1, 1, mode, kind),
                cudnnSetConvolutionMathType(convolution, math),
                cudnnGetConvolutionForwardWorkspaceSize(
                    handle,
                    tensor,
                    filter,
                    convolution,
                    tensor,
                    USUAL,
                    &mut workspace_bytes,
                ),
            ]
        };
        assert_eq!(done, [OK; 10]);
        let workspace = session.device(workspace_bytes);
        Self { handle, tensor, filter, convolution, stream, workspace, workspace_bytes }
    }

    fn forward(&self, x: u64, w: u64, y: u64, workspace_bytes: usize) -> cudnnStatus_t {
        let (alpha, beta) = (1.0f32, 0.0f32);
        unsafe {
            cudnnConvolutionForward(
                self.handle,
                (&raw const alpha).cast(),
                self.tensor,
                x as _,
                self.filter,
                w as _,
                self.convolution,
                USUAL,
                self.workspace as _,
                workspace_bytes,
                (&raw const beta).cast(),
                self.tensor,
                y as _,
            )
        }
    }
}

#[test]
fn the_workspace_is_demanded_and_overwritten() {
    let session = Session::new("");
    let setup = Setup::new(&session, cudnnMathType_t::CUDNN_FMA_MATH);
    let (x, w) = (session.uploaded(&[1.0f32; VALUES]), session.uploaded(&[1.0f32; FILTER_VALUES]));
    let (y, bytes) = (session.device(VALUES * 4), setup.workspace_bytes);
    let too_small = cudnnStatus_t::CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT;
    assert_eq!(setup.forward(x, w, y, bytes - 1), too_small);
    assert_eq!(setup.forward(y, w, y, bytes), cudnnStatus_t::CUDNN_STATUS_BAD_PARAM, "in place");
    unsafe { std::ptr::write_bytes(setup.workspace as *mut u8, 0, bytes) };
    assert_eq!(setup.forward(x, w, y, bytes), OK);
    session.finish(setup.stream);
    assert!(session.peek::<u8>(setup.workspace, bytes).iter().all(|byte| *byte == 0xFF));
}

#[test]
fn factors_are_rounded_to_tf32_unless_the_math_type_forbids_it() {
    let finer = 1.0 + 2.0f32.powi(-12);
    for (math, factor) in [(cudnnMathType_t::CUDNN_FMA_MATH, finer), (cudnnMathType_t::CUDNN_TENSOR_OP_MATH, 1.0)] {
        let session = Session::new("");
        let setup = Setup::new(&session, math);
        let (x, w) = (session.uploaded(&[finer; VALUES]), session.uploaded(&[1.0f32; FILTER_VALUES]));
        let y = session.device(VALUES * 4);
        assert_eq!(setup.forward(x, w, y, setup.workspace_bytes), OK);
        session.finish(setup.stream);
        // In the image's corner a filter sees 2 x 2 pixels of 4 channels.
        assert_eq!(session.peek::<f32>(y, 1), [16.0 * factor]);
    }
}

#[test]
fn the_fastest_filter_gradient_is_marked_as_not_deterministic() {
    let session = Session::new("");
    let Setup { handle, tensor, filter, convolution, workspace_bytes, .. } =
        Setup::new(&session, cudnnMathType_t::CUDNN_FMA_MATH);
    let mut answers: Vec<Answer> = Vec::with_capacity(8);
    let (mut count, results) = (0, answers.as_mut_ptr());
    unsafe {
        let asked = cudnnGetConvolutionBackwardFilterAlgorithm_v7(
            handle,
            tensor,
            tensor,
            convolution,
            filter,
            8,
            &mut count,
            results,
        );
        assert_eq!(asked, OK);
        answers.set_len(count as usize);
    }
    assert_eq!(answers[0].determinism, cudnnDeterminism_t::CUDNN_NON_DETERMINISTIC);
    let second = &answers[1];
    assert_eq!((second.algorithm, second.workspace_bytes), (USUAL, workspace_bytes));
    assert_eq!(second.determinism, cudnnDeterminism_t::CUDNN_DETERMINISTIC);
    assert_eq!((answers[2].algorithm, answers[2].workspace_bytes), (OTHER, 0));
    assert_ne!(answers[3].status, OK);
}
