//! kernels/pooled_lrn.cu.

use super::fixture::Fixture;
use super::outputs::{Outputs, Tolerance};
use super::tail_input::{LRN, OTHER_LRNS, POOL, SHAPES, TailInput};
use super::values::wide;
use crate::backend::cuda::real::Real;
use crate::error::Result;
use crate::model::{Lrn, Tail};

fn operations(lrn: Lrn) -> [Tail; 3] {
    [Tail::Relu, POOL, Tail::Lrn(lrn)]
}

fn inputs<R: Real>(lrn: Lrn) -> impl Iterator<Item = TailInput<R>> {
    SHAPES.into_iter().map(move |shape| TailInput::new(shape, &operations(lrn)))
}

fn lrns() -> impl Iterator<Item = Lrn> {
    std::iter::once(LRN).chain(OTHER_LRNS)
}

pub fn pooled_lrn_forward<R: Real>(on: &Fixture<R>, outputs: &mut Outputs) -> Result<()> {
    let with_nan = TailInput::with_nan(&operations(LRN));
    for input in lrns().flat_map(inputs).chain([with_nan]) {
        let expected = input.expected();
        let (convolved, bias) = (on.upload(&input.convolved)?, on.upload(&input.bias)?);
        let (argmax, mut output) = (on.upload(&expected.argmax)?, on.poisoned::<R>(input.output_gradient.len())?);
        on.kernels()?.pooled_lrn_forward(
            &on.stream,
            convolved.all(),
            bias.all(),
            argmax.all(),
            &mut output.all_mut(),
            input.num_samples,
            &input.tail,
        )?;
        let (ours, tolerance) = (wide(&on.read(&output)?), Tolerance::rounded::<R>(&expected.output));
        outputs.push(format!("output {}", input.name()), &input.out_axes(), ours, expected.output, tolerance);
    }
    Ok(())
}

pub fn pooled_lrn_backward<R: Real>(on: &Fixture<R>, outputs: &mut Outputs) -> Result<()> {
    for (lrn, input) in lrns().flat_map(|lrn| inputs(lrn).map(move |input| (lrn, input))) {
        let expected = input.expected();
        let (convolved, bias) = (on.upload(&input.convolved)?, on.upload(&input.bias)?);
        let (argmax, mut gradient) = (on.upload(&expected.argmax)?, on.upload(&input.output_gradient)?);
        on.kernels()?.pooled_lrn_backward(
            &on.stream,
            convolved.all(),
            bias.all(),
            argmax.all(),
            &mut gradient.all_mut(),
            input.num_samples,
            &input.tail,
        )?;
        let (ours, theirs) = (wide(&on.read(&gradient)?), input.pooled_gradient(lrn, &expected.pooled));
        let tolerance = Tolerance::rounded::<R>(&theirs);
        outputs.push(format!("pooled gradient {}", input.name()), &input.out_axes(), ours, theirs, tolerance);
    }
    Ok(())
}
