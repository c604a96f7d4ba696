//! Which of cuDNN's algorithms a convolution runs with, in each direction.
//!
//! The known ones run on tensor cores and are bitwise reproducible. Where cuDNN refuses one for a shape, its
//! heuristics name another.

use std::mem::MaybeUninit;

use cudarc::cudnn::sys::{
    self, cudnnConvolutionBwdDataAlgo_t as InputGradientAlgorithm,
    cudnnConvolutionBwdDataAlgoPerf_t as InputGradientAnswer,
    cudnnConvolutionBwdFilterAlgo_t as WeightGradientAlgorithm,
    cudnnConvolutionBwdFilterAlgoPerf_t as WeightGradientAnswer, cudnnConvolutionFwdAlgo_t as ForwardAlgorithm,
    cudnnConvolutionFwdAlgoPerf_t as ForwardAnswer, cudnnDeterminism_t, cudnnFilterDescriptor_t, cudnnStatus_t,
    cudnnTensorDescriptor_t,
};

use super::descriptors::Description;
use super::handle::{check, is_refusal};
use crate::backend::cuda::driver::{Buffer, SliceMut};
use crate::backend::cuda::libraries::tuning::{Candidate, Tuning};
use crate::error::{Error, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Forward,
    /// The gradient of the kernels.
    WeightGradient,
    /// The gradient of the input.
    InputGradient,
}

/// An algorithm and the working memory that it needs.
#[derive(Clone, Copy, Debug)]
pub struct Chosen<A> {
    /// As cuDNN names it.
    pub algorithm: A,
    pub workspace_bytes: usize,
}

impl<A> Chosen<A> {
    /// Exactly as much of the working memory: by its size cuDNN chooses the kernel that runs.
    pub fn workspace<'a>(&self, all: &'a mut Buffer<u8>) -> SliceMut<'a, u8> {
        all.part_mut(0..self.workspace_bytes)
    }
}

/// More answers than cuDNN has for any direction.
const MAX_ANSWERS: usize = 16;

/// Handle, two descriptors, the operation's, a third; room for answers, how many were written, and they.
type Ask<A, B, C, Answer> = unsafe fn(
    sys::cudnnHandle_t,
    A,
    B,
    sys::cudnnConvolutionDescriptor_t,
    C,
    i32,
    *mut i32,
    *mut Answer,
) -> cudnnStatus_t;

/// Handle and descriptors likewise, an algorithm; its bytes.
type WorkspaceSize<A, B, C, Algorithm> =
    unsafe fn(sys::cudnnHandle_t, A, B, sys::cudnnConvolutionDescriptor_t, C, Algorithm, *mut usize) -> cudnnStatus_t;

/// How cuDNN is asked about a direction: the directions differ in nothing but types.
struct Questions<A, B, C, Algorithm, Answer> {
    direction: Direction,
    descriptors: (A, B, C),
    known: Algorithm,
    workspace_size: WorkspaceSize<A, B, C, Algorithm>,
    heuristics: Ask<A, B, C, Answer>,
    find: Ask<A, B, C, Answer>,
    read: fn(&Answer) -> (cudnnStatus_t, Algorithm, Candidate),
    number: fn(Algorithm) -> u32,
}

/// output = input * kernels.
pub fn forward(on: &Description, tuning: &mut Tuning) -> Result<Chosen<ForwardAlgorithm>> {
    let questions = Questions::<_, cudnnFilterDescriptor_t, cudnnTensorDescriptor_t, _, ForwardAnswer> {
        direction: Direction::Forward,
        descriptors: (on.input.0, on.kernels.0, on.output.0),
        known: ForwardAlgorithm::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM,
        workspace_size: sys::cudnnGetConvolutionForwardWorkspaceSize,
        heuristics: sys::cudnnGetConvolutionForwardAlgorithm_v7,
        find: sys::cudnnFindConvolutionForwardAlgorithm,
        read: |it| (it.status, it.algo, candidate(it.algo as u32, it.time, it.memory, it.determinism)),
        number: |algorithm| algorithm as u32,
    };
    questions.choose(on, tuning)
}

/// The gradient of the kernels.
pub fn weight_gradient(on: &Description, tuning: &mut Tuning) -> Result<Chosen<WeightGradientAlgorithm>> {
    let questions = Questions::<_, cudnnTensorDescriptor_t, cudnnFilterDescriptor_t, _, WeightGradientAnswer> {
        direction: Direction::WeightGradient,
        descriptors: (on.input.0, on.output.0, on.kernels.0),
        known: WeightGradientAlgorithm::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1,
        workspace_size: sys::cudnnGetConvolutionBackwardFilterWorkspaceSize,
        heuristics: sys::cudnnGetConvolutionBackwardFilterAlgorithm_v7,
        find: sys::cudnnFindConvolutionBackwardFilterAlgorithm,
        read: |it| (it.status, it.algo, candidate(it.algo as u32, it.time, it.memory, it.determinism)),
        number: |algorithm| algorithm as u32,
    };
    questions.choose(on, tuning)
}

/// The gradient of the input.
pub fn input_gradient(on: &Description, tuning: &mut Tuning) -> Result<Chosen<InputGradientAlgorithm>> {
    let questions = Questions::<_, cudnnTensorDescriptor_t, cudnnTensorDescriptor_t, _, InputGradientAnswer> {
        direction: Direction::InputGradient,
        descriptors: (on.kernels.0, on.output.0, on.input.0),
        known: InputGradientAlgorithm::CUDNN_CONVOLUTION_BWD_DATA_ALGO_1,
        workspace_size: sys::cudnnGetConvolutionBackwardDataWorkspaceSize,
        heuristics: sys::cudnnGetConvolutionBackwardDataAlgorithm_v7,
        find: sys::cudnnFindConvolutionBackwardDataAlgorithm,
        read: |it| (it.status, it.algo, candidate(it.algo as u32, it.time, it.memory, it.determinism)),
        number: |algorithm| algorithm as u32,
    };
    questions.choose(on, tuning)
}

fn candidate(algorithm: u32, milliseconds: f32, workspace_bytes: usize, determinism: cudnnDeterminism_t) -> Candidate {
    let is_repeatable = determinism == cudnnDeterminism_t::CUDNN_DETERMINISTIC;
    Candidate { algorithm, milliseconds, workspace_bytes, is_repeatable }
}

impl<A: Copy, B: Copy, C: Copy, Algorithm: Copy, Answer> Questions<A, B, C, Algorithm, Answer> {
    fn choose(&self, on: &Description, tuning: &mut Tuning) -> Result<Chosen<Algorithm>> {
        // cuDNN's own answer says whether an algorithm is bitwise reproducible. One that it does not name is not taken.
        let answers = self.ask(on, self.heuristics)?;
        let may_take = answers.into_iter().filter(|(_, candidate)| tuning.may_take(candidate));
        let usable = may_take.filter_map(|(algorithm, candidate)| {
            let workspace_bytes = self.workspace_bytes(on, algorithm)?;
            Some((candidate, Chosen { algorithm, workspace_bytes }))
        });
        let (candidates, chosen): (Vec<_>, Vec<_>) = usable.unzip();
        let numbered = |number| chosen.iter().find(|chosen| (self.number)(chosen.algorithm) == number);
        let known = numbered((self.number)(self.known)).map(|known| (self.number)(known.algorithm));
        let work = format!("{:?} of {:?}", self.direction, on.shape);
        let picked = tuning.pick(&work, known, &candidates, || {
            Ok(self.ask(on, self.find)?.into_iter().map(|answer| answer.1).collect())
        })?;
        numbered(picked).copied().ok_or_else(|| {
            Error::Device(format!("cuDNN refuses its algorithm {picked} for {work}; begin without --tune"))
        })
    }

    /// What the algorithm needs; none where cuDNN does not support it for the shape, or, with a warning, cannot say.
    fn workspace_bytes(&self, on: &Description, algorithm: Algorithm) -> Option<usize> {
        let (library, operation) = (on.library.raw, on.operation.0);
        let (first, second, third) = self.descriptors;
        let mut num_bytes = 0;
        // SAFETY: all descriptors live, and the pointer outlives the call.
        let status =
            unsafe { (self.workspace_size)(library, first, second, operation, third, algorithm, &raw mut num_bytes) };
        if is_refusal(status) {
            return None;
        }
        match check("asking cuDNN for an algorithm's working memory", status) {
            Ok(()) => Some(num_bytes),
            Err(error) => {
                let (number, direction) = ((self.number)(algorithm), self.direction);
                crate::tell!("warning: {error}; {direction:?} does without algorithm {number}");
                None
            }
        }
    }

    /// The algorithms that cuDNN says would run, in the order of its answer: the fastest first.
    fn ask(&self, on: &Description, ask: Ask<A, B, C, Answer>) -> Result<Vec<(Algorithm, Candidate)>> {
        let (library, operation) = (on.library.raw, on.operation.0);
        let (first, second, third) = self.descriptors;
        let mut answers = [const { MaybeUninit::<Answer>::uninit() }; MAX_ANSWERS];
        let mut num_answers = 0;
        // SAFETY: all descriptors live, and there is room for as many answers as are asked for.
        let status = unsafe {
            ask(
                library,
                first,
                second,
                operation,
                third,
                MAX_ANSWERS as i32,
                &raw mut num_answers,
                answers.as_mut_ptr().cast(),
            )
        };
        check("asking cuDNN for algorithms", status)?;
        let written = answers.iter().take(num_answers.unsigned_abs() as usize);
        let usable = written.filter_map(|answer| {
            // SAFETY: cuDNN has written so many.
            let (status, algorithm, candidate) = (self.read)(unsafe { answer.assume_init_ref() });
            (status == cudnnStatus_t::CUDNN_STATUS_SUCCESS).then_some((algorithm, candidate))
        });
        Ok(usable.collect())
    }
}
