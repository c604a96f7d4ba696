//! The shim itself: it must see what a GPU would do wrong.

use std::ffi::{CStr, c_void};

use super::kernels::{compile, function, load};
use super::session::Session;
use crate::device;
use crate::driver::module::Function;

/// Orders in which blocks and threads run: forwards, backwards, by leaps.
const ORDERS: [u32; 4] = [0, 1, 2, 7];

const SOURCE: &str = r#"
extern "C" __global__ void reverse(const int* input, int* output) {
    __shared__ int shared[96];
    shared[threadIdx.x] = input[blockIdx.x * 96 + threadIdx.x];
    __syncthreads();
    output[blockIdx.x * 96 + threadIdx.x] = shared[95 - threadIdx.x];
}
extern "C" __global__ void reverse_without_barrier(const int* input, int* output) {
    __shared__ int shared[96];
    shared[threadIdx.x] = input[blockIdx.x * 96 + threadIdx.x];
    output[blockIdx.x * 96 + threadIdx.x] = shared[95 - threadIdx.x];
}
extern "C" __global__ void leave_before_barrier(int* output) {
    if (threadIdx.x == 5) {
        return;
    }
    __syncthreads();
    output[threadIdx.x] = 1;
}
extern "C" __global__ void two_barriers(int* output) {
    if (threadIdx.x < 32) {
        __syncthreads();
    } else {
        __syncthreads();
    }
    output[threadIdx.x] = 1;
}
extern "C" __global__ void lanes(int* output) {
    const int lane = threadIdx.x % 32;
    int* to = output + threadIdx.x * 6;
    to[0] = __shfl_xor_sync(0xffffffffu, lane, 5);
    to[1] = __shfl_down_sync(0xffffffffu, lane, 3);
    to[2] = __shfl_up_sync(0xffffffffu, lane, 3);
    to[3] = __shfl_sync(0xffffffffu, lane, 7, 8);
    to[4] = (int)__ballot_sync(0xffffffffu, lane % 2 == 0);
    to[5] = __any_sync(0xffffffffu, lane == 31) + 2 * __all_sync(0xffffffffu, lane < 31);
}
extern "C" __global__ void places(unsigned* output) {
    const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    output[block * (blockDim.x * blockDim.y * blockDim.z) + thread] += block * 1000 + thread;
}
"#;

/// A kernel of the source, and the simulation that knows it.
fn kernel(name: &str) -> (Session, Function) {
    let session = Session::new("");
    let cubin = compile(SOURCE, &["--gpu-architecture=sm_90"]).expect("the source is right");
    let handle = function(load(&cubin).expect("a whole CUBIN"), name);
    let function = device::lock().functions.get(handle as u64).cloned().expect("the kernel");
    (session, function)
}

/// Runs it at once, with pointers to the host's memory; the error is its message.
fn launch<const N: usize>(
    function: &Function,
    grid: [u32; 3],
    block: [u32; 3],
    order: u32,
    parameters: [*mut c_void; N],
) -> Result<(), String> {
    assert_eq!(function.parameters.len(), N, "parameters of {}", function.name);
    let mut message = [0; 512];
    let mut places = parameters;
    let mut pointers: Vec<_> = places.iter_mut().map(|parameter| std::ptr::from_mut(parameter).cast()).collect();
    // SAFETY: all parameters are pointers, to as much memory as the tests' kernels need; the message is as long as is
    // said.
    let failed = unsafe {
        let (grid, block) = (grid.as_ptr(), block.as_ptr());
        (function.launch)(pointers.as_mut_ptr(), grid, block, 0, order, message.as_mut_ptr(), message.len())
    };
    // SAFETY: the shim ends its message with a zero byte.
    let message = unsafe { CStr::from_ptr(message.as_ptr()) }.to_string_lossy().into_owned();
    if failed == 0 { Ok(()) } else { Err(message) }
}

fn reversed(function: &Function, order: u32) -> Vec<i32> {
    let (mut input, mut output) = ((0..96 * 40).collect::<Vec<i32>>(), vec![-2; 96 * 40]);
    let parameters = [input.as_mut_ptr().cast(), output.as_mut_ptr().cast()];
    launch(function, [40, 1, 1], [96, 1, 1], order, parameters).expect("a right kernel");
    output
}

fn expected() -> Vec<i32> {
    (0..40).flat_map(|block| (0..96).rev().map(move |at| block * 96 + at)).collect()
}

#[test]
fn threads_meet_at_a_barrier() {
    let (_session, reverse) = kernel("reverse");
    for order in ORDERS {
        assert_eq!(reversed(&reverse, order), expected(), "order {order}");
    }
}

#[test]
fn a_missing_barrier_shows_as_poison() {
    let (_session, reverse) = kernel("reverse_without_barrier");
    for order in ORDERS {
        let output = reversed(&reverse, order);
        assert_ne!(output, expected(), "order {order}");
        assert!(output.contains(&-1), "shared memory is not poisoned in order {order}");
    }
}

#[test]
fn threads_that_part_at_a_barrier_are_reported() {
    let message = |name| {
        let ((_session, kernel), mut output) = (kernel(name), vec![0_i32; 64]);
        launch(&kernel, [1; 3], [64, 1, 1], 0, [output.as_mut_ptr().cast()]).expect_err("a wrong kernel")
    };
    let left = message("leave_before_barrier");
    assert!(left.contains("thread 5 has left the kernel"), "{left}");
    let parted = message("two_barriers");
    assert!(parted.contains("divergent barrier") && parted.contains("waits at line"), "{parted}");
}

#[test]
fn lanes_exchange_values_as_on_a_gpu() {
    let ((_session, lanes), mut output) = (kernel("lanes"), vec![0_i32; 64 * 6]);
    launch(&lanes, [1; 3], [64, 1, 1], 3, [output.as_mut_ptr().cast()]).expect("a right kernel");
    for (thread, values) in output.chunks(6).enumerate() {
        let lane = thread as i32 % 32;
        let down = if lane + 3 < 32 { lane + 3 } else { lane };
        let up = if lane >= 3 { lane - 3 } else { lane };
        assert_eq!(values, [lane ^ 5, down, up, lane / 8 * 8 + 7, 0x5555_5555, 1], "lane {lane}");
    }
}

#[test]
fn every_thread_runs_once_in_any_order() {
    let (_session, places) = kernel("places");
    for order in ORDERS {
        let mut output = vec![0_u32; 3 * 5 * 2 * 24];
        launch(&places, [3, 5, 2], [4, 3, 2], order, [output.as_mut_ptr().cast()]).expect("a right kernel");
        let expected: Vec<u32> = (0..30).flat_map(|block| (0..24).map(move |thread| block * 1000 + thread)).collect();
        assert_eq!(output, expected, "order {order}");
    }
}

#[test]
fn several_threads_launch_at_the_same_time() {
    let (_session, reverse) = &kernel("reverse");
    std::thread::scope(|scope| {
        for order in 0..8 {
            scope.spawn(move || {
                for _ in 0..20 {
                    assert_eq!(reversed(reverse, order), expected());
                }
            });
        }
    });
}
