//! cuBLASLt's products of dense layers, beside their sums as the textbook has them.

use bytemuck::Pod;

use super::fixture::Fixture;
use super::outputs::{Outputs, Tolerance};
use super::values::{largest, reals, wide};
use crate::backend::compared::Axis;
use crate::backend::cuda::libraries::product::{CublasLt, DenseShape, Kind, Product, Units};
use crate::backend::cuda::libraries::tuning::Tuning;
use crate::backend::cuda::{Precision, Real};
use crate::error::Result;

/// Of factors cut off to TF32's ten bits, instead of rounded to them: each up to 2^-10 too small, and as much again.
const TF32: f64 = 1.0 / (1 << 8) as f64;
/// Of sums in f32 in any order, and of those by transforms.
const F32: f64 = 2e-5;

/// What a sum of products in that precision may be off.
pub fn summed<R: Real>(precision: Precision, expected: &[f64]) -> Tolerance {
    let of_largest = match precision {
        Precision::Tf32 => TF32,
        // Products of bf16 factors are exact in f32.
        Precision::Bf16 | Precision::F32 => F32,
    };
    Tolerance::rounded_within::<R>(of_largest * largest(expected))
}

/// One sample and the fewest features, sizes that no tile divides, and several tiles.
const SHAPES: [DenseShape; 3] = [
    DenseShape { num_samples: 1, inputs: 8, outputs: 8 },
    DenseShape { num_samples: 3, inputs: 72, outputs: 40 },
    DenseShape { num_samples: 130, inputs: 200, outputs: 136 },
];

/// The values of a dense layer.
struct Set<R> {
    shape: DenseShape,
    /// (N, inputs).
    input: Vec<R>,
    /// (outputs, inputs).
    weights: Vec<R>,
    /// (N, outputs).
    output_gradient: Vec<R>,
}

impl<R: Real> Set<R> {
    fn new(shape: DenseShape) -> Self {
        let DenseShape { num_samples, inputs, outputs } = shape;
        let (input, weights) = (reals(num_samples * inputs, 1), reals(outputs * inputs, 2));
        Self { shape, input, weights, output_gradient: reals(num_samples * outputs, 3) }
    }

    fn name(&self, tensor: &str) -> String {
        let DenseShape { num_samples, inputs, outputs } = self.shape;
        format!("{tensor} of ({num_samples}, {inputs}) to {outputs}")
    }

    /// Runs a product on copies of its factors; a forward one with the bias that lies at an address of the device.
    fn run<O: Pod>(
        &self,
        on: &Fixture<R>,
        kind: Kind,
        [left, right]: [&[R]; 2],
        bias: Option<u64>,
        num_outputs: usize,
    ) -> Result<Vec<O>> {
        let (library, mut tuning) = (CublasLt::new()?, Tuning::known());
        let product = Product::new(on.context(), &library, kind, self.shape, on.precision, bias, &mut tuning)?;
        let mut workspace = on.poisoned::<u8>(product.workspace_bytes().max(1))?;
        let (left, right, mut output) = (on.upload(left)?, on.upload(right)?, on.poisoned::<O>(num_outputs)?);
        product.run(&on.stream, &mut workspace, left.all(), right.all(), &mut output.all_mut())?;
        on.read(&output)
    }

    /// Visits every product of two values, by the places of input, weight and output.
    fn visit(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let DenseShape { num_samples, inputs, outputs } = self.shape;
        for sample in 0..num_samples {
            for output in 0..outputs {
                (0..inputs).for_each(|input| {
                    visit(sample * inputs + input, output * inputs + input, sample * outputs + output);
                });
            }
        }
    }

    /// With a bias (outputs).
    fn expected_output(&self, bias: &[f64]) -> Vec<f64> {
        let (input, weights) = (wide(&self.input), wide(&self.weights));
        let mut output: Vec<_> = bias.iter().copied().cycle().take(self.output_gradient.len()).collect();
        self.visit(|from, weight, to| output[to] += input[from] * weights[weight]);
        output
    }

    fn out_axes(&self) -> [Axis; 2] {
        [("n", self.shape.num_samples), ("unit", self.shape.outputs)]
    }
}

pub fn hidden<R: Real>(on: &Fixture<R>, outputs: &mut Outputs) -> Result<()> {
    for set in SHAPES.map(Set::<R>::new) {
        let bias = reals::<R>(set.shape.outputs, 4);
        let on_device = on.upload(&bias)?;
        let (kind, factors) = (Kind::Forward(Units::Hidden), [&set.weights[..], &set.input]);
        let ours: Vec<R> = set.run(on, kind, factors, Some(on_device.all().address()), set.output_gradient.len())?;
        let expected = set.expected_output(&wide(&bias));
        let tolerance = summed::<R>(on.precision, &expected);
        outputs.push(set.name("output"), &set.out_axes(), wide(&ours), expected, tolerance);
    }
    Ok(())
}

pub fn logits<R: Real>(on: &Fixture<R>, outputs: &mut Outputs) -> Result<()> {
    for set in SHAPES.map(Set::<R>::new) {
        let bias = reals::<f32>(set.shape.outputs, 4);
        let on_device = on.upload(&bias)?;
        let (kind, factors) = (Kind::Forward(Units::Logits), [&set.weights[..], &set.input]);
        let ours: Vec<f32> = set.run(on, kind, factors, Some(on_device.all().address()), set.output_gradient.len())?;
        let expected = set.expected_output(&wide(&bias));
        // They are never rounded to bf16.
        let tolerance = summed::<f32>(on.precision, &expected);
        outputs.push(set.name("logits"), &set.out_axes(), wide(&ours), expected, tolerance);
    }
    Ok(())
}

pub fn weight_gradient<R: Real>(on: &Fixture<R>, outputs: &mut Outputs) -> Result<()> {
    for set in SHAPES.map(Set::<R>::new) {
        let factors = [&set.input[..], &set.output_gradient];
        let ours: Vec<R> = set.run(on, Kind::WeightGradient, factors, None, set.weights.len())?;
        let (input, gradient) = (wide(&set.input), wide(&set.output_gradient));
        let mut expected = vec![0.0; set.weights.len()];
        set.visit(|from, weight, to| expected[weight] += input[from] * gradient[to]);
        let (axes, tolerance) =
            ([("output", set.shape.outputs), ("input", set.shape.inputs)], summed::<R>(on.precision, &expected));
        outputs.push(set.name("weight gradient"), &axes, wide(&ours), expected, tolerance);
    }
    Ok(())
}

pub fn input_gradient<R: Real>(on: &Fixture<R>, outputs: &mut Outputs) -> Result<()> {
    for set in SHAPES.map(Set::<R>::new) {
        let factors = [&set.weights[..], &set.output_gradient];
        let ours: Vec<R> = set.run(on, Kind::InputGradient, factors, None, set.input.len())?;
        let (weights, gradient) = (wide(&set.weights), wide(&set.output_gradient));
        let mut expected = vec![0.0; set.input.len()];
        set.visit(|from, weight, to| expected[from] += weights[weight] * gradient[to]);
        let (axes, tolerance) =
            ([("n", set.shape.num_samples), ("input", set.shape.inputs)], summed::<R>(on.precision, &expected));
        outputs.push(set.name("input gradient"), &axes, wide(&ours), expected, tolerance);
    }
    Ok(())
}
