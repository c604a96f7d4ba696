//! The update and the cast of kernels/update.cu.

use super::fixture::Fixture;
use super::outputs::{Outputs, Tolerance};
use super::values::{bits, reals, wide};
use crate::backend::cpu::update::Update;
use crate::backend::cuda::kernels::Scalars;
use crate::backend::cuda::options::UpdateWidth;
use crate::backend::cuda::real::Real;
use crate::error::Result;
use crate::model::BiasRule;
use crate::model::layers::BiasDecay;
use crate::recipe::settings::UpdateRule;

/// More than a narrow update takes at once.
const COUNT: usize = 8 * 30_000;
const FIRST_BIAS: usize = 8 * 29_990;
const RATE: f32 = 0.01;

/// Two updates a rule, since the second one's velocity counts. Both devices compute the same bits.
pub fn update<R: Real>(on: &Fixture<R>, outputs: &mut Outputs) -> Result<()> {
    let caffes = BiasRule { rate: 2.0, decay: BiasDecay::Off };
    for (rule, name) in [(BiasRule::AS_WEIGHTS, "biases as weights"), (caffes, "biases of their own")] {
        let weights = UpdateRule::PAPER;
        let biases = UpdateRule { weight_decay: rule.weight_decay(weights.weight_decay), ..weights };
        let (mut values, mut velocities) = (reals::<f32>(COUNT, 1), reals::<f32>(COUNT, 2));
        let (mut own_values, mut own_velocities) = (on.upload(&values)?, on.upload(&velocities)?);
        let mut working = on.poisoned::<R>(COUNT)?;
        let scalars = on.upload(&[Scalars { step: 7, learning_rate: RATE, num_valid: 1 }])?;
        for (stream, width) in [(3, UpdateWidth::Narrow), (4, UpdateWidth::Wide)] {
            let gradients = reals::<R>(COUNT, stream);
            let on_device = on.upload(&gradients)?;
            let working = &mut working.all_mut();
            on.kernels()?.update(
                &on.stream,
                &mut own_values.all_mut(),
                &mut own_velocities.all_mut(),
                on_device.all(),
                (!R::IS_MASTER).then_some(working),
                scalars.all(),
                weights,
                FIRST_BIAS,
                biases,
                rule.rate,
                width,
            )?;
            let gradients: Vec<f32> = gradients.iter().map(|gradient| gradient.to_f32()).collect();
            let update = Update::new(&weights, RATE);
            for (update, at) in [(update, 0..FIRST_BIAS), (update.of_biases(&rule), FIRST_BIAS..COUNT)] {
                update.update(&mut values[at.clone()], &mut velocities[at.clone()], &gradients[at]);
            }
            on.synchronize()?;
        }
        let axes = [("at", COUNT)];
        let mut push = |what: &str, ours, theirs| {
            outputs.push(format!("{what} of ({COUNT}), {name}"), &axes, ours, theirs, Tolerance::EXACT);
        };
        push("values", wide(&on.read(&own_values)?), wide(&values));
        push("velocities", wide(&on.read(&own_velocities)?), wide(&velocities));
        if !R::IS_MASTER {
            push("working values", wide(&on.read(&working)?), wide(&rounded::<R>(&values)));
        }
    }
    Ok(())
}

pub fn cast<R: Real>(on: &Fixture<R>, outputs: &mut Outputs) -> Result<()> {
    let mut values = reals::<f32>(8 * 300, 1);
    // Halves of bf16's last bit above 1 and above 1 + 2^-7, their neighbours, and the ends of the range.
    let edges = [1.003_906_2, 1.011_718_8, 1.003_906_4, f32::MAX, f32::MIN_POSITIVE, -0.0, f32::INFINITY, 1e-40];
    values[..8].copy_from_slice(&edges);
    let (input, mut working) = (on.upload(&values)?, on.poisoned::<R>(values.len())?);
    on.kernels()?.cast(&on.stream, input.all(), &mut working.all_mut())?;
    let (ours, theirs) = (bits(&on.read(&working)?), bits(&rounded::<R>(&values)));
    outputs.push(format!("bits of ({})", values.len()), &[("at", values.len())], ours, theirs, Tolerance::EXACT);
    Ok(())
}

fn rounded<R: Real>(values: &[f32]) -> Vec<R> {
    values.iter().map(|value| R::from_f32(*value)).collect()
}
