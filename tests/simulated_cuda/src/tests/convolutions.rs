//! cuDNN's convolutions against sums in f64, and its strictness.

use std::ffi::c_void;

use cudarc::cudnn::sys::{
    cudnnConvolutionBwdDataAlgo_t, cudnnConvolutionBwdFilterAlgo_t, cudnnConvolutionBwdFilterAlgoPerf_t,
    cudnnConvolutionDescriptor_t, cudnnConvolutionFwdAlgo_t, cudnnConvolutionMode_t, cudnnDataType_t,
    cudnnDeterminism_t, cudnnFilterDescriptor_t, cudnnHandle_t, cudnnMathType_t, cudnnStatus_t,
    cudnnTensorDescriptor_t, cudnnTensorFormat_t,
};
use cudarc::driver::sys::CUstream;

use super::session::{Session, noise};
use crate::cudnn::algorithms::{
    cudnnGetConvolutionBackwardFilterAlgorithm_v7, cudnnGetConvolutionForwardWorkspaceSize,
};
use crate::cudnn::convolution::{
    cudnnConvolutionBackwardData, cudnnConvolutionBackwardFilter, cudnnConvolutionForward,
};
use crate::cudnn::descriptors::{
    cudnnCreateConvolutionDescriptor, cudnnCreateFilterDescriptor, cudnnCreateTensorDescriptor,
    cudnnSetConvolution2dDescriptor, cudnnSetConvolutionGroupCount, cudnnSetConvolutionMathType,
    cudnnSetFilter4dDescriptor, cudnnSetTensor4dDescriptor,
};
use crate::cudnn::{cudnnCreate, cudnnSetStream};
use crate::numbers::{from_bf16, to_bf16, to_tf32};

const OK: cudnnStatus_t = cudnnStatus_t::CUDNN_STATUS_SUCCESS;
const NHWC: cudnnTensorFormat_t = cudnnTensorFormat_t::CUDNN_TENSOR_NHWC;
const FORWARD: cudnnConvolutionFwdAlgo_t = cudnnConvolutionFwdAlgo_t::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM;
const DATA: cudnnConvolutionBwdDataAlgo_t = cudnnConvolutionBwdDataAlgo_t::CUDNN_CONVOLUTION_BWD_DATA_ALGO_1;
const FILTER: cudnnConvolutionBwdFilterAlgo_t = cudnnConvolutionBwdFilterAlgo_t::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1;

/// (images, channels, side, outputs, filter side, stride, padding, groups)
#[derive(Clone, Copy, Debug)]
struct Shape(usize, usize, usize, usize, usize, usize, usize, usize);

const SHAPES: [Shape; 5] = [
    Shape(2, 4, 7, 6, 3, 1, 1, 1),
    Shape(9, 4, 7, 4, 3, 1, 1, 2),
    Shape(3, 6, 9, 4, 5, 2, 2, 2),
    Shape(1, 3, 8, 5, 1, 1, 0, 1),
    Shape(5, 8, 6, 8, 3, 3, 0, 4),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Precision {
    Bf16,
    Tf32,
    F32,
}

impl Precision {
    fn rounded(self, value: f32) -> f32 {
        match self {
            Self::Bf16 => from_bf16(to_bf16(value)),
            Self::Tf32 => to_tf32(value),
            Self::F32 => value,
        }
    }
}

impl Shape {
    fn output_side(self) -> usize {
        (self.2 + 2 * self.6 - self.4) / self.5 + 1
    }

    fn counts(self) -> [usize; 3] {
        let Shape(images, channels, side, outputs, filter, _, _, groups) = self;
        [
            images * side * side * channels,
            outputs * filter * filter * channels / groups,
            images * self.output_side().pow(2) * outputs,
        ]
    }

    /// Calls `visit` with the places of every product: in the input, the filter and the output.
    fn visit(self, mut visit: impl FnMut(usize, usize, usize)) {
        let Shape(images, channels, side, outputs, filter, stride, padding, groups) = self;
        let (group_channels, output_side) = (channels / groups, self.output_side());
        for output_index in 0..images * output_side * output_side * outputs {
            let output = output_index % outputs;
            let x = output_index / outputs % output_side;
            let y = output_index / outputs / output_side % output_side;
            let image = output_index / outputs / output_side / output_side;
            let group = output / (outputs / groups);
            for tap in 0..filter * filter * group_channels {
                let (channel, tap_x, tap_y) =
                    (tap % group_channels, tap / group_channels % filter, tap / group_channels / filter);
                let (Some(from_x), Some(from_y)) =
                    ((x * stride + tap_x).checked_sub(padding), (y * stride + tap_y).checked_sub(padding))
                else {
                    continue;
                };
                if from_x < side && from_y < side {
                    let input = ((image * side + from_y) * side + from_x) * channels + group * group_channels + channel;
                    visit(input, output * filter * filter * group_channels + tap, output_index);
                }
            }
        }
    }
}

/// A convolution's handle, descriptors and stream.
struct Setup {
    handle: cudnnHandle_t,
    input: cudnnTensorDescriptor_t,
    filter: cudnnFilterDescriptor_t,
    output: cudnnTensorDescriptor_t,
    convolution: cudnnConvolutionDescriptor_t,
    stream: CUstream,
    workspace: u64,
    workspace_bytes: usize,
}

impl Setup {
    fn new(session: &Session, shape: Shape, precision: Precision) -> Self {
        let stream = session.stream();
        let kind = if precision == Precision::Bf16 {
            cudnnDataType_t::CUDNN_DATA_BFLOAT16
        } else {
            cudnnDataType_t::CUDNN_DATA_FLOAT
        };
        let Shape(images, channels, side, outputs, filter_side, stride, padding, groups) = shape;
        let [images, channels, side, outputs, filter_side, stride, padding, groups, output_side] =
            [images, channels, side, outputs, filter_side, stride, padding, groups, shape.output_side()]
                .map(|number| number as i32);
        let null = std::ptr::null_mut();
        let mut setup = Self {
            handle: std::ptr::null_mut(),
            input: null as _,
            filter: null as _,
            output: null as _,
            convolution: null as _,
            stream,
            workspace: 0,
            workspace_bytes: 0,
        };
        unsafe {
            assert_eq!(cudnnCreate(&mut setup.handle), OK);
            assert_eq!(cudnnSetStream(setup.handle, stream.cast()), OK);
            assert_eq!(cudnnCreateTensorDescriptor(&mut setup.input), OK);
            assert_eq!(cudnnSetTensor4dDescriptor(setup.input, NHWC, kind, images, channels, side, side), OK);
            assert_eq!(cudnnCreateTensorDescriptor(&mut setup.output), OK);
            assert_eq!(
                cudnnSetTensor4dDescriptor(setup.output, NHWC, kind, images, outputs, output_side, output_side),
                OK
            );
            assert_eq!(cudnnCreateFilterDescriptor(&mut setup.filter), OK);
            assert_eq!(
                cudnnSetFilter4dDescriptor(
                    setup.filter,
                    kind,
                    NHWC,
                    outputs,
                    channels / groups,
                    filter_side,
                    filter_side
                ),
                OK
            );
            assert_eq!(cudnnCreateConvolutionDescriptor(&mut setup.convolution), OK);
            let mode = cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
            let compute = cudnnDataType_t::CUDNN_DATA_FLOAT;
            assert_eq!(
                cudnnSetConvolution2dDescriptor(
                    setup.convolution,
                    padding,
                    padding,
                    stride,
                    stride,
                    1,
                    1,
                    mode,
                    compute
                ),
                OK
            );
            assert_eq!(cudnnSetConvolutionGroupCount(setup.convolution, groups), OK);
            let math = if precision == Precision::F32 {
                cudnnMathType_t::CUDNN_FMA_MATH
            } else {
                cudnnMathType_t::CUDNN_TENSOR_OP_MATH
            };
            assert_eq!(cudnnSetConvolutionMathType(setup.convolution, math), OK);
            let bytes = &mut setup.workspace_bytes;
            assert_eq!(
                cudnnGetConvolutionForwardWorkspaceSize(
                    setup.handle,
                    setup.input,
                    setup.filter,
                    setup.convolution,
                    setup.output,
                    FORWARD,
                    bytes
                ),
                OK
            );
        }
        setup.workspace = session.device(setup.workspace_bytes);
        setup
    }

    fn forward(&self, x: u64, w: u64, y: u64, workspace_bytes: usize, beta: f32) -> cudnnStatus_t {
        let (alpha, workspace) = (1.0f32, self.workspace as *mut c_void);
        let scales = [(&raw const alpha).cast(), (&raw const beta).cast()];
        unsafe {
            cudnnConvolutionForward(
                self.handle,
                scales[0],
                self.input,
                x as _,
                self.filter,
                w as _,
                self.convolution,
                FORWARD,
                workspace,
                workspace_bytes,
                scales[1],
                self.output,
                y as _,
            )
        }
    }

    fn backward_data(&self, w: u64, dy: u64, dx: u64) -> cudnnStatus_t {
        let (alpha, beta, workspace) = (1.0f32, 0.0f32, self.workspace as *mut c_void);
        unsafe {
            cudnnConvolutionBackwardData(
                self.handle,
                (&raw const alpha).cast(),
                self.filter,
                w as _,
                self.output,
                dy as _,
                self.convolution,
                DATA,
                workspace,
                self.workspace_bytes,
                (&raw const beta).cast(),
                self.input,
                dx as _,
            )
        }
    }

    fn backward_filter(&self, x: u64, dy: u64, dw: u64) -> cudnnStatus_t {
        let (alpha, beta, workspace) = (1.0f32, 0.0f32, self.workspace as *mut c_void);
        unsafe {
            cudnnConvolutionBackwardFilter(
                self.handle,
                (&raw const alpha).cast(),
                self.input,
                x as _,
                self.output,
                dy as _,
                self.convolution,
                FILTER,
                workspace,
                self.workspace_bytes,
                (&raw const beta).cast(),
                self.filter,
                dw as _,
            )
        }
    }
}

/// Compares with the sum in f64 of the magnitudes `sizes` rounded on the way: an f32's rounding for each of at most a
/// few hundred terms, and the output's own.
fn assert_near(found: &[f32], expected: &[f64], sizes: &[f64], precision: Precision, what: &str) {
    let output = if precision == Precision::Bf16 { 1.0 / 256.0 } else { 0.0 };
    for (index, ((found, expected), size)) in found.iter().zip(expected).zip(sizes).enumerate() {
        let tolerance = 1e-6 * size + output * expected.abs() + 1e-12;
        assert!(
            (f64::from(*found) - expected).abs() <= tolerance,
            "{what} {index}: {found}, expected {expected} within {tolerance}"
        );
    }
}

#[test]
fn convolutions_are_the_sums_in_f64_for_all_strides_paddings_groups_and_precisions() {
    for shape in SHAPES {
        for precision in [Precision::Bf16, Precision::Tf32, Precision::F32] {
            let session = Session::new("schedule=lazy");
            let setup = Setup::new(&session, shape, precision);
            let counts = shape.counts();
            let [x, w, dy] = [0, 1, 2].map(|index| noise(counts[index], index as u64 + 1));
            let [x_at, w_at, dy_at] =
                [&x, &w, &dy].map(|values| session.uploaded_floats(values, precision == Precision::Bf16));
            let [dx_at, dw_at, y_at] = counts.map(|count| session.device(count * 4));
            assert_eq!(setup.forward(x_at, w_at, y_at, setup.workspace_bytes, 0.0), OK);
            assert_eq!(setup.backward_data(w_at, dy_at, dx_at), OK);
            assert_eq!(setup.backward_filter(x_at, dy_at, dw_at), OK);
            session.finish(setup.stream);
            let mut expected = counts.map(|count| vec![0.0f64; count]);
            let mut sizes = expected.clone();
            let product =
                |one: f32, other: f32| f64::from(precision.rounded(one)) * f64::from(precision.rounded(other));
            shape.visit(|input, filter, output| {
                let products =
                    [product(w[filter], dy[output]), product(x[input], dy[output]), product(x[input], w[filter])];
                for (index, place) in [input, filter, output].into_iter().enumerate() {
                    expected[index][place] += products[index];
                    sizes[index][place] += products[index].abs();
                }
            });
            for (index, (address, name)) in [(dx_at, "dx"), (dw_at, "dw"), (y_at, "y")].into_iter().enumerate() {
                let found = session.peek_floats(address, counts[index], precision == Precision::Bf16);
                assert_near(
                    &found,
                    &expected[index],
                    &sizes[index],
                    precision,
                    &format!("{shape:?} {precision:?} {name}"),
                );
            }
            assert_eq!(session.violations(), Vec::<String>::new());
        }
    }
}

#[test]
fn the_workspace_is_demanded_and_overwritten() {
    let session = Session::new("");
    let setup = Setup::new(&session, SHAPES[0], Precision::F32);
    let [inputs, filters, outputs] = SHAPES[0].counts();
    let (x, w, y) = (
        session.uploaded(&noise(inputs, 1)),
        session.uploaded(&noise(filters, 2)),
        session.uploaded(&vec![1.0f32; outputs]),
    );
    let too_small = cudnnStatus_t::CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT;
    assert_eq!(setup.forward(x, w, y, setup.workspace_bytes - 1, 0.0), too_small);
    assert_eq!(setup.forward(y, w, y, setup.workspace_bytes, 0.0), cudnnStatus_t::CUDNN_STATUS_BAD_PARAM, "in place");
    unsafe { std::ptr::write_bytes(setup.workspace as *mut u8, 0, setup.workspace_bytes) };
    assert_eq!(setup.forward(x, w, y, setup.workspace_bytes, 0.0), OK);
    session.finish(setup.stream);
    assert!(session.peek::<u8>(setup.workspace, setup.workspace_bytes).iter().all(|byte| *byte == 0xFF));
    let once = session.peek::<f32>(y, outputs);
    assert_eq!(setup.forward(x, w, y, setup.workspace_bytes, 1.0), OK);
    session.finish(setup.stream);
    assert!(
        session.peek::<f32>(y, outputs).iter().zip(once).all(|(twice, once)| *twice == 2.0 * once),
        "beta adds what was there"
    );
}

#[test]
fn the_fastest_filter_gradient_is_marked_as_not_deterministic() {
    let session = Session::new("");
    let setup = Setup::new(&session, SHAPES[0], Precision::Bf16);
    let mut answers: Vec<cudnnConvolutionBwdFilterAlgoPerf_t> = Vec::with_capacity(8);
    let mut count = 0;
    unsafe {
        let asked = cudnnGetConvolutionBackwardFilterAlgorithm_v7(
            setup.handle,
            setup.input,
            setup.output,
            setup.convolution,
            setup.filter,
            8,
            &mut count,
            answers.as_mut_ptr(),
        );
        assert_eq!(asked, OK);
        answers.set_len(count as usize);
    }
    assert_eq!(answers[0].determinism, cudnnDeterminism_t::CUDNN_NON_DETERMINISTIC);
    assert_eq!(
        (answers[1].algo, answers[1].determinism, answers[1].memory),
        (FILTER, cudnnDeterminism_t::CUDNN_DETERMINISTIC, setup.workspace_bytes)
    );
    assert_ne!(answers[2].status, OK);
}
