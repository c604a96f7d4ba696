//! The bench: what each stage can do alone, what they do together, and which of them holds the others up.
//!
//! In: a packed dataset and a backend. Out: a [`Report`]. The stages are measured in turns (input, upload, device, end to
//! end, input, ...), so that what else the machine does meets all of them alike.

mod device;
mod end_to_end;
mod input;
pub mod options;
pub mod overlap;
mod rates;
mod report;
pub mod resources;
pub(crate) mod subject;
mod upload;

use self::device::DeviceRound;
use self::end_to_end::EndToEndRound;
use self::input::InputRound;
pub use self::options::{Effort, Options, Stage};
pub use self::rates::Rates;
pub use self::report::Report;
use self::subject::Subject;
use self::upload::UploadRound;
use crate::backend::{Backend, Chosen, Work};
use crate::error::Result;
use crate::input::{Batch, Dtype};

/// What was measured of every stage that was asked for, round by round.
#[derive(Debug, Default)]
struct Rounds {
    input: Vec<InputRound>,
    upload: Vec<UploadRound>,
    device: Vec<DeviceRound>,
    end_to_end: Vec<EndToEndRound>,
}

/// Measures as `options` say.
pub fn run(options: &Options) -> Result<Report> {
    let chosen = Chosen::new(&options.compute)?;
    let subject = Subject::new(options)?;
    let workers = options.workers.unwrap_or_else(|| chosen.default_workers());
    if let (Some(Stage::Input), Some(dtype)) = (options.only, options.dtype) {
        let rounds = Rounds { input: input_rounds(&subject, workers, dtype, options.effort)?, ..Rounds::default() };
        return Ok(Report::new(&rounds, &subject, workers, dtype, None));
    }
    let network = subject.network.clone();
    let backend_options = subject.backend_options();
    chosen.run(&network, backend_options, Stages { subject, workers, options })
}

fn input_rounds(subject: &Subject, workers: usize, dtype: Dtype, effort: Effort) -> Result<Vec<InputRound>> {
    (0..effort.rounds).map(|round| input::round(subject, workers, dtype, effort, round)).collect()
}

/// The stages, before there is a backend.
struct Stages<'a> {
    subject: Subject,
    workers: usize,
    options: &'a Options,
}

impl Work for Stages<'_> {
    type Output = Report;

    fn run<B: Backend>(self, mut backend: B) -> Result<Report> {
        let Self { subject, workers, options } = self;
        let (dtype, effort) = (backend.input_dtype(), options.effort);
        let wanted = |stage| options.only.is_none_or(|only| only == stage);
        backend.load(&subject.parameters)?;
        let mut batches = match wanted(Stage::Upload) || wanted(Stage::Device) {
            true => subject.made_up_batches(dtype)?,
            false => Vec::new(),
        };
        let mut rounds = Rounds::default();
        for round in 0..effort.rounds {
            if wanted(Stage::Input) {
                rounds.input.push(input::round(&subject, workers, dtype, effort, round)?);
            }
            if wanted(Stage::Upload) {
                rounds.upload.push(upload::round(&mut backend, &mut batches, effort)?);
            }
            if wanted(Stage::Device) {
                rounds.device.push(device::round(&mut backend, &mut batches, effort)?);
            }
            if wanted(Stage::EndToEnd) {
                let measured;
                (backend, measured) = end_to_end::round(backend, &subject, workers, effort)?;
                rounds.end_to_end.push(measured);
            }
        }
        Ok(Report::new(&rounds, &subject, workers, dtype, Some(backend.device())))
    }
}

/// Puts a batch into each slot.
fn upload_both<B: Backend>(backend: &mut B, batches: &mut Vec<Batch>) -> Result<()> {
    for slot in subject::SLOTS {
        backend.upload(slot, batches.pop().expect("a made-up batch for each slot"))?;
    }
    Ok(())
}

/// Takes the batches of both slots back.
fn reclaim_both<B: Backend>(backend: &mut B, batches: &mut Vec<Batch>) -> Result<()> {
    for slot in subject::SLOTS {
        batches.extend(backend.reclaim(slot)?);
    }
    Ok(())
}
