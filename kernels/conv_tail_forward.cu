// What follows a convolution in a block that pools, forward: bias, ReLU, LRN and max pooling (3 x 3 windows, stride 2),
// in one pass over memory.
//
// The idea is that a pixel is read and normalised once, although up to four windows hold it. A thread owns one column
// of windows and eight channels, and walks down a strip of rows. Of a window's three columns the first two are the
// thread's own pixels; the third is the first pixel of the thread to its right, which hands it over in shared memory:
//
//     line(row):
//         first, second = the thread's two pixels, with bias, ReLU and LRN
//         give `first` to the thread on the left, take `third` from the thread on the right
//         return the highest of first, second, third, and its column
//
//     window = line(first row of the strip)
//     for each row of windows in the strip:
//         last = line(its third row)
//         store the highest of window, line(its second row), last, and its row and column
//         window = last, which is the first row of the next
//
// Two buffers take turns in the exchange, so one barrier a row will do: who writes row r + 2 to a buffer has passed the
// barrier of row r + 1, which all threads reach only after they have read row r from it.

// The orders of a tail, as `TailOrder` in src/backend/cuda/kernels/conv.rs has them.
#define ORDER_RELU_LRN_POOL 0
#define ORDER_RELU_POOL_LRN 1  // Its LRN is pooled_lrn.cu's.
#define ORDER_LRN_POOL_RELU 2
#define ORDER_RELU_POOL 3

#define TAIL_THREADS 256
#ifdef REAL_BF16
#define TAIL_BLOCKS 3
#else
#define TAIL_BLOCKS 2
#endif

// A value and its place in a window as one number, so that the maximum of both is one instruction: the value's bits in
// the order of the values, what is not a number highest, and below them 8 - place, so that the first of equal ones is
// highest. With bf16 the last 4 of an f32's 24 bits give way to the place, before a rounding to 8 of them; with f32 a
// key is as long as it must be.
#ifdef REAL_BF16
typedef unsigned int Key;
#else
typedef unsigned long long Key;
#endif
#define KEY_PLACES 15u

// RELU_FIRST: the value is not negative, its bits are in order as they are.
template <bool RELU_FIRST> __device__ __forceinline__ Key to_key(float value, unsigned int rank) {
    unsigned int bits = __float_as_uint(value);
    if constexpr (!RELU_FIRST) {
        bits = value != value ? 0xffffffffu : bits ^ (bits >> 31 == 1 ? 0xffffffffu : 0x80000000u);
    }
    return sizeof(Key) == 4 ? (bits & ~KEY_PLACES) | rank : static_cast<Key>(bits) << 4 | rank;
}

template <bool RELU_FIRST> __device__ __forceinline__ float value_of(Key key) {
    unsigned int bits = static_cast<unsigned int>(sizeof(Key) == 4 ? key & ~static_cast<Key>(KEY_PLACES) : key >> 4);
    if constexpr (!RELU_FIRST) {
        bits ^= bits >> 31 == 1 ? 0x80000000u : 0xffffffffu;
    }
    return __uint_as_float(bits);
}

struct Keys { Key at[OCTET]; };

__device__ __forceinline__ Key higher(Key one, Key other) { return one > other ? one : other; }

// Eight channels of a pixel, from as they were loaded to activated and normalised.
template <bool RELU_FIRST, int HALF>
__device__ __forceinline__ Octet normalise(
    const Lrn& lrn, Around<HALF> values, const real* pixel, const real* bias, const Around<HALF>& biases, int channel,
    int channels) {
    activate_all<RELU_FIRST, HALF>(values, biases);
    Octet own;
#pragma unroll
    for (int e = 0; e < OCTET; ++e) {
        own.at[e] = values.at[Kept<HALF>::EACH + e];
    }
    if constexpr (HALF > 0) {
        const Octet scales = lrn_scales<RELU_FIRST, HALF>(lrn, values, pixel, bias, channel, channels);
        const Octet powers = lrn_powers<HALF>(lrn, scales, inverse_roots(scales));
#pragma unroll
        for (int e = 0; e < OCTET; ++e) {
            own.at[e] *= powers.at[e];
        }
    }
    return own;
}

template <bool RELU_FIRST>
__device__ __forceinline__ void store_window(
    real* output, unsigned char* argmax, const Keys& window) {
    Octet values;
    uint2 bytes = uint2{0, 0};
#pragma unroll
    for (int e = 0; e < OCTET; ++e) {
        const float value = value_of<RELU_FIRST>(window.at[e]);
        values.at[e] = RELU_FIRST ? value : relu(value);
        const unsigned int place = 8 - (static_cast<unsigned int>(window.at[e]) & KEY_PLACES);
        (e < 4 ? bytes.x : bytes.y) |= (RELU_FIRST || !(value <= 0.0f) ? place : 255u) << e % 4 * 8;
    }
    store_octet(output, values);
    write(argmax, bytes);
}

// The body of conv_tail_forward. shared (buffer, half of an octet, thread) is (2, 2, TAIL_THREADS).
template <bool RELU_FIRST, int HALF>
__device__ __forceinline__ void tail_forward(
    float4* shared, const real* convolved, const real* bias, real* output, unsigned char* argmax, int num_samples,
    int channels, int side, int out_side, const Lrn& lrn) {
    const int num_strips = gridDim.x / num_samples, strip = blockIdx.x % num_strips;
    const long long sample = blockIdx.x / num_strips;
    const int first_row = strip * out_side / num_strips, end_row = (strip + 1) * out_side / num_strips;
    const int own_channel = (blockIdx.z * blockDim.x + threadIdx.x) * OCTET;
    const int out_column = blockIdx.y * (blockDim.y - 1) + threadIdx.y;
    const bool has_window = own_channel < channels && out_column < out_side && threadIdx.y + 1 < blockDim.y;
    // Who has no window computes the nearest pixel: nobody takes it.
    const int channel = min(own_channel, channels - OCTET);
    const int column = min(2 * out_column, side - 1);
    const int to_second = column + 1 < side ? channels : 0;
    const Around<HALF> biases = load_around<HALF>(bias, channel, channels);
    const real* pixel = convolved + ((sample * side + 2 * first_row) * side + column) * channels;
    float4* const give = shared + threadIdx.y * blockDim.x + threadIdx.x;
    const float4* const take = give + (threadIdx.y + 1 < blockDim.y ? blockDim.x : 0);

    // The maxima of a row of the windows.
    const auto line = [&](int buffer) {
        const Around<HALF> loaded[2] = {load_around<HALF>(pixel, channel, channels),
                                        load_around<HALF>(pixel + to_second, channel, channels)};
        const Octet first = normalise<RELU_FIRST, HALF>(lrn, loaded[0], pixel, bias, biases, channel, channels);
        const int at = buffer * 2 * TAIL_THREADS;
        give[at] = float4{first.at[0], first.at[1], first.at[2], first.at[3]};
        give[at + TAIL_THREADS] = float4{first.at[4], first.at[5], first.at[6], first.at[7]};
        const Octet second =
            normalise<RELU_FIRST, HALF>(lrn, loaded[1], pixel + to_second, bias, biases, channel, channels);
        __syncthreads();
        const float4 low = take[at], high = take[at + TAIL_THREADS];
        const Octet third = Octet{{low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}};
        Keys maxima;
#pragma unroll
        for (int e = 0; e < OCTET; ++e) {
            maxima.at[e] = higher(higher(to_key<RELU_FIRST>(first.at[e], 2), to_key<RELU_FIRST>(second.at[e], 1)),
                                 to_key<RELU_FIRST>(third.at[e], 0));
        }
        pixel += side * channels;
        return maxima;
    };

    Keys window = line(0);
    long long at = ((sample * out_side + first_row) * out_side + out_column) * channels + channel;
    for (int row = first_row; row < end_row; ++row, at += out_side * channels) {
        const Keys middle = line(1);
#pragma unroll
        for (int e = 0; e < OCTET; ++e) {
            window.at[e] = higher(window.at[e] + 6, middle.at[e] + 3);
        }
        const Keys last = line(0);
#pragma unroll
        for (int e = 0; e < OCTET; ++e) {
            window.at[e] = higher(window.at[e], last.at[e]);
        }
        if (has_window) {
            store_window<RELU_FIRST>(output + at, argmax + at, window);
        }
        window = last;
    }
}

#define TAIL_FORWARD(RELU_FIRST, HALF) \
    tail_forward<RELU_FIRST, HALF>( \
        shared, convolved, bias, output, argmax, num_samples, channels, side, out_side, lrn)

// convolved (num_samples, side, side, channels) without its bias (channels), to output (num_samples, out_side,
// out_side, channels): bias, ReLU, LRN over 5 channels and max pooling. argmax (num_samples, out_side, out_side,
// channels) is row * 3 + column of the window's first maximum; what is not a number is highest.
//
// A block of (octets, columns + 1) threads sweeps a strip of output rows: blockIdx.x counts (sample, strip), blockIdx.y
// the tiles of columns, blockIdx.z those of channels. The block's last column only gives. Bytes: sizeof(real)
// num_samples channels side^2 read (rows between two strips twice, the second time from a cache), (sizeof(real) + 1)
// num_samples channels out_side^2 written.
extern "C" __global__ void __launch_bounds__(TAIL_THREADS, TAIL_BLOCKS) conv_tail_forward(
    const real* convolved, const real* bias, real* output, unsigned char* argmax, int num_samples, int channels,
    int side, int out_side, int order, Lrn lrn) {
    __shared__ float4 shared[4 * TAIL_THREADS];
    TAIL_FORWARD(true, 2);
}

// The same for LRN, pool, ReLU; argmax is 255 where ReLU leaves nothing.
extern "C" __global__ void __launch_bounds__(TAIL_THREADS, TAIL_BLOCKS) conv_tail_forward_relu_last(
    const real* convolved, const real* bias, real* output, unsigned char* argmax, int num_samples, int channels,
    int side, int out_side, int order, Lrn lrn) {
    __shared__ float4 shared[4 * TAIL_THREADS];
    TAIL_FORWARD(false, 2);
}

// The same for ReLU, pool.
extern "C" __global__ void __launch_bounds__(TAIL_THREADS, TAIL_BLOCKS) conv_tail_forward_no_lrn(
    const real* convolved, const real* bias, real* output, unsigned char* argmax, int num_samples, int channels,
    int side, int out_side, int order, Lrn lrn) {
    __shared__ float4 shared[4 * TAIL_THREADS];
    TAIL_FORWARD(true, 0);
}

// The same for LRN of any n and beta, whose neighbours are read again from the caches.
extern "C" __global__ void __launch_bounds__(TAIL_THREADS, 2) conv_tail_forward_any_lrn(
    const real* convolved, const real* bias, real* output, unsigned char* argmax, int num_samples, int channels,
    int side, int out_side, int order, Lrn lrn) {
    __shared__ float4 shared[4 * TAIL_THREADS];
    if (order == ORDER_RELU_LRN_POOL) {
        TAIL_FORWARD(true, ANY_HALF);
    } else {
        TAIL_FORWARD(false, ANY_HALF);
    }
}
