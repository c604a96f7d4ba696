//! The stream: writes a slice from front to back, past the caches.
//!
//! An input is written once and next read by the device or by another core, batches later. Ordinary stores would
//! first read every line that they overwrite: a third of the traffic, for nothing. Whole lines are gathered in a stage
//! that stays in the first cache and leave it by non-temporal stores.
// Non-temporal stores go through pointers.
#![allow(unsafe_code)]

use std::arch::x86_64 as simd;
use std::arch::x86_64::__m256i;

use super::Value;

/// Bytes of a cache line: only whole lines can go past the caches.
const LINE_BYTES: usize = 64;
/// Values of the stage: some rows of an input, a small part of the first cache.
const STAGE_VALUES: usize = 2048;

/// What has been written but has not left yet.
#[repr(align(64))]
struct Stage<V>([V; STAGE_VALUES]);

/// The writer of one slice.
pub(super) struct Stream<'a, V> {
    /// What has not been written yet.
    out: &'a mut [V],
    stage: Stage<V>,
    /// The stage's values in use. Each lies as far from the beginning of a line as its place in `out` does.
    begin: usize,
    end: usize,
}

impl<'a, V: Value> Stream<'a, V> {
    const LINE: usize = LINE_BYTES / size_of::<V>();

    pub(super) fn new(out: &'a mut [V]) -> Self {
        let begin = (out.as_ptr() as usize % LINE_BYTES) / size_of::<V>();
        Self { out, stage: Stage([V::ZERO; STAGE_VALUES]), begin, end: begin }
    }

    /// Room for the next `len` values, which the caller fills.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn next(&mut self, len: usize) -> &mut [V] {
        if self.end + len > STAGE_VALUES {
            self.flush();
        }
        let begin = self.end;
        self.end += len;
        &mut self.stage.0[begin..self.end]
    }

    /// The next `len` values are 0.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn zeros(&mut self, mut len: usize) {
        while len > 0 {
            let part = len.min(STAGE_VALUES / 2);
            self.next(part).fill(V::ZERO);
            len -= part;
        }
    }

    /// Writes what is left; all of the slice has been given.
    #[target_feature(enable = "avx2")]
    pub(super) fn finish(mut self) {
        self.flush();
        let rest = &self.stage.0[self.begin..self.end];
        assert_eq!(rest.len(), self.out.len(), "values that are left");
        self.out.copy_from_slice(rest);
        // Non-temporal stores are not ordered by the locks and channels that hand a batch on.
        simd::_mm_sfence();
    }

    /// Lets all whole lines leave the stage.
    #[target_feature(enable = "avx2")]
    fn flush(&mut self) {
        let whole = self.end - self.end % Self::LINE;
        if whole == 0 {
            return;
        }
        if self.begin > 0 {
            // The first line belongs in part to whoever writes the slice before this one.
            self.copy_to(Self::LINE);
        }
        let out = std::mem::take(&mut self.out);
        let (lines, rest) = out.split_at_mut(whole - self.begin);
        let staged = self.stage.0[self.begin..whole].chunks_exact(Self::LINE);
        for (line, out) in staged.zip(lines.chunks_exact_mut(Self::LINE)) {
            stream_line(line, out);
        }
        self.out = rest;
        self.stage.0.copy_within(whole..self.end, 0);
        (self.begin, self.end) = (0, self.end - whole);
    }

    /// Writes the stage's values before `end` in the ordinary way.
    fn copy_to(&mut self, end: usize) {
        let out = std::mem::take(&mut self.out);
        let (ordinary, rest) = out.split_at_mut(end - self.begin);
        ordinary.copy_from_slice(&self.stage.0[self.begin..end]);
        (self.out, self.begin) = (rest, end);
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn stream_line<V>(line: &[V], out: &mut [V]) {
    assert!(size_of_val(line) == LINE_BYTES && size_of_val(out) == LINE_BYTES, "a line is {LINE_BYTES} bytes");
    let (line, out) = (line.as_ptr().cast::<__m256i>(), out.as_mut_ptr().cast::<__m256i>());
    assert!(line.is_aligned() && out.is_aligned(), "a line begins at a multiple of {LINE_BYTES}");
    for half in 0..2 {
        // SAFETY: `line` is aligned and has room for two halves, as asserted above.
        let values = unsafe { simd::_mm256_load_si256(line.add(half)) };
        // SAFETY: so has `out`, and it is borrowed for writing.
        unsafe { simd::_mm256_stream_si256(out.add(half), values) }
    }
}
