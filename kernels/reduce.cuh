// Sums within a block, in an order that the block's shape fixes: no atomics, so every run is bit-identical.

// Combines one value of each thread; every thread gets the result. blockDim.x is a multiple of 32, at most 1024;
// shared (32). Lanes meet as a butterfly, then warps in ascending order.
template <typename T, typename Combine>
__device__ __forceinline__ T reduce_block(T value, T* shared, Combine combine) {
    for (int distance = 16; distance > 0; distance /= 2) {
        value = combine(value, __shfl_xor_sync(0xffffffffu, value, distance));
    }
    if (threadIdx.x % 32 == 0) {
        shared[threadIdx.x / 32] = value;
    }
    __syncthreads();
    value = shared[0];
    for (unsigned int warp = 1; warp < blockDim.x / 32; ++warp) {
        value = combine(value, shared[warp]);
    }
    __syncthreads();
    return value;
}

// Channel sums of a block of (octets, rows) threads, each of which brings the sum of its rows. sums(channel, sum) is
// called once for each of the block's 8 blockDim.x channels; shared (blockDim.y, 8 blockDim.x).
template <typename Sums>
__device__ __forceinline__ void sum_rows(const Octet& own, float* shared, Sums sums) {
    const int num_channels = OCTET * blockDim.x;
    float* to = shared + threadIdx.y * num_channels + OCTET * threadIdx.x;
#pragma unroll
    for (int e = 0; e < OCTET; ++e) {
        to[e] = own.at[e];
    }
    __syncthreads();
    const int thread = threadIdx.y * blockDim.x + threadIdx.x;
    for (int channel = thread; channel < num_channels; channel += blockDim.x * blockDim.y) {
        float sum = shared[channel];
        for (unsigned int row = 1; row < blockDim.y; ++row) {
            sum += shared[row * num_channels + channel];
        }
        sums(channel, sum);
    }
}
