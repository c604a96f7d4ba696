// What follows a convolution in a block that pools, backward: from the gradient of the block's output to that of the
// convolution's, in one pass over memory.
//
// The idea is that each pixel of the convolution's output gathers its own gradient, so that no two threads write to one
// place, and that each window's gradient is read once for the nine pixels in it. A thread owns eight channels of two
// columns and sweeps down the rows, two at a time: those that begin in the same row of windows. A block holds all
// channels of its columns. What the forward pass had between the operations is computed again from `convolved`; of
// pooling argmax is kept. `own` is the window whose first column is the thread's first, `left` the one before:
//
//     for each pair of rows of the block's part of the batch:
//         above, above_left = own, left;  own, left = the windows of this row
//         for each of the pair's four pixels:
//             x = the pixel's channels, with bias and ReLU again; s = k + alpha * the sum of x^2 over n channels around
//             dy = the sum of the gradients of the windows (one, two or four) whose argmax is this pixel
//             dx = dy s^-beta, ratio = dy x s^(-beta - 1)
//             give the outermost ratios to the threads of the channels beside, take theirs
//             dx += -2 alpha beta x * the sum of the ratios over n channels around
//             clear dx where ReLU gave nothing, store it over the pixel, add it to the bias's sums
//     add up the sums of the block's threads: one partial of the bias gradient
//
// Two buffers take turns in the exchange, as in conv_tail_forward.cu. Where ReLU comes last, the forward pass has left
// no argmax in the windows that it cleared.

// 20 warps a multiprocessor, five on each of its four parts, with 96 registers a thread; 12 with f32.
#define TAIL_BACKWARD_THREADS 160  // shapes.rs has it too.
#ifdef REAL_BF16
#define TAIL_BACKWARD_BLOCKS 4
#else
#define TAIL_BACKWARD_BLOCKS 2
#endif

// A pooling window's gradient and argmax, of eight channels.
struct Window { PackedOctet gradient; uint2 argmax; };

// The window at `at`; where it does not exist, one whose argmax no pixel is.
__device__ __forceinline__ Window load_window(
    const real* gradient, const unsigned char* argmax, int at, bool exists) {
    at = exists ? at : 0;
    Window window = {read<PackedOctet>(gradient + at), read<uint2>(argmax + at)};
    window.argmax.x = exists ? window.argmax.x : 0xffffffffu;
    window.argmax.y = exists ? window.argmax.y : 0xffffffffu;
    return window;
}

// Whether the argmax of channel e is `place`.
__device__ __forceinline__ bool is_at(const Window& window, unsigned int place, int e) {
    const unsigned int argmax = e < 4 ? window.argmax.x : window.argmax.y;
    return ((argmax ^ place * 0x01010101u) & 255u << e % 4 * 8) == 0;
}

// The window's gradient where its argmax is `place`, 0 elsewhere.
__device__ __forceinline__ Octet take(const Window& window, unsigned int place) {
    Octet taken = unpack(window.gradient);
#pragma unroll
    for (int e = 0; e < OCTET; ++e) {
        taken.at[e] = is_at(window, place, e) ? taken.at[e] : 0.0f;
    }
    return taken;
}

// Adds it.
__device__ __forceinline__ void add(Octet& sums, const Window& window, unsigned int place) {
    const Octet gradient = unpack(window.gradient);
#pragma unroll
    for (int e = 0; e < OCTET; ++e) {
        if (is_at(window, place, e)) {
            sums.at[e] += gradient.at[e];
        }
    }
}

// Puts a thread's ratios where the threads beside it find them: its two lowest and two highest, or all where n is not
// known. shared is (half, thread, 2), or (pixel, channel) is (blockDim.y, channels).
template <int HALF> __device__ __forceinline__ void give_ratios(float* shared, const Octet& ratios) {
    const int thread = threadIdx.y * blockDim.x + threadIdx.x;
    if constexpr (HALF == ANY_HALF) {
        store_octet(shared + thread * OCTET, ratios);
    } else {
        float2* ends = reinterpret_cast<float2*>(shared);
        ends[thread] = float2{ratios.at[0], ratios.at[1]};
        ends[TAIL_BACKWARD_THREADS + thread] = float2{ratios.at[6], ratios.at[7]};
    }
}

// The sums of ratios over the n channels around each of the thread's own.
template <int HALF>
__device__ __forceinline__ Octet sum_ratios(
    const float* shared, const Octet& ratios, const Lrn& lrn, int channel, int channels) {
    const int thread = threadIdx.y * blockDim.x + threadIdx.x;
    Octet sums;
    if constexpr (HALF == ANY_HALF) {
        const float* pixel = shared + threadIdx.y * blockDim.x * OCTET;
#pragma unroll
        for (int e = 0; e < OCTET; ++e) {
            const int first = max(channel + e - lrn.n / 2, 0), last = min(channel + e + lrn.n / 2, channels - 1);
            sums.at[e] = 0.0f;
#pragma unroll 1
            for (int other = first; other <= last; ++other) {
                sums.at[e] += pixel[other];
            }
        }
    } else {
        const float2* ends = reinterpret_cast<const float2*>(shared);
        const float2 zeros = float2{0.0f, 0.0f};
        const float2 below = channel > 0 ? ends[TAIL_BACKWARD_THREADS + thread - 1] : zeros;
        const float2 above = channel + OCTET < channels ? ends[thread + 1] : zeros;
        float around[OCTET + 4] = {below.x, below.y};
#pragma unroll
        for (int e = 0; e < OCTET; ++e) {
            around[2 + e] = ratios.at[e];
        }
        around[OCTET + 2] = above.x;
        around[OCTET + 3] = above.y;
#pragma unroll
        for (int e = 0; e < OCTET; ++e) {
            sums.at[e] = around[e + 2 - HALF];
#pragma unroll
            for (int other = 1; other <= 2 * HALF; ++other) {
                sums.at[e] += around[e + 2 - HALF + other];
            }
        }
    }
    return sums;
}

// Floats that the exchange of one pixel a thread takes.
template <int HALF> constexpr int EXCHANGED = (HALF == ANY_HALF ? OCTET : 4) * TAIL_BACKWARD_THREADS;

// The body of conv_tail_backward. shared (buffer, ...) is (2, EXCHANGED).
template <bool RELU_FIRST, int HALF>
__device__ __forceinline__ void tail_backward(
    float* shared, real* convolved, const real* bias, const real* output_gradient,
    const unsigned char* argmax, float* bias_partials, int num_samples, int channels, int side, int out_side,
    int num_partials, const Lrn& lrn) {
    const int num_rows = (side + 1) / 2, num_tiles = (num_rows + blockDim.y - 1) / blockDim.y;
    const long long num_parts = static_cast<long long>(num_samples) * num_tiles * num_rows;
    const int start = static_cast<int>(num_parts * blockIdx.x / num_partials);
    const int end = static_cast<int>(num_parts * (blockIdx.x + 1) / num_partials);
    const int channel = threadIdx.x * OCTET;
    const float factor = -2.0f * lrn.alpha * lrn.beta;
    Octet bias_sums = zero_octet();

    // A pixel of the thread, from its dy.
    const auto pass = [&](real* pixel, Octet gradient, bool is_inside, int buffer) {
        float* const exchange = shared + buffer * EXCHANGED<HALF>;
        // Who is outside reads what nobody writes.
        const real* from = is_inside ? pixel : bias;
        const Around<HALF> biases = load_around<HALF>(bias, channel, channels);
        Around<HALF> values = load_around<HALF>(from, channel, channels);
        activate_all<RELU_FIRST, HALF>(values, biases);
        Octet own;
#pragma unroll
        for (int e = 0; e < OCTET; ++e) {
            own.at[e] = values.at[Kept<HALF>::EACH + e];
        }
        if constexpr (HALF > 0) {
            const Octet scales = lrn_scales<RELU_FIRST, HALF>(lrn, values, from, bias, channel, channels);
            const Octet roots = inverse_roots(scales), powers = lrn_powers<HALF>(lrn, scales, roots);
            Octet ratios;
#pragma unroll
            for (int e = 0; e < OCTET; ++e) {
                gradient.at[e] *= powers.at[e];
                ratios.at[e] = gradient.at[e] * own.at[e] * (roots.at[e] * roots.at[e]);
            }
            give_ratios<HALF>(exchange, ratios);
            // Also: nobody writes a pixel before its neighbours in the block have read it.
            __syncthreads();
            const Octet sums = sum_ratios<HALF>(exchange, ratios, lrn, channel, channels);
#pragma unroll
            for (int e = 0; e < OCTET; ++e) {
                gradient.at[e] += factor * own.at[e] * sums.at[e];
            }
        }
        if (is_inside) {
#pragma unroll
            for (int e = 0; e < OCTET; ++e) {
                gradient.at[e] = RELU_FIRST && !(own.at[e] > 0.0f) ? 0.0f : gradient.at[e];
                bias_sums.at[e] += gradient.at[e];
            }
            store_octet(pixel + channel, gradient);
        }
    };

    int row = start % num_rows, tile = start / num_rows % num_tiles;
    long long sample = start / num_rows / num_tiles;
    Window above_left, above;
    for (int part = start; part < end; ++part) {
        const int column = tile * blockDim.y + threadIdx.y;
        const long long windows = sample * out_side * out_side * channels + channel;
        const auto window = [&](int row, int column) {
            return load_window(
                output_gradient + windows, argmax + windows, (row * out_side + column) * channels,
                0 <= row && row < out_side && 0 <= column && column < out_side);
        };
        if (part == start || row == 0) {
            above_left = window(row - 1, column - 1);
            above = window(row - 1, column);
        }
        const Window left = window(row, column - 1), own = window(row, column);
        real* pixel = convolved + ((sample * side + 2 * row) * side + 2 * column) * channels;
        Octet gradient = take(above_left, 8);
        add(gradient, above, 6);
        add(gradient, left, 2);
        add(gradient, own, 0);
        pass(pixel, gradient, 2 * column < side, 0);
        gradient = take(above, 7);
        add(gradient, own, 1);
        pass(pixel + channels, gradient, 2 * column + 1 < side, 1);
        if (2 * row + 1 < side) {
            pixel += side * channels;
            gradient = take(left, 5);
            add(gradient, own, 3);
            pass(pixel, gradient, 2 * column < side, 0);
            gradient = take(own, 4);
            pass(pixel + channels, gradient, 2 * column + 1 < side, 1);
        }
        above_left = left;
        above = own;
        if (++row == num_rows) {
            row = 0;
            if (++tile == num_tiles) {
                tile = 0;
                sample += 1;
            }
        }
    }
    __syncthreads();
    sum_rows(bias_sums, shared, [&](int to, float sum) {
        bias_partials[static_cast<long long>(blockIdx.x) * channels + to] = sum;
    });
}

#define TAIL_BACKWARD(RELU_FIRST, HALF) \
    tail_backward<RELU_FIRST, HALF>( \
        shared, convolved, bias, output_gradient, argmax, bias_partials, num_samples, channels, side, out_side, \
        num_partials, lrn)

// convolved (num_samples, side, side, channels), the convolution's output without its bias, becomes its own gradient;
// bias_partials (num_partials, channels) are sums of that gradient over num_partials = gridDim.x parts of the pixels.
// output_gradient and argmax are (num_samples, out_side, out_side, channels), as conv_tail_forward left the latter. In
// the order ReLU, pool, LRN output_gradient is what pooled_lrn_backward has made of it.
//
// A block of (octets, columns) threads; a thread computes eight channels of two columns, tile by tile of the sample's
// columns. Bytes: 2 sizeof(real) num_samples channels side^2 + (sizeof(real) + 1) num_samples channels out_side^2 (the
// latter twice, the second time from a cache).
//
// This one is for ReLU, LRN, pool.
extern "C" __global__ void __launch_bounds__(TAIL_BACKWARD_THREADS, TAIL_BACKWARD_BLOCKS) conv_tail_backward(
    real* convolved, const real* bias, const real* output_gradient, const unsigned char* argmax, float* bias_partials,
    int num_samples, int channels, int side, int out_side, int num_partials, int order, Lrn lrn) {
    __shared__ __align__(16) float shared[2 * EXCHANGED<2>];
    TAIL_BACKWARD(true, 2);
}

// The same for LRN, pool, ReLU.
extern "C" __global__ void __launch_bounds__(TAIL_BACKWARD_THREADS, TAIL_BACKWARD_BLOCKS) conv_tail_backward_relu_last(
    real* convolved, const real* bias, const real* output_gradient, const unsigned char* argmax, float* bias_partials,
    int num_samples, int channels, int side, int out_side, int num_partials, int order, Lrn lrn) {
    __shared__ __align__(16) float shared[2 * EXCHANGED<2>];
    TAIL_BACKWARD(false, 2);
}

// The same for ReLU, pool.
extern "C" __global__ void __launch_bounds__(TAIL_BACKWARD_THREADS, TAIL_BACKWARD_BLOCKS) conv_tail_backward_no_lrn(
    real* convolved, const real* bias, const real* output_gradient, const unsigned char* argmax, float* bias_partials,
    int num_samples, int channels, int side, int out_side, int num_partials, int order, Lrn lrn) {
    __shared__ __align__(16) float shared[2 * EXCHANGED<2>];
    TAIL_BACKWARD(true, 0);
}

// The same for LRN of any n and beta, whose neighbours' values and ratios are read again from the caches.
extern "C" __global__ void __launch_bounds__(TAIL_BACKWARD_THREADS, 2) conv_tail_backward_any_lrn(
    real* convolved, const real* bias, const real* output_gradient, const unsigned char* argmax, float* bias_partials,
    int num_samples, int channels, int side, int out_side, int num_partials, int order, Lrn lrn) {
    __shared__ __align__(16) float shared[2 * EXCHANGED<ANY_HALF>];
    if (order == ORDER_RELU_LRN_POOL) {
        TAIL_BACKWARD(true, ANY_HALF);
    } else {
        TAIL_BACKWARD(false, ANY_HALF);
    }
}
