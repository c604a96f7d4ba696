//! The shim itself: it must see what a GPU would do wrong.

use super::Unit;
use super::host::launch;
use crate::backend::cuda::driver::LaunchShape;

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

fn unit() -> &'static Unit {
    static UNIT: std::sync::OnceLock<Unit> = std::sync::OnceLock::new();
    UNIT.get_or_init(|| Unit::compile(SOURCE, "NOTHING"))
}

fn shape(grid: (u32, u32, u32), block: (u32, u32, u32)) -> LaunchShape {
    LaunchShape { grid, block, shared_bytes: 0 }
}

fn reversed(kernel: &str, order: u32) -> Vec<i32> {
    let (input, mut output) = ((0..96 * 40).collect::<Vec<i32>>(), vec![-2; 96 * 40]);
    launch!(unit(), kernel, shape((40, 1, 1), (96, 1, 1)), order, [input.as_ptr(), output.as_mut_ptr()]).unwrap();
    output
}

fn expected() -> Vec<i32> {
    (0..40).flat_map(|block| (0..96).rev().map(move |at| block * 96 + at)).collect()
}

#[test]
fn threads_meet_at_a_barrier() {
    for order in super::ORDERS {
        assert_eq!(reversed("reverse", order), expected(), "order {order}");
    }
}

#[test]
fn a_missing_barrier_shows_as_poison() {
    for order in super::ORDERS {
        let output = reversed("reverse_without_barrier", order);
        assert_ne!(output, expected(), "order {order}");
        assert!(output.contains(&-1), "shared memory is not poisoned in order {order}");
    }
}

#[test]
fn threads_that_part_at_a_barrier_are_reported() {
    let mut output = vec![0_i32; 64];
    let shape = shape((1, 1, 1), (64, 1, 1));
    let message = launch!(unit(), "leave_before_barrier", shape, 0, [output.as_mut_ptr()]).unwrap_err();
    assert!(message.contains("thread 5 has left the kernel"), "{message}");
    let message = launch!(unit(), "two_barriers", shape, 0, [output.as_mut_ptr()]).unwrap_err();
    assert!(message.contains("divergent barrier") && message.contains("waits at line"), "{message}");
}

#[test]
fn lanes_exchange_values_as_on_a_gpu() {
    let mut output = vec![0_i32; 64 * 6];
    launch!(unit(), "lanes", shape((1, 1, 1), (64, 1, 1)), 3, [output.as_mut_ptr()]).unwrap();
    for (thread, values) in output.chunks(6).enumerate() {
        let lane = thread as i32 % 32;
        let down = if lane + 3 < 32 { lane + 3 } else { lane };
        let up = if lane >= 3 { lane - 3 } else { lane };
        assert_eq!(values, [lane ^ 5, down, up, lane / 8 * 8 + 7, 0x5555_5555, 1], "lane {lane}");
    }
}

#[test]
fn every_thread_runs_once_in_any_order() {
    for order in super::ORDERS {
        let mut output = vec![0_u32; 3 * 5 * 2 * 24];
        launch!(unit(), "places", shape((3, 5, 2), (4, 3, 2)), order, [output.as_mut_ptr()]).unwrap();
        let expected: Vec<u32> = (0..30).flat_map(|block| (0..24).map(move |thread| block * 1000 + thread)).collect();
        assert_eq!(output, expected, "order {order}");
    }
}

#[test]
fn several_threads_launch_at_the_same_time() {
    std::thread::scope(|scope| {
        for order in 0..8 {
            scope.spawn(move || {
                for _ in 0..20 {
                    assert_eq!(reversed("reverse", order), expected());
                }
            });
        }
    });
}
