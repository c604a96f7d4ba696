//! Wide vectors: compiles a call a second time for AVX2 and FMA, and takes that where the processor has them.
//!
//! The loops are plain Rust, and the compiler neither reorders sums nor fuses on its own: the bits are the same with
//! and without, but where [`super::product`] asks for fused multiply-adds.

/// Makes a call, compiled for AVX2 and FMA where the processor has them.
///
/// To gain, what is called must be `#[inline(always)]` all the way down, and so must the closure: a large one else
/// stays a function of its own, without AVX2. A macro, since each of the two calls needs its own copy.
macro_rules! wide {
    ($call:expr) => {
        match $crate::backend::cpu::wide::Avx2::detect() {
            Some(avx2) => avx2.run(
                #[inline(always)]
                || $call,
            ),
            None => $call,
        }
    };
}
pub(super) use wide;

/// The knowledge that the processor has AVX2 and FMA.
#[derive(Clone, Copy)]
pub struct Avx2(());

impl Avx2 {
    /// Asks the processor; the answer is cached by the standard library.
    #[inline(always)]
    pub fn detect() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            return Some(Self(()));
        }
        None
    }

    /// Runs `body`, compiled for AVX2 and FMA.
    #[inline(always)]
    pub fn run<R>(self, body: impl FnOnce() -> R) -> R {
        #[cfg(target_arch = "x86_64")]
        {
            // SAFETY: only `detect` makes an `Avx2`, and only where the processor has both.
            #[expect(unsafe_code, reason = "calls a function compiled for features that were found")]
            unsafe {
                with_avx2(body)
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        body()
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn with_avx2<R>(body: impl FnOnce() -> R) -> R {
    body()
}
