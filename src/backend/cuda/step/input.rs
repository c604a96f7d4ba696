//! The first layer's input: images as the convolution takes them.

use std::sync::Arc;

use half::f16;

use crate::backend::cuda::driver::{Buffer, Context, Slice, Stream};
use crate::backend::cuda::kernels::{Kernels, OCTET, Scalars};
use crate::backend::cuda::libraries::convolution::ConvolutionShape;
use crate::backend::cuda::real::Real;
use crate::error::Result;
use crate::model::ConvBlock;

/// Side of the blocks of pixels that space-to-depth makes channels of: the stride of the paper's conv1.
pub const BLOCK: usize = 4;
/// Channels of such a block: 4 x 4 pixels of 3 channels are 48, and tensor cores like 64 better.
pub const BLOCK_CHANNELS: usize = 64;
/// Side of the filters in blocks: 11 pixels and a padded one.
pub const BLOCK_KERNEL: usize = 3;
/// Channels of an image.
pub const COLOURS: usize = 3;
/// Channels of a pixel that is no block: the fewest that tensor cores take.
pub const PADDED_CHANNELS: usize = OCTET;

/// In what form the first convolution takes images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputForm {
    /// (N, blocks, blocks, 64): filters of up to 12 x 12 with stride 4 become filters of 3 x 3 blocks with stride 1,
    /// which fill the tensor cores' channels.
    SpaceToDepth,
    /// (N, canvas, canvas, 8), for any other convolution.
    Padded,
}

impl InputForm {
    /// Space-to-depth where it is exact.
    pub fn of(conv: &ConvBlock) -> Self {
        let is_exact = conv.stride == BLOCK && conv.pad == 0 && conv.kernel <= BLOCK_KERNEL * BLOCK;
        if is_exact { Self::SpaceToDepth } else { Self::Padded }
    }

    /// The convolution of that input.
    pub fn shape(self, conv: &ConvBlock, num_samples: usize) -> ConvolutionShape {
        let own = super::conv_block::shape(conv, num_samples);
        match self {
            Self::SpaceToDepth => ConvolutionShape {
                in_channels: BLOCK_CHANNELS,
                // The last blocks may reach over the canvas, where there are zeros.
                in_side: conv.conv_side + BLOCK_KERNEL - 1,
                kernel: BLOCK_KERNEL,
                stride: 1,
                ..own
            },
            Self::Padded => ConvolutionShape { in_channels: PADDED_CHANNELS, ..own },
        }
    }
}

/// The input of the step that runs.
#[derive(Debug)]
pub struct ArrangedInput<R> {
    /// (N, side, side, channels), as the form has them.
    pub values: Buffer<R>,
    form: InputForm,
    shape: ConvolutionShape,
    canvas: usize,
}

impl<R: Real> ArrangedInput<R> {
    pub fn new(context: &Arc<Context>, conv: &ConvBlock, num_samples: usize) -> Result<Self> {
        let form = InputForm::of(conv);
        let shape = form.shape(conv, num_samples);
        let values = Buffer::zeros(context, "the arranged input", shape.input_values())?;
        Ok(Self { values, form, shape, canvas: conv.in_side })
    }

    /// Enqueues the arranging of images (N, 3, canvas, canvas).
    pub fn arrange(
        &mut self,
        kernels: &Kernels<R>,
        stream: &Stream,
        images: Slice<'_, f16>,
        scalars: Slice<'_, Scalars>,
    ) -> Result<()> {
        let (ConvolutionShape { num_samples, in_side, .. }, canvas) = (self.shape, self.canvas);
        let to = &mut self.values.all_mut();
        match self.form {
            InputForm::SpaceToDepth => kernels.arrange_input(stream, images, to, scalars, num_samples, canvas, in_side),
            InputForm::Padded => kernels.pad_input(stream, images, to, scalars, num_samples, canvas),
        }
    }
}
