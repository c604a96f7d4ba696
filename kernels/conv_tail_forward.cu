// What follows a convolution in a block, forward: bias, ReLU, LRN, overlapping max pooling, in one pass over memory.

#define ORDER_PAPER 0       // ReLU, LRN, pool
#define ORDER_LRN_LAST 1    // ReLU, pool, LRN: pooled_lrn.cu does the latter
#define ORDER_RELU_LAST 2   // LRN, pool, ReLU
#define ORDER_NO_LRN 3      // ReLU, pool

#define TAIL_THREADS 256

// The highest of what a window has shown so far, and where.
struct Highest { float value[OCTET]; int place[OCTET]; };

// A later value wins if it is higher or not a number, so that the first of equal ones stays.
__device__ __forceinline__ void take(Highest& highest, int e, float value, int place) {
    const bool is_higher = value > highest.value[e] || value != value;
    highest.value[e] = is_higher ? value : highest.value[e];
    highest.place[e] = is_higher ? place : highest.place[e];
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
    real* output, unsigned char* winners, long long at, const Highest& highest, bool rectify) {
    Octet values;
    uint2 places = uint2{0, 0};
#pragma unroll
    for (int e = 0; e < OCTET; ++e) {
        values.at[e] = rectify ? relu(highest.value[e]) : highest.value[e];
        (e < 4 ? places.x : places.y) |= static_cast<unsigned int>(highest.place[e]) << e % 4 * 8;
    }
    store_octet(output + at, values);
    write(winners + at, places);
}

// The body of conv_tail_forward. shared: two buffers of (2, TAIL_THREADS).
template <bool RELU_FIRST, int HALF>
__device__ __forceinline__ void tail_forward(
    float4* shared, const real* convolved, const real* bias, real* output, unsigned char* winners, int num_samples,
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
    Highest window;
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
        Highest line;
#pragma unroll
        for (int e = 0; e < OCTET; ++e) {
            line.value[e] = first.at[e];
            line.place[e] = 0;
            take(line, e, second.at[e], 1);
            take(line, e, third.at[e], 2);
        }
        // An even row is the last of a window and the first of the next.
        if (row > 2 * first_row) {
            const int line_place = row % 2 == 1 ? 3 : 6;
#pragma unroll
            for (int e = 0; e < OCTET; ++e) {
                take(window, e, line.value[e], line_place + line.place[e]);
            }
        }
        if (row % 2 == 0) {
            if (row > 2 * first_row) {
                const long long at = ((sample * out_side + row / 2 - 1) * out_side + out_column) * channels + channel;
                store_window(output, winners, at, window, rectify_last);
            }
            window = line;
        }
    }
}

#define TAIL_FORWARD(RELU_FIRST, HALF) \
    tail_forward<RELU_FIRST, HALF>( \
        shared, convolved, bias, output, winners, num_samples, channels, side, out_side, order == ORDER_RELU_LAST, lrn)

// convolved (num_samples, side, side, channels) without its bias (channels), to output (num_samples, out_side, out_side,
// channels): bias, then by `order` ReLU, LRN and max pooling of 3 x 3 windows, stride 2. winners, as output: row * 3 +
// column of the window's first maximum; what is not a number is highest. LRN is over 5 channels.
//
// A block of (octets, columns + 1) threads sweeps a strip of output rows: blockIdx.x is (sample, strip), blockIdx.y the
// place among the columns, blockIdx.z among the channels. A thread normalises eight channels of two neighbouring pixels
// in each row of the input, once, and takes the window's third column from the thread beside it; the block's last
// column is only there to give. Bytes: sizeof(real) num_samples channels side^2 read (rows between two strips twice, the
// second time from a cache), (sizeof(real) + 1) num_samples channels out_side^2 written.
extern "C" __global__ void __launch_bounds__(TAIL_THREADS, 3) conv_tail_forward(
    const real* convolved, const real* bias, real* output, unsigned char* winners, int num_samples, int channels, int side,
    int out_side, int order, Lrn lrn) {
    __shared__ float4 shared[4 * TAIL_THREADS];
    if (order == ORDER_PAPER) {
        TAIL_FORWARD(true, 2);
    } else if (order == ORDER_RELU_LAST) {
        TAIL_FORWARD(false, 2);
    } else {
        TAIL_FORWARD(true, 0);
    }
}

// The same for LRN over any n channels, whose neighbours are read again from the caches.
extern "C" __global__ void __launch_bounds__(TAIL_THREADS) conv_tail_forward_any_n(
    const real* convolved, const real* bias, real* output, unsigned char* winners, int num_samples, int channels, int side,
    int out_side, int order, Lrn lrn) {
    __shared__ float4 shared[4 * TAIL_THREADS];
    if (order == ORDER_PAPER) {
        TAIL_FORWARD(true, ANY_HALF);
    } else {
        TAIL_FORWARD(false, ANY_HALF);
    }
}
