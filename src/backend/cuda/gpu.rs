//! A GPU that can train, before there is a backend on it.

use std::sync::Arc;

use half::bf16;

use super::driver::Context;
use super::libraries::{self, Versions};
use super::{CudaBackend, CudaOptions, Precision};
use crate::backend::precision::PrecisionChoice;
use crate::backend::{Backend, BackendOptions};
use crate::error::Result;
use crate::model::Network;

/// A card and its libraries. Its context is current on the thread that opened it.
#[derive(Debug)]
pub struct Gpu {
    context: Arc<Context>,
    versions: Versions,
}

impl Gpu {
    /// Opens the libraries, and the card of that number.
    pub fn open(ordinal: u32) -> Result<Self> {
        let versions = libraries::open()?;
        Ok(Self { versions, context: Context::new(ordinal)? })
    }

    /// The card's context, which is current on the thread that opened it.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// The versions of the libraries that were opened.
    pub fn versions(&self) -> Versions {
        self.versions
    }

    /// The precision to compute in; an error where the card is too old.
    pub fn precision(&self, choice: PrecisionChoice) -> Result<Precision> {
        Precision::choose(choice, self.context.capability())
    }

    /// A backend with zero weights.
    pub fn backend(
        &self,
        network: &Network,
        options: BackendOptions,
        cuda: &CudaOptions,
        precision: Precision,
    ) -> Result<Box<dyn Backend>> {
        let (context, versions) = (&self.context, self.versions);
        Ok(match precision {
            Precision::Bf16 => {
                Box::new(CudaBackend::<bf16>::new(context, versions, network, options, cuda, precision)?)
            }
            Precision::Tf32 | Precision::F32 => {
                Box::new(CudaBackend::<f32>::new(context, versions, network, options, cuda, precision)?)
            }
        })
    }
}
