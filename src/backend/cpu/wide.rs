//! Wide vectors: runs a loop with AVX2 where the processor has it.
//!
//! The loops are plain Rust, and the compiler never reorders their sums, so the bits are the same with and without.

/// Runs `body`, compiled for AVX2 where the processor has it. The body must be inlined to gain: pass a closure that
/// calls `#[inline(always)]` functions only.
#[inline(always)]
pub fn wide<R>(body: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the line above found AVX2, all that `with_avx2` asks for.
        #[expect(unsafe_code, reason = "calls a function compiled for a feature that was just found")]
        return unsafe { with_avx2(body) };
    }
    body()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<R>(body: impl FnOnce() -> R) -> R {
    body()
}
