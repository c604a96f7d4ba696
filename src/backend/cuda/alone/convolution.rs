//! cuDNN's convolutions in each direction, beside their sums as the textbook has them.

use super::fixture::Fixture;
use super::outputs::{Outputs, Tolerance};
use super::product::summed;
use super::values::{largest, reals, wide};
use crate::backend::compared::Axis;
use crate::backend::cuda::driver::Buffer;
use crate::backend::cuda::libraries::convolution::{Convolution, ConvolutionShape, Cudnn};
use crate::backend::cuda::libraries::tuning::Tuning;
use crate::backend::cuda::real::Real;
use crate::error::Result;

/// Small ones of the kinds that networks have.
fn shapes() -> [ConvolutionShape; 5] {
    let conv3 = ConvolutionShape {
        num_samples: 2,
        in_channels: 16,
        in_side: 6,
        out_channels: 24,
        out_side: 6,
        kernel: 3,
        stride: 1,
        pad: 1,
        groups: 1,
    };
    let conv2 = ConvolutionShape { in_side: 7, out_side: 7, kernel: 5, pad: 2, ..conv3 };
    [
        // conv1's, after space-to-depth.
        ConvolutionShape { num_samples: 3, in_channels: 64, in_side: 7, out_side: 5, pad: 0, ..conv3 },
        conv2,
        // In two towers.
        ConvolutionShape { in_channels: 32, out_channels: 48, groups: 2, ..conv2 },
        conv3,
        // conv1's of pixels padded to eight channels.
        ConvolutionShape { in_channels: 8, in_side: 16, out_side: 6, kernel: 7, stride: 2, ..conv3 },
    ]
}

/// A convolution, and values for all that it may read.
struct Set<R> {
    shape: ConvolutionShape,
    convolution: Convolution,
    workspace: Buffer<u8>,
    input: Vec<R>,
    kernels: Vec<R>,
    output_gradient: Vec<R>,
}

impl<R: Real> Set<R> {
    fn new(on: &Fixture<R>, shape: ConvolutionShape) -> Result<Self> {
        let library = Cudnn::new(&on.stream)?;
        let convolution = Convolution::new(&library, &library, shape, on.precision, &mut Tuning::known())?;
        let [of_weights, of_others] = convolution.workspace_bytes();
        Ok(Self {
            shape,
            convolution,
            workspace: on.poisoned(of_weights.max(of_others).max(1))?,
            input: reals(shape.input_values(), 1),
            kernels: reals(shape.kernel_values(), 2),
            output_gradient: reals(shape.output_values(), 3),
        })
    }

    fn name(&self, tensor: &str) -> String {
        let ConvolutionShape { num_samples, in_channels, in_side, out_channels, kernel, stride, pad, groups, .. } =
            self.shape;
        let by = format!("by {out_channels} of {kernel} x {kernel}, stride {stride}, padding {pad}, groups {groups}");
        format!("{tensor} of ({num_samples}, {in_side}, {in_side}, {in_channels}) {by}")
    }

    fn out_axes(&self) -> [Axis; 4] {
        let ConvolutionShape { num_samples, out_side, out_channels, .. } = self.shape;
        [("n", num_samples), ("y", out_side), ("x", out_side), ("c", out_channels)]
    }

    /// Visits every product of the convolution, by the places of input, kernel and output.
    fn visit(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let ConvolutionShape { num_samples, in_channels, in_side, out_channels, out_side, .. } = self.shape;
        let ConvolutionShape { kernel, stride, pad, groups, .. } = self.shape;
        let (group_inputs, group_outputs) = (in_channels / groups, out_channels / groups);
        let inside = |out: usize, tap: usize| (out * stride + tap).checked_sub(pad).filter(|at| *at < in_side);
        for (sample, out_y, out_x, output) in all([num_samples, out_side, out_side, out_channels]) {
            let to = ((sample * out_side + out_y) * out_side + out_x) * out_channels + output;
            for (tap_y, tap_x, channel, _) in all([kernel, kernel, group_inputs, 1]) {
                let (Some(y), Some(x)) = (inside(out_y, tap_y), inside(out_x, tap_x)) else { continue };
                let input = output / group_outputs * group_inputs + channel;
                let from = ((sample * in_side + y) * in_side + x) * in_channels + input;
                visit(from, ((output * kernel + tap_y) * kernel + tap_x) * group_inputs + channel, to);
            }
        }
    }

    fn expected_output(&self) -> Vec<f64> {
        let (input, kernels) = (wide(&self.input), wide(&self.kernels));
        let mut output = vec![0.0; self.shape.output_values()];
        self.visit(|from, tap, to| output[to] += input[from] * kernels[tap]);
        output
    }
}

/// All places of four loops, the last the fastest.
fn all([first, second, third, fourth]: [usize; 4]) -> impl Iterator<Item = (usize, usize, usize, usize)> {
    (0..first * second * third * fourth)
        .map(move |at| (at / fourth / third / second, at / fourth / third % second, at / fourth % third, at % fourth))
}

pub fn forward<R: Real>(on: &Fixture<R>, outputs: &mut Outputs) -> Result<()> {
    for shape in shapes() {
        let mut set = Set::<R>::new(on, shape)?;
        let (input, kernels) = (on.upload(&set.input)?, on.upload(&set.kernels)?);
        let mut output = on.poisoned::<R>(shape.output_values())?;
        set.convolution.forward(&mut set.workspace, input.all(), kernels.all(), &mut output.all_mut())?;
        let (ours, expected) = (wide(&on.read(&output)?), set.expected_output());
        let tolerance = summed::<R>(on.precision, &expected);
        outputs.push(set.name("output"), &set.out_axes(), ours, expected, tolerance);
    }
    Ok(())
}

pub fn forward_bias_relu<R: Real>(on: &Fixture<R>, outputs: &mut Outputs) -> Result<()> {
    for shape in shapes() {
        let mut set = Set::<R>::new(on, shape)?;
        let bias = reals::<R>(shape.out_channels, 4);
        let (input, kernels, biases) = (on.upload(&set.input)?, on.upload(&set.kernels)?, on.upload(&bias)?);
        let mut output = on.poisoned::<R>(shape.output_values())?;
        let (from, to) = (input.all(), &mut output.all_mut());
        if let Err(error) = set.convolution.forward_bias_relu(&mut set.workspace, from, kernels.all(), biases.all(), to)
        {
            outputs.refused(format!("{error}; training computes convolution, bias and ReLU one by one"));
            continue;
        }
        let sums = set.expected_output();
        // A library may round what it summed before the bias is added, which may cancel it.
        let own = summed::<R>(on.precision, &sums);
        let between = if R::IS_MASTER { 0.0 } else { Tolerance::BF16 * largest(&sums) };
        let tolerance = Tolerance { absolute: own.absolute + between, ..own };
        let biases = wide(&bias).into_iter().cycle();
        let expected = sums.into_iter().zip(biases).map(|(sum, bias)| (sum + bias).max(0.0)).collect();
        outputs.push(set.name("output"), &set.out_axes(), wide(&on.read(&output)?), expected, tolerance);
    }
    Ok(())
}

pub fn weight_gradient<R: Real>(on: &Fixture<R>, outputs: &mut Outputs) -> Result<()> {
    for shape in shapes() {
        let mut set = Set::<R>::new(on, shape)?;
        let (input, gradient) = (on.upload(&set.input)?, on.upload(&set.output_gradient)?);
        let mut kernels = on.poisoned::<R>(shape.kernel_values())?;
        set.convolution.weight_gradient(&mut set.workspace, input.all(), gradient.all(), &mut kernels.all_mut())?;
        let (input, gradient) = (wide(&set.input), wide(&set.output_gradient));
        let mut expected = vec![0.0; shape.kernel_values()];
        set.visit(|from, tap, to| expected[tap] += input[from] * gradient[to]);
        let ConvolutionShape { in_channels, out_channels, kernel, groups, .. } = shape;
        let axes = [("output", out_channels), ("y", kernel), ("x", kernel), ("input", in_channels / groups)];
        let tolerance = summed::<R>(on.precision, &expected);
        outputs.push(set.name("weight gradient"), &axes, wide(&on.read(&kernels)?), expected, tolerance);
    }
    Ok(())
}

pub fn input_gradient<R: Real>(on: &Fixture<R>, outputs: &mut Outputs) -> Result<()> {
    for shape in shapes() {
        let mut set = Set::<R>::new(on, shape)?;
        let (kernels, gradient) = (on.upload(&set.kernels)?, on.upload(&set.output_gradient)?);
        let mut input = on.poisoned::<R>(shape.input_values())?;
        set.convolution.input_gradient(&mut set.workspace, kernels.all(), gradient.all(), &mut input.all_mut())?;
        let (kernels, gradient) = (wide(&set.kernels), wide(&set.output_gradient));
        let mut expected = vec![0.0; shape.input_values()];
        set.visit(|from, tap, to| expected[from] += kernels[tap] * gradient[to]);
        let ConvolutionShape { num_samples, in_side, in_channels, .. } = shape;
        let axes = [("n", num_samples), ("y", in_side), ("x", in_side), ("c", in_channels)];
        let tolerance = summed::<R>(on.precision, &expected);
        outputs.push(set.name("input gradient"), &axes, wide(&on.read(&input)?), expected, tolerance);
    }
    Ok(())
}
