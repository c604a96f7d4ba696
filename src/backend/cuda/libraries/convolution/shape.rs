//! What a convolution is: all that cuDNN is told, and all that its algorithms are chosen by.

/// (N, in_side, in_side, in_channels) to (N, out_side, out_side, out_channels).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvolutionShape {
    pub num_samples: usize,
    /// Channels of the input.
    pub in_channels: usize,
    /// Height and width of the input.
    pub in_side: usize,
    pub out_channels: usize,
    /// Height and width of the output.
    pub out_side: usize,
    /// Height and width of a kernel.
    pub kernel: usize,
    /// Pixels between the places of a kernel.
    pub stride: usize,
    /// Zeros around the input.
    pub pad: usize,
    /// Each group of output channels sees its group of input channels.
    pub groups: usize,
}

impl ConvolutionShape {
    pub(crate) fn input_values(&self) -> usize {
        self.num_samples * self.in_side * self.in_side * self.in_channels
    }

    pub(crate) fn kernel_values(&self) -> usize {
        self.out_channels * self.kernel * self.kernel * (self.in_channels / self.groups)
    }

    pub(crate) fn output_values(&self) -> usize {
        self.num_samples * self.out_side * self.out_side * self.out_channels
    }
}
