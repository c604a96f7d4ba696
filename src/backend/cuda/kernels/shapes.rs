//! The grids of the kernels: from the shapes of the data alone, so that sums are added in the same order on every GPU.

use super::OCTET;
use crate::backend::cuda::driver::LaunchShape;
use crate::backend::cuda::options::UpdateWidth;

/// Threads of a block, as `__launch_bounds__` has them.
pub const BLOCK_THREADS: usize = 256;

/// Parts of the batch whose bias gradients are summed each for itself, at most: eight blocks for each of the 132
/// multiprocessors of an H100.
const MOST_PARTIALS: usize = 1056;

/// Strips of rows that conv_tail_forward makes of a sample: with the paper's shapes and 128 samples two full waves of
/// blocks, or one, on 132 multiprocessors (computed, not measured). A strip reads one row that is another's too.
const STRIPS: usize = 3;

/// Threads of a block of conv_tail_backward at most, as its `TAIL_BACKWARD_THREADS`.
const TAIL_BACKWARD_THREADS: usize = 160;

/// Parts of the batch that conv_tail_backward makes at most: four blocks for each of 132 multiprocessors, all at once.
const MOST_TAIL_PARTS: usize = 528;

/// Octets of channels that a block takes at most where it need not see all of them: 512 bytes of bf16 in a row.
const MOST_OCTETS: usize = 32;

/// Octets of channels that a block takes where it must see all of them, at most.
pub const MOST_NORMALISED_OCTETS: usize = TAIL_BACKWARD_THREADS;

pub fn shape(grid: [usize; 3], block: [usize; 2]) -> LaunchShape {
    let size = |count: usize| u32::try_from(count).unwrap_or_else(|_| panic!("a grid of {grid:?} blocks"));
    LaunchShape {
        grid: (size(grid[0]), size(grid[1]), size(grid[2])),
        block: (size(block[0]), size(block[1]), 1),
        shared_bytes: 0,
    }
}

/// One thread for each octet of `count` values.
pub fn octets(count: usize) -> LaunchShape {
    assert_eq!(count % OCTET, 0, "{count} values, and octets of them");
    shape([(count / OCTET).div_ceil(BLOCK_THREADS), 1, 1], [BLOCK_THREADS, 1])
}

/// Octets of a block, and blocks beside one another, over the channels.
fn channel_tiles(channels: usize) -> (usize, usize) {
    assert_eq!(channels % OCTET, 0, "{channels} channels, and octets of them");
    let octets = channels / OCTET;
    let tiles = octets.div_ceil(MOST_OCTETS);
    (octets.div_ceil(tiles), tiles)
}

/// A block of (octets, rows) threads for all channels of each of its rows.
fn all_channels(channels: usize) -> [usize; 2] {
    let octets = channels / OCTET;
    assert!(octets <= MOST_NORMALISED_OCTETS, "{channels} channels, room for {}", MOST_NORMALISED_OCTETS * OCTET);
    [octets, BLOCK_THREADS / octets]
}

/// Parts over which the bias gradient of (rows, channels) is summed.
pub fn num_bias_partials(rows: usize, channels: usize) -> usize {
    let (octets, _) = channel_tiles(channels);
    rows.div_ceil(BLOCK_THREADS / octets).min(MOST_PARTIALS)
}

pub fn arrange_input(num_samples: usize, side: usize) -> LaunchShape {
    shape([num_samples * side, side.div_ceil(BLOCK_THREADS / 4), 1], [BLOCK_THREADS, 1])
}

/// One thread a pixel.
pub fn pad_input(num_samples: usize, canvas: usize) -> LaunchShape {
    shape([(num_samples * canvas * canvas).div_ceil(BLOCK_THREADS), 1, 1], [BLOCK_THREADS, 1])
}

pub fn conv_tail_forward(num_samples: usize, channels: usize, out_side: usize) -> LaunchShape {
    let (octets, channel_tiles) = channel_tiles(channels);
    // One column more than a block's windows begin in.
    let column_tiles = out_side.div_ceil(BLOCK_THREADS / octets - 1);
    let columns = out_side.div_ceil(column_tiles);
    shape([num_samples * out_side.min(STRIPS), column_tiles, channel_tiles], [octets, columns + 1])
}

/// Pairs of columns that a block of conv_tail_backward takes of a sample, and how many blocks' width a sample has.
fn tail_columns(channels: usize, side: usize) -> (usize, usize) {
    let pairs = side.div_ceil(2);
    let tiles = pairs.div_ceil(TAIL_BACKWARD_THREADS / (channels / OCTET));
    (pairs.div_ceil(tiles), tiles)
}

/// Parts over which conv_tail_backward sums the bias gradient.
pub fn num_tail_partials(num_samples: usize, channels: usize, side: usize) -> usize {
    let (_, tiles) = tail_columns(channels, side);
    (num_samples * tiles * side.div_ceil(2)).min(MOST_TAIL_PARTS)
}

pub fn conv_tail_backward(channels: usize, side: usize, num_partials: usize) -> LaunchShape {
    let (columns, _) = tail_columns(channels, side);
    shape([num_partials, 1, 1], [channels / OCTET, columns])
}

/// `num_pixels` pooled ones.
pub fn pooled_lrn(num_pixels: usize, channels: usize) -> LaunchShape {
    let block = all_channels(channels);
    shape([num_pixels.div_ceil(block[1]), 1, 1], block)
}

pub fn bias_relu_backward(channels: usize, num_partials: usize) -> LaunchShape {
    let (octets, tiles) = channel_tiles(channels);
    shape([num_partials, tiles, 1], [octets, BLOCK_THREADS / octets])
}

pub fn sum_bias_partials(channels: usize) -> LaunchShape {
    shape([channels.div_ceil(32), 1, 1], [32, 32])
}

pub fn dense_backward(units: usize) -> LaunchShape {
    assert_eq!(units % OCTET, 0, "{units} units, and octets of them");
    shape([(units / OCTET).div_ceil(4), 1, 1], [4, 64])
}

/// Threads of a block of update: one block, or two, fill a multiprocessor.
const UPDATE_THREADS: usize = 1024;

/// Blocks of a narrow update. With 80 bytes a thread under way each reads and writes some 80 GB/s (computed: 1 us of
/// latency), so 24 of them need two thirds of the backward pass of an H100 for the weights of fc6, fc7 and fc8.
const NARROW_BLOCKS: usize = 24;

/// A thread takes octets of `count` values by turns.
pub fn update(count: usize, width: UpdateWidth) -> LaunchShape {
    assert_eq!(count % OCTET, 0, "{count} values, and octets of them");
    let blocks = (count / OCTET).div_ceil(UPDATE_THREADS);
    let blocks = match width {
        UpdateWidth::Narrow => blocks.min(NARROW_BLOCKS),
        UpdateWidth::Wide => blocks,
    };
    shape([blocks, 1, 1], [UPDATE_THREADS, 1])
}

/// One block a sample.
pub fn softmax_cross_entropy(num_samples: usize) -> LaunchShape {
    shape([num_samples, 1, 1], [BLOCK_THREADS, 1])
}

pub fn begin_step() -> LaunchShape {
    shape([1, 1, 1], [1, 1])
}

pub fn collect_statistics() -> LaunchShape {
    shape([1, 1, 1], [BLOCK_THREADS, 1])
}

/// One thread for each octet of (out_channels, 3, 3, 64).
pub fn mask_taps(out_channels: usize) -> LaunchShape {
    octets(out_channels * 9 * 64)
}
