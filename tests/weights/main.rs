//! Weights of other programs come in, and ours go out.
//!
//! `tests/reference/make_weights.py` wrote the files, and PyTorch's answers.

mod bad_files;
mod exports;
mod formats;
mod narrow;
