//! Numbers as they lie in a file, whatever the order of their dimensions, until they are gathered in ours.

use half::{bf16, f16};
use prost::bytes::Bytes;

/// The little-endian types that widen to f32 exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dtype {
    F32,
    F16,
    Bf16,
}

impl Dtype {
    pub(super) fn num_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// A tensor in a file: a change of its dimensions' order copies nothing.
#[derive(Clone, Debug)]
pub(super) struct View {
    bytes: Bytes,
    dtype: Dtype,
    /// The element at index 0 of every dimension.
    first: usize,
    dims: Vec<Dim>,
}

#[derive(Clone, Copy, Debug)]
struct Dim {
    len: usize,
    /// Elements from one index to the next; negative where the order is reversed.
    stride: isize,
}

impl View {
    /// `bytes` hold exactly the tensor, its last dimension fastest.
    pub(super) fn dense(bytes: Bytes, dtype: Dtype, shape: &[usize]) -> Result<Self, String> {
        let expected = num_values(shape).and_then(|values| values.checked_mul(dtype.num_bytes()));
        if expected != Some(bytes.len()) {
            return Err(format!("its data are {} bytes, which is not the shape {shape:?} in {dtype:?}", bytes.len()));
        }
        let mut strides = vec![1; shape.len()];
        for index in (1..shape.len()).rev() {
            strides[index - 1] = strides[index] * shape[index];
        }
        Self::strided(bytes, dtype, 0, shape, &strides)
    }

    /// A tensor within `bytes`, which never says more values than there are bytes for.
    pub(super) fn strided(
        bytes: Bytes,
        dtype: Dtype,
        first: usize,
        shape: &[usize],
        strides: &[usize],
    ) -> Result<Self, String> {
        let num_stored = bytes.len() / dtype.num_bytes();
        let last = shape
            .iter()
            .zip(strides)
            .try_fold(first, |last, (&len, &stride)| last.checked_add(len.checked_sub(1)?.checked_mul(stride)?));
        let fits = last.is_some_and(|last| last < num_stored);
        let is_shape = shape.len() == strides.len() && num_values(shape).is_some_and(|values| values <= num_stored);
        if !fits || !is_shape {
            return Err(format!(
                "its shape {shape:?} with the strides {strides:?} from {first} is not within {num_stored} stored values"
            ));
        }
        let dims = shape.iter().zip(strides).map(|(&len, &stride)| Dim { len, stride: stride as isize }).collect();
        Ok(Self { bytes, dtype, first, dims })
    }

    pub(super) fn shape(&self) -> Vec<usize> {
        self.dims.iter().map(|dim| dim.len).collect()
    }

    pub(super) fn num_values(&self) -> usize {
        self.shape().iter().product()
    }

    /// The dimensions in another order.
    pub(super) fn permuted<const N: usize>(mut self, order: [usize; N]) -> Self {
        self.dims = order.map(|dim| self.dims[dim]).to_vec();
        self
    }

    /// The dimensions from the last to the first.
    pub(super) fn transposed(mut self) -> Self {
        self.dims.reverse();
        self
    }

    /// A dimension as several, the last of them fastest; their lengths multiply to its own.
    pub(super) fn split(mut self, dim: usize, lens: &[usize]) -> Self {
        let Dim { len, mut stride } = self.dims.remove(dim);
        assert_eq!(lens.iter().product::<usize>(), len, "the parts {lens:?} of a dimension");
        for &len in lens.iter().rev() {
            self.dims.insert(dim, Dim { len, stride });
            stride *= len as isize;
        }
        self
    }

    /// A dimension from its end to its beginning.
    pub(super) fn reversed(mut self, dim: usize) -> Self {
        let Dim { len, stride } = &mut self.dims[dim];
        self.first = self.first.wrapping_add_signed((*len as isize - 1) * *stride);
        *stride = -*stride;
        self
    }

    /// Copies the values, the last dimension fastest.
    pub(super) fn gather(&self, out: &mut [f32]) {
        assert_eq!(out.len(), self.num_values(), "values of {:?}", self.shape());
        match self.dtype {
            Dtype::F32 => gather(&|at| f32::from_le_bytes(self.element(at)), self.first as isize, &self.dims, out),
            Dtype::F16 => {
                gather(&|at| f16::from_le_bytes(self.element(at)).to_f32(), self.first as isize, &self.dims, out);
            }
            Dtype::Bf16 => {
                gather(&|at| bf16::from_le_bytes(self.element(at)).to_f32(), self.first as isize, &self.dims, out);
            }
        }
    }

    fn element<const N: usize>(&self, at: isize) -> [u8; N] {
        let start = at as usize * N;
        self.bytes[start..start + N].try_into().expect("N bytes")
    }
}

fn num_values(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |product, &len| product.checked_mul(len))
}

fn gather(value: &impl Fn(isize) -> f32, at: isize, dims: &[Dim], out: &mut [f32]) {
    match dims {
        [] => out[0] = value(at),
        [last] => {
            for (index, out) in out.iter_mut().enumerate() {
                *out = value(at + index as isize * last.stride);
            }
        }
        [dim, inner @ ..] => {
            let num_inner = out.len() / dim.len;
            for (index, out) in out.chunks_exact_mut(num_inner).enumerate() {
                gather(value, at + index as isize * dim.stride, inner, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(shape: &[usize]) -> View {
        let values: Vec<f32> = (0..shape.iter().product::<usize>()).map(|value| value as f32).collect();
        View::dense(Bytes::copy_from_slice(bytemuck::cast_slice(&values)), Dtype::F32, shape).unwrap()
    }

    fn gathered(view: &View) -> Vec<f32> {
        let mut values = vec![0.0; view.num_values()];
        view.gather(&mut values);
        values
    }

    #[test]
    fn dimensions_change_places() {
        let view = counting(&[2, 3]).permuted([1, 0]);
        assert_eq!((view.shape(), gathered(&view)), (vec![3, 2], vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0]));
    }

    #[test]
    fn a_dimension_is_split_and_reversed() {
        let view = counting(&[2, 4]).split(1, &[2, 2]).reversed(1);
        assert_eq!((view.shape(), gathered(&view)), (vec![2, 2, 2], vec![2.0, 3.0, 0.0, 1.0, 6.0, 7.0, 4.0, 5.0]));
    }

    #[test]
    fn half_precision_widens_exactly() {
        let bytes: Vec<u8> = [1.5, -0.1].iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect();
        let view = View::dense(Bytes::from(bytes), Dtype::F16, &[2]).unwrap();
        assert_eq!(gathered(&view), [1.5, f16::from_f32(-0.1).to_f32()]);
    }

    #[test]
    fn shapes_beyond_the_data_are_refused() {
        let bytes = Bytes::from(vec![0; 16]);
        let refused = |first, shape: &[usize], strides: &[usize]| {
            View::strided(bytes.clone(), Dtype::F32, first, shape, strides).unwrap_err()
        };
        View::strided(bytes.clone(), Dtype::F32, 0, &[2, 2], &[2, 1]).unwrap();
        refused(1, &[2, 2], &[2, 1]);
        refused(0, &[2, 2], &[3, 1]);
        // A stride of 0 would make any number of values out of one.
        refused(0, &[1000, 1000], &[0, 0]);
        refused(0, &[usize::MAX, 2], &[usize::MAX, 1]);
        refused(0, &[0], &[1]);
        assert!(View::dense(bytes.clone(), Dtype::F32, &[3]).unwrap_err().contains("16 bytes"));
    }
}
