//! A convolutional block: convolution, bias, and the tail of ReLU, LRN and pooling; parallel over images.

use rayon::iter::Either;
use rayon::prelude::*;

use super::convolution::Convolution;
use super::real::Real;
use super::tail::TailOps;
use super::wide::wide;
use super::workers::Workers;
use super::workspace::{Activations, Room, Tensors, Workspace};
use crate::backend::Pass;
use crate::model;

/// A block with what its backward pass needs.
pub struct ConvBlock<T> {
    convolution: Convolution,
    tail: TailOps,
    out_channels: usize,
    /// (N, out_channels, conv_side, conv_side): the convolution with its bias, rectified where ReLU comes first; the
    /// backward pass leaves its gradient in its place. Empty where that is the block's output itself.
    convolved: Vec<T>,
    /// (N, out_channels, out_side, out_side of the pooling): see [`super::pool`]. Empty without pooling.
    argmax: Vec<T>,
    /// (N, out_channels): each image's gradient of the biases.
    bias_gradients: Vec<T>,
}

impl<T: Real> ConvBlock<T> {
    /// A block for batches of at most `batch_size` images.
    pub fn new(block: &model::ConvBlock, batch_size: usize) -> Self {
        let (convolution, tail) = (Convolution::new(block), TailOps::new(block));
        let kept = if tail.is_in_place() { 0 } else { batch_size * convolution.output_values() };
        Self {
            convolved: vec![T::ZERO; kept],
            argmax: vec![T::ZERO; batch_size * tail.argmax_values()],
            convolution,
            tail,
            out_channels: block.out_channels,
            bias_gradients: vec![T::ZERO; batch_size * block.out_channels],
        }
    }

    pub fn num_values(&self) -> usize {
        self.convolved.len() + self.argmax.len() + self.bias_gradients.len()
    }

    pub fn room(&self) -> Room {
        let passes = self.convolution.scratch_values().max(self.tail.scratch_values());
        Room {
            scratch: self.convolution.output_values() + passes,
            packed: self.convolution.packed_values(),
            staged: self.convolution.shares_values(),
        }
    }

    /// input (num_images, in_channels, in_side, in_side) to output (num_images, out_channels, out_side, out_side).
    pub fn forward(
        &mut self,
        workspace: &mut Workspace<T>,
        pass: Pass,
        num_images: usize,
        parameters: Tensors<&[T]>,
        input: &[T],
        output: &mut [T],
    ) {
        let Workspace { workers, packed, .. } = workspace;
        let (convolution, tail) = (&self.convolution, &self.tail);
        convolution.pack_forward(parameters.weights, packed);
        let images = (
            input.par_chunks_exact(input.len() / num_images),
            each_image(output, output.len() / num_images, num_images),
            each_image(&mut self.convolved, convolution.output_values(), num_images),
            each_image(&mut self.argmax, tail.argmax_values(), num_images),
        );
        images.into_par_iter().with_max_len(1).for_each(|(image, output, kept, argmax)| {
            let mut scratch = workers.scratch();
            let (spare, scratch) = scratch.split_at_mut(convolution.output_values());
            let (convolved, output) = match (tail.is_in_place(), pass) {
                (true, _) => (output, Default::default()),
                (false, Pass::Train) => (kept, output),
                (false, Pass::Eval) => (spare, output),
            };
            convolution.forward(image, packed, convolved, scratch);
            wide!(add_bias(parameters.biases, convolved));
            let argmax = (pass == Pass::Train).then_some(argmax);
            wide!(tail.forward(convolved, output, argmax, scratch));
        });
    }

    /// The gradients of the weights, the biases and, where it is asked for, the input.
    pub fn backward(
        &mut self,
        workspace: &mut Workspace<T>,
        num_images: usize,
        weights: &[T],
        activations: Activations<'_, T>,
        gradients: Tensors<&mut [T]>,
    ) {
        let Workspace { workers, packed, staged } = workspace;
        let Activations { input, output, output_gradient, input_gradient } = activations;
        if input_gradient.is_some() {
            self.convolution.pack_backward(weights, packed);
        }
        self.backward_images(workers, num_images, packed, output, output_gradient, input_gradient);
        let convolved_values = num_images * self.convolution.output_values();
        let gradient = if self.tail.is_in_place() { output_gradient } else { &self.convolved[..convolved_values] };
        self.convolution.weight_gradient(workers, input, gradient, staged, gradients.weights);
        let bias_gradients = &self.bias_gradients[..num_images * self.out_channels];
        wide!(sum_rows(bias_gradients, gradients.biases));
    }

    /// The tail, the biases' and the input's gradient, image by image. The gradient of the convolution's output takes
    /// the latter's place.
    fn backward_images(
        &mut self,
        workers: &Workers<T>,
        num_images: usize,
        packed_weights: &[T],
        output: &[T],
        output_gradient: &mut [T],
        input_gradient: Option<&mut [T]>,
    ) {
        let (convolution, tail) = (&self.convolution, &self.tail);
        let has_input_gradient = input_gradient.is_some();
        let images = (
            output.par_chunks_exact(output.len() / num_images),
            each_image(output_gradient, output.len() / num_images, num_images),
            each_image(&mut self.convolved, convolution.output_values(), num_images),
            each_image(&mut self.argmax, tail.argmax_values(), num_images),
            each_image(&mut self.bias_gradients, self.out_channels, num_images),
            each_image(input_gradient.unwrap_or_default(), convolution.input_values(), num_images),
        );
        images.into_par_iter().with_max_len(1).for_each(
            |(output, output_gradient, convolved, argmax, bias_gradients, input_gradient)| {
                let mut scratch = workers.scratch();
                wide!(tail.backward(convolved, output, argmax, output_gradient, &mut scratch));
                let gradient = if tail.is_in_place() { output_gradient } else { convolved };
                wide!(sum_channels(gradient, bias_gradients));
                if has_input_gradient {
                    convolution.input_gradient(gradient, packed_weights, input_gradient, &mut scratch);
                }
            },
        );
    }
}

/// The images' shares of a batch's buffer, `image_values` each; of an empty buffer, an empty share for each image.
fn each_image<T: Send>(
    buffer: &mut [T],
    image_values: usize,
    num_images: usize,
) -> impl IndexedParallelIterator<Item = &mut [T]> {
    match buffer.is_empty() {
        true => Either::Left((0..num_images).into_par_iter().map(|_| Default::default())),
        false => Either::Right(buffer.par_chunks_exact_mut(image_values).take(num_images)),
    }
}

/// Adds each channel's bias to (channels, positions).
#[inline(always)]
fn add_bias<T: Real>(biases: &[T], values: &mut [T]) {
    for (values, bias) in values.chunks_exact_mut(values.len() / biases.len()).zip(biases) {
        for value in values {
            *value += *bias;
        }
    }
}

/// The sum of each channel of (channels, positions), in eight interleaved sums, which vectorise.
#[inline(always)]
fn sum_channels<T: Real>(values: &[T], sums: &mut [T]) {
    for (values, sum) in values.chunks_exact(values.len() / sums.len()).zip(sums) {
        let mut lanes = [T::ZERO; 8];
        let (chunks, rest) = values.as_chunks::<8>();
        for chunk in chunks {
            for (lane, value) in lanes.iter_mut().zip(chunk) {
                *lane += *value;
            }
        }
        *sum = T::ZERO;
        for value in lanes.iter().chain(rest) {
            *sum += *value;
        }
    }
}

/// The sum of the rows of (rows, sums.len()).
#[inline(always)]
pub fn sum_rows<T: Real>(rows: &[T], sums: &mut [T]) {
    sums.fill(T::ZERO);
    for row in rows.chunks_exact(sums.len()) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += *value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::testing::{assert_is_gradient, dot, draws};
    use crate::model::{Lrn, Pool, Tail};

    const NUM_IMAGES: usize = 2;

    /// Every order of a network's tails, and one more.
    fn tails() -> [Vec<Tail>; 7] {
        // alpha is large, so that the normalisation matters to values near 1.
        let lrn = Tail::Lrn(Lrn { k: 2.0, n: 5, alpha: 0.25, beta: 0.75 });
        let (relu, pool) = (Tail::Relu, Tail::Pool(Pool { window: 3, stride: 2 }));
        [
            vec![relu, lrn, pool],
            vec![relu, pool, lrn],
            vec![lrn, pool, relu],
            vec![relu, pool],
            vec![relu],
            vec![],
            vec![pool, relu, lrn, relu],
        ]
    }

    fn block(tail: &[Tail]) -> model::ConvBlock {
        let has_pool = tail.iter().any(|op| matches!(op, Tail::Pool(_)));
        model::ConvBlock {
            in_channels: 4,
            in_side: 7,
            out_channels: 6,
            kernel: 3,
            stride: 1,
            pad: 1,
            groups: 2,
            conv_side: 7,
            out_side: if has_pool { 3 } else { 7 },
            tail: tail.to_vec(),
        }
    }

    struct Case {
        block: ConvBlock<f64>,
        workspace: Workspace<f64>,
        num_outputs: usize,
    }

    impl Case {
        fn new(tail: &[Tail]) -> Self {
            let description = block(tail);
            // Room for one image more: a batch need not be full.
            let block = ConvBlock::new(&description, NUM_IMAGES + 1);
            let workspace = Workspace::new(None, block.room(), f64::NAN);
            let num_outputs = NUM_IMAGES * description.out_channels * description.out_side.pow(2);
            Self { block, workspace, num_outputs }
        }

        fn forward(&mut self, pass: Pass, input: &[f64], weights: &[f64], biases: &[f64]) -> Vec<f64> {
            let mut output = vec![f64::NAN; self.num_outputs];
            let pool = self.workspace.workers.pool();
            let workspace = &mut self.workspace;
            pool.install(|| {
                self.block.forward(workspace, pass, NUM_IMAGES, Tensors { weights, biases }, input, &mut output);
            });
            output
        }

        /// Gradients of the input, the weights and the biases.
        fn backward(&mut self, input: &[f64], weights: &[f64], output: &[f64], gradient: &[f64]) -> [Vec<f64>; 3] {
            let mut gradients = [input.len(), weights.len(), 6].map(|len| vec![f64::NAN; len]);
            let [input_gradient, weight_gradient, bias_gradient] = &mut gradients;
            let mut output_gradient = gradient.to_vec();
            let activations = Activations {
                input,
                output,
                output_gradient: &mut output_gradient,
                input_gradient: Some(input_gradient),
            };
            let tensors = Tensors { weights: &mut weight_gradient[..], biases: &mut bias_gradient[..] };
            let pool = self.workspace.workers.pool();
            pool.install(|| self.block.backward(&mut self.workspace, NUM_IMAGES, weights, activations, tensors));
            gradients
        }
    }

    #[test]
    fn whole_blocks_agree_with_central_differences_in_every_tail_order() {
        for tail in tails() {
            let mut case = Case::new(&tail);
            let (input, weights) = (draws(NUM_IMAGES * 4 * 49, 1), draws(6 * 2 * 9, 2));
            let (biases, gradient) = (draws(6, 3), draws(case.num_outputs, 4));
            let output = case.forward(Pass::Train, &input, &weights, &biases);
            let [by_input, by_weights, by_biases] = case.backward(&input, &weights, &output, &gradient);
            let mut loss = |input: &[f64], weights: &[f64], biases: &[f64]| {
                dot(&case.forward(Pass::Eval, input, weights, biases), &gradient)
            };
            assert_is_gradient("weights", &by_weights, &weights, |weights| loss(&input, weights, &biases));
            assert_is_gradient("biases", &by_biases, &biases, |biases| loss(&input, &weights, biases));
            assert_is_gradient("input", &by_input, &input, |input| loss(input, &weights, &biases));
        }
    }

    #[test]
    fn training_and_evaluation_convolve_alike() {
        for tail in tails() {
            let mut case = Case::new(&tail);
            let (input, weights, biases) = (draws(NUM_IMAGES * 4 * 49, 1), draws(6 * 2 * 9, 2), draws(6, 3));
            let train = case.forward(Pass::Train, &input, &weights, &biases);
            assert_eq!(train, case.forward(Pass::Eval, &input, &weights, &biases));
        }
    }
}
