//! Which stream runs next: as late as is legal for some, at once for others.

use std::str::FromStr;

/// What kind of work an operation is, for schedules that delay one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A copy, or a fill.
    Copy,
    /// A kernel, a convolution, a product, a graph.
    Compute,
    /// An event's record.
    Event,
}

/// The order of what CUDA leaves open. What a schedule delays runs only when something that the host waits for needs
/// it.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// Everything as soon as it may, in the order of the calls.
    Prompt,
    LateCopies,
    LateCompute,
    LateEvents,
    /// Everything on the stream with this ordinal is late.
    LateStream(u32),
    /// Nothing runs unless the host waits for it.
    Lazy,
    /// A half of all operations, by this seed, is late; the other half runs in an order by this seed.
    Random(u64),
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, number) = text.split_once(':').map_or((text, None), |(name, number)| (name, Some(number)));
        let unknown = || {
            format!(
                "schedule {text:?}: expected prompt, late-copies, late-compute, late-events, late-stream:ORDINAL, lazy or random:SEED"
            )
        };
        let number = number.map(|number| number.parse::<u64>().map_err(|_| unknown())).transpose()?;
        match (name, number) {
            ("prompt", None) => Ok(Self::Prompt),
            ("late-copies", None) => Ok(Self::LateCopies),
            ("late-compute", None) => Ok(Self::LateCompute),
            ("late-events", None) => Ok(Self::LateEvents),
            ("late-stream", Some(ordinal)) => Ok(Self::LateStream(ordinal as u32)),
            ("lazy", None) => Ok(Self::Lazy),
            ("random", Some(seed)) => Ok(Self::Random(seed)),
            _ => Err(unknown()),
        }
    }
}

impl Schedule {
    /// Whether the operation with this number waits until it is needed.
    pub fn delays(&self, class: Class, stream: u32, number: u64) -> bool {
        match self {
            Self::Prompt => false,
            Self::LateCopies => class == Class::Copy,
            Self::LateCompute => class == Class::Compute,
            Self::LateEvents => class == Class::Event,
            Self::LateStream(late) => stream == *late,
            Self::Lazy => true,
            Self::Random(seed) => mixed(*seed, number) & 1 == 1,
        }
    }

    /// Which of `candidates` (numbers of operations that may run, never empty) runs now.
    pub fn choose(&self, candidates: &[u64], round: u64) -> usize {
        match self {
            Self::Random(seed) => (mixed(!*seed, round) % candidates.len() as u64) as usize,
            _ => (0..candidates.len()).min_by_key(|index| candidates[*index]).unwrap_or(0),
        }
    }

    /// In which order a kernel's blocks and threads run.
    pub fn thread_order(&self, number: u64) -> u32 {
        match self {
            Self::Prompt => 0,
            Self::Random(seed) => mixed(*seed ^ 0x5EED, number) as u32,
            _ => 1,
        }
    }
}

/// SplitMix64's finalizer over both numbers.
fn mixed(seed: u64, number: u64) -> u64 {
    let mut bits = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(number.wrapping_mul(0xD1B5_4A32_D192_ED03));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}
