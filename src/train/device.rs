//! Which backend computes: the one place where a device's name becomes a type.

use std::num::NonZeroUsize;

use super::options::{DeviceChoice, PrecisionChoice, check_device};
use crate::backend::cpu::CpuBackend;
use crate::backend::synthetic::SyntheticBackend;
use crate::backend::{Backend, BackendOptions};
use crate::clock::Clock;
use crate::error::Result;
use crate::model::Network;

/// What the command line says of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceOptions {
    /// Who computes.
    pub device: DeviceChoice,
    /// In which numbers.
    pub precision: PrecisionChoice,
    /// Threads that compute on the CPU; by default all cores.
    pub threads: Option<NonZeroUsize>,
}

/// Something to do with a backend, whichever it is.
pub trait OnBackend {
    /// What comes of it.
    type Output;
    /// Does it.
    fn run<B: Backend>(self, backend: B) -> Result<Self::Output>;
}

/// Makes the backend that was asked for and gives it to `task`. A device or precision that this build has not is an error.
pub fn on_backend<T: OnBackend>(
    chosen: DeviceOptions,
    network: &Network,
    options: BackendOptions,
    task: T,
) -> Result<T::Output> {
    check_device(chosen.device, chosen.precision)?;
    match chosen.device {
        DeviceChoice::Synthetic(pace) => task.run(SyntheticBackend::new(network, options, pace, Clock::Wall)),
        DeviceChoice::Auto | DeviceChoice::Cpu | DeviceChoice::Cuda(_) => {
            task.run(CpuBackend::new(network, options, chosen.threads))
        }
    }
}
