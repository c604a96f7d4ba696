//! Weights, velocities and gradients on the device.

use std::sync::Arc;

use super::layout::{DeviceLayout, DeviceTensors};
use crate::backend::BackendOptions;
use crate::backend::cuda::driver::{Buffer, Context, Slice, SliceMut, Stream};
use crate::backend::cuda::kernels::{Kernels, Scalars};
use crate::backend::cuda::options::UpdateWidth;
use crate::backend::cuda::real::Real;
use crate::error::Result;
use crate::model::{Network, Parameters};
use crate::recipe::settings::UpdateRule;

/// All of a network's, each kind in one buffer.
#[derive(Debug)]
pub struct Weights<R: Real> {
    layout: DeviceLayout,
    values: Buffer<f32>,
    velocities: Buffer<f32>,
    gradients: Buffer<R>,
    /// What products take; none where the values themselves serve.
    working: Option<Buffer<R>>,
    /// On the host: the largest layer on its way.
    staging: Vec<f32>,
}

impl<R: Real> Weights<R> {
    pub fn new(context: &Arc<Context>, network: &Network) -> Result<Self> {
        let layout = DeviceLayout::new(network);
        let len = layout.num_values();
        let working = (!R::IS_MASTER).then(|| Buffer::zeros(context, "working weights", len)).transpose()?;
        Ok(Self {
            values: Buffer::zeros(context, "weights", len)?,
            velocities: Buffer::zeros(context, "velocities", len)?,
            gradients: Buffer::zeros(context, "gradients", len)?,
            working,
            staging: vec![0.0; layout.largest()],
            layout,
        })
    }

    /// Bytes on the device.
    pub fn num_bytes(&self) -> u64 {
        let working = self.working.as_ref().map_or(0, Buffer::num_bytes);
        self.values.num_bytes() + self.velocities.num_bytes() + self.gradients.num_bytes() + working
    }

    /// Takes weights and velocities over; nothing that uses them may be under way. The working weights follow on
    /// `stream`.
    pub fn load(&mut self, kernels: &Kernels<R>, stream: &Stream, parameters: &Parameters) -> Result<()> {
        let kinds = [(&parameters.values, &mut self.values), (&parameters.velocities, &mut self.velocities)];
        for (from, to) in kinds {
            for (place, tensors) in parameters.layout.layers().iter().zip(self.layout.layers()) {
                let staging = &mut self.staging[..tensors.all.len()];
                tensors.write_device(&from[place.weight.clone()], &from[place.bias.clone()], staging);
                to.part_mut(tensors.all.clone()).write(staging)?;
            }
        }
        // A copy from pageable memory may return before its last part has arrived, and no other stream waits for it.
        stream.context().synchronize()?;
        match &mut self.working {
            Some(working) => kernels.cast(stream, self.values.all(), &mut working.all_mut()),
            None => Ok(()),
        }
    }

    /// Copies weights and velocities out; nothing that writes them may be under way.
    pub fn store(&mut self, parameters: &mut Parameters) -> Result<()> {
        let layers = parameters.layout.layers();
        for (from, to) in [(&self.values, &mut parameters.values), (&self.velocities, &mut parameters.velocities)] {
            for (place, tensors) in layers.iter().zip(self.layout.layers()) {
                let staging = &mut self.staging[..tensors.all.len()];
                from.part(tensors.all.clone()).read(staging)?;
                let (weights, biases) = to[place.all()].split_at_mut(place.weight.len());
                tensors.read_device(staging, weights, biases);
            }
        }
        Ok(())
    }

    /// The gradients of the last step, where the border has the values; nothing that writes them may be under way.
    pub fn store_gradients(&mut self, parameters: &mut Parameters) -> Result<()> {
        let mut read = vec![R::zeroed(); self.layout.largest()];
        for (place, tensors) in parameters.layout.layers().iter().zip(self.layout.layers()) {
            let (read, staging) = (&mut read[..tensors.all.len()], &mut self.staging[..tensors.all.len()]);
            self.gradients.part(tensors.all.clone()).read(read)?;
            for (to, from) in staging.iter_mut().zip(read) {
                *to = from.to_f32();
            }
            let (weights, biases) = parameters.values[place.all()].split_at_mut(place.weight.len());
            tensors.read_device(staging, weights, biases);
        }
        Ok(())
    }

    /// A layer's weights and biases for its products, and room for its gradients.
    pub fn layer(&mut self, layer: usize) -> LayerWeights<'_, R> {
        let DeviceTensors { weight, bias, .. } = self.layout.layers()[layer].clone();
        let working = match &self.working {
            Some(working) => working.all(),
            None => self.values.all().cast(),
        };
        let (weight_gradient, bias_gradient) = self.gradients.all_mut().split(weight.clone(), bias.clone());
        LayerWeights {
            weight: working.part(weight),
            bias: working.part(bias.clone()),
            master_bias: self.values.part(bias),
            weight_gradient,
            bias_gradient,
        }
    }

    /// Enqueues a layer's update.
    pub fn update(
        &mut self,
        kernels: &Kernels<R>,
        stream: &Stream,
        layer: usize,
        scalars: Slice<'_, Scalars>,
        options: &BackendOptions,
        width: UpdateWidth,
    ) -> Result<()> {
        let DeviceTensors { all, bias, bias_rule, .. } = self.layout.layers()[layer].clone();
        let mut working = self.working.as_mut().map(|working| working.part_mut(all.clone()));
        kernels.update(
            stream,
            &mut self.values.part_mut(all.clone()),
            &mut self.velocities.part_mut(all.clone()),
            self.gradients.part(all.clone()),
            working.as_mut(),
            scalars,
            options.update,
            bias.start - all.start,
            UpdateRule { weight_decay: bias_rule.weight_decay(options.update.weight_decay), ..options.update },
            bias_rule.rate,
            width,
        )
    }
}

/// What a layer's products read and write.
#[derive(Debug)]
pub struct LayerWeights<'a, R> {
    /// (O, KH, KW, I) or (out, in).
    pub weight: Slice<'a, R>,
    /// (O).
    pub bias: Slice<'a, R>,
    /// The same in f32.
    pub master_bias: Slice<'a, f32>,
    pub weight_gradient: SliceMut<'a, R>,
    pub bias_gradient: SliceMut<'a, R>,
}
