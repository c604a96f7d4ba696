// What follows a convolution in a block that pools, forward: bias, ReLU, LRN and max pooling (3 x 3 windows, stride 2),
// in one pass over memory.
//
// The idea is that a pixel is read and normalised once, although up to four windows hold it. A thread owns one column
// of windows and eight channels, and walks down a strip of rows. Of a window's three columns the first two are the
// thread's own pixels; the third is the first pixel of the thread to its right, which hands it over in shared memory:
//
//     for each row of the strip's input:
//         first, second = the thread's two pixels, with bias, ReLU and LRN
//         give `first` to the thread on the left, take `third` from the thread on the right
//         line = the maximum of first, second, third, and its column
//         window = the maximum of window and line, and its row and column
//         if the row is even, so the last of one window and the first of the next:
//             store window, unless the strip has just begun
//             window = line
//
// Rows and columns are compared in ascending order, so the first of equal values stays. Two buffers take turns in the
// exchange, so one barrier a row will do: who writes row r + 2 to a buffer has passed the barrier of row r + 1, which
// all threads reach only after they have read row r from it.

// The orders of a tail, as `TailOrder` in src/backend/cuda/kernels/conv.rs has them.
#define ORDER_RELU_LRN_POOL 0
#define ORDER_RELU_POOL_LRN 1  // Its LRN is pooled_lrn.cu's.
#define ORDER_LRN_POOL_RELU 2
#define ORDER_RELU_POOL 3

#define TAIL_THREADS 256

// The highest values so far of eight channels, and which of the window's nine pixels (or of the line's three) has each.
struct Maximum { float value[OCTET]; int argmax[OCTET]; };

// A later value replaces the maximum if it is higher or not a number, so that the first of equal ones stays.
__device__ __forceinline__ void take(Maximum& maximum, int e, float value, int index) {
    const bool is_higher = value > maximum.value[e] || value != value;
    maximum.value[e] = is_higher ? value : maximum.value[e];
    maximum.argmax[e] = is_higher ? index : maximum.argmax[e];
}

// Eight channels of a pixel, activated and normalised.
template <bool RELU_FIRST, int HALF>
__device__ __forceinline__ Octet normalise(
    const Lrn& lrn, const real* pixel, const real* bias, const Around<HALF>& biases, int channel, int channels) {
    Around<HALF> values = load_around<HALF>(pixel, channel, channels);
    activate_all<RELU_FIRST, HALF>(values, biases);
    Octet own;
#pragma unroll
    for (int e = 0; e < OCTET; ++e) {
        own.at[e] = values.at[Kept<HALF>::EACH + e];
    }
    if constexpr (HALF > 0) {
        const Octet scales = lrn_scales<RELU_FIRST, HALF>(lrn, values, pixel, bias, channel, channels);
        const Octet powers = lrn_powers(lrn, scales, inverse_roots(scales));
#pragma unroll
        for (int e = 0; e < OCTET; ++e) {
            own.at[e] *= powers.at[e];
        }
    }
    return own;
}

__device__ __forceinline__ void store_window(
    real* output, unsigned char* argmax, long long at, const Maximum& window, bool rectify) {
    Octet values;
    uint2 bytes = uint2{0, 0};
#pragma unroll
    for (int e = 0; e < OCTET; ++e) {
        values.at[e] = rectify ? relu(window.value[e]) : window.value[e];
        (e < 4 ? bytes.x : bytes.y) |= static_cast<unsigned int>(window.argmax[e]) << e % 4 * 8;
    }
    store_octet(output + at, values);
    write(argmax + at, bytes);
}

// The body of conv_tail_forward. shared (buffer, half of an octet, thread) is (2, 2, TAIL_THREADS).
template <bool RELU_FIRST, int HALF>
__device__ __forceinline__ void tail_forward(
    float4* shared, const real* convolved, const real* bias, real* output, unsigned char* argmax, int num_samples,
    int channels, int side, int out_side, bool rectify_last, const Lrn& lrn) {
    const int num_strips = gridDim.x / num_samples, strip = blockIdx.x % num_strips;
    const long long sample = blockIdx.x / num_strips;
    const int first_row = strip * out_side / num_strips, end_row = (strip + 1) * out_side / num_strips;
    const int channel = (blockIdx.z * blockDim.x + threadIdx.x) * OCTET;
    const int out_column = blockIdx.y * (blockDim.y - 1) + threadIdx.y;
    const int thread = threadIdx.y * blockDim.x + threadIdx.x;
    const bool has_first = channel < channels && 2 * out_column < side;
    const bool has_second = channel < channels && 2 * out_column + 1 < side;
    const bool has_window = channel < channels && out_column < out_side && threadIdx.y + 1 < blockDim.y;
    const Around<HALF> biases = channel < channels ? load_around<HALF>(bias, channel, channels) : Around<HALF>();
    Maximum window;
    int buffer = 0;
    for (int row = 2 * first_row; row <= 2 * end_row; ++row, buffer ^= 1) {
        const real* pixel = convolved + ((sample * side + row) * side + 2 * out_column) * channels;
        const Octet first = has_first
            ? normalise<RELU_FIRST, HALF>(lrn, pixel, bias, biases, channel, channels) : zero_octet();
        const Octet second = has_second
            ? normalise<RELU_FIRST, HALF>(lrn, pixel + channels, bias, biases, channel, channels) : zero_octet();
        float4* exchange = shared + buffer * 2 * TAIL_THREADS + thread;
        exchange[0] = float4{first.at[0], first.at[1], first.at[2], first.at[3]};
        exchange[TAIL_THREADS] = float4{first.at[4], first.at[5], first.at[6], first.at[7]};
        __syncthreads();
        if (!has_window) {
            continue;
        }
        const float4 low = exchange[blockDim.x], high = exchange[TAIL_THREADS + blockDim.x];
        const Octet third = Octet{{low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}};
        Maximum line;
#pragma unroll
        for (int e = 0; e < OCTET; ++e) {
            line.value[e] = first.at[e];
            line.argmax[e] = 0;
            take(line, e, second.at[e], 1);
            take(line, e, third.at[e], 2);
        }
        if (row > 2 * first_row) {
            const int first_of_row = row % 2 == 1 ? 3 : 6;
#pragma unroll
            for (int e = 0; e < OCTET; ++e) {
                take(window, e, line.value[e], first_of_row + line.argmax[e]);
            }
        }
        if (row % 2 == 0) {
            if (row > 2 * first_row) {
                const long long at = ((sample * out_side + row / 2 - 1) * out_side + out_column) * channels + channel;
                store_window(output, argmax, at, window, rectify_last);
            }
            window = line;
        }
    }
}

#define TAIL_FORWARD(RELU_FIRST, HALF) \
    tail_forward<RELU_FIRST, HALF>( \
        shared, convolved, bias, output, argmax, num_samples, channels, side, out_side, \
        order == ORDER_LRN_POOL_RELU, lrn)

// convolved (num_samples, side, side, channels) without its bias (channels), to output (num_samples, out_side,
// out_side, channels): bias, then by `order` ReLU, LRN over 5 channels and max pooling. argmax (num_samples, out_side,
// out_side, channels) is row * 3 + column of the window's first maximum; what is not a number is highest.
//
// A block of (octets, columns + 1) threads sweeps a strip of output rows: blockIdx.x counts (sample, strip), blockIdx.y
// the tiles of columns, blockIdx.z those of channels. The block's last column only gives. Bytes: sizeof(real)
// num_samples channels side^2 read (rows between two strips twice, the second time from a cache), (sizeof(real) + 1)
// num_samples channels out_side^2 written.
extern "C" __global__ void __launch_bounds__(TAIL_THREADS, 3) conv_tail_forward(
    const real* convolved, const real* bias, real* output, unsigned char* argmax, int num_samples, int channels,
    int side, int out_side, int order, Lrn lrn) {
    __shared__ float4 shared[4 * TAIL_THREADS];
    if (order == ORDER_RELU_LRN_POOL) {
        TAIL_FORWARD(true, 2);
    } else if (order == ORDER_LRN_POOL_RELU) {
        TAIL_FORWARD(false, 2);
    } else {
        TAIL_FORWARD(true, 0);
    }
}

// The same for LRN over any n channels, whose neighbours are read again from the caches.
extern "C" __global__ void __launch_bounds__(TAIL_THREADS) conv_tail_forward_any_n(
    const real* convolved, const real* bias, real* output, unsigned char* argmax, int num_samples, int channels,
    int side, int out_side, int order, Lrn lrn) {
    __shared__ float4 shared[4 * TAIL_THREADS];
    if (order == ORDER_RELU_LRN_POOL) {
        TAIL_FORWARD(true, ANY_HALF);
    } else {
        TAIL_FORWARD(false, ANY_HALF);
    }
}
