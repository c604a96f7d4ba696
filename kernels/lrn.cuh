// Local response normalisation of a thread's eight channels (section 3.3 of the paper), as src/backend/cpu/lrn.rs.
//
// HALF is 2 for the paper's n = 5 and beta = 0.75: a thread keeps the neighbours in registers. 0 is no LRN at all,
// ANY_HALF any other n or beta.

#define ANY_HALF 127

// The channels that a thread keeps on either side of its own.
template <int HALF> struct Kept { static constexpr int EACH = HALF == ANY_HALF ? 0 : HALF; };

// Eight channels and those beside them; zeros beyond the first and the last channel.
template <int HALF> struct Around { float at[OCTET + 2 * Kept<HALF>::EACH]; };

template <int HALF>
__device__ __forceinline__ Around<HALF> load_around(const real* pixel, int channel, int channels) {
    constexpr int EACH = Kept<HALF>::EACH;
    Around<HALF> around;
    const Octet own = load_octet(pixel + channel);
#pragma unroll
    for (int e = 0; e < OCTET; ++e) {
        around.at[EACH + e] = own.at[e];
    }
    if constexpr (EACH > 0) {
        static_assert(EACH == 2, "neighbours are loaded as one pair");
        const float2 zeros = float2{0.0f, 0.0f};
        const float2 below = channel > 0 ? load_pair(pixel + channel - 2) : zeros;
        const float2 above = channel + OCTET < channels ? load_pair(pixel + channel + OCTET) : zeros;
        around.at[0] = below.x;
        around.at[1] = below.y;
        around.at[OCTET + 2] = above.x;
        around.at[OCTET + 3] = above.y;
    }
    return around;
}

// Bias and, where it comes first, ReLU.
template <bool RELU_FIRST> __device__ __forceinline__ float activate(float convolved, float bias) {
    const float value = convolved + bias;
    return RELU_FIRST ? relu(value) : value;
}

template <bool RELU_FIRST, int HALF>
__device__ __forceinline__ void activate_all(Around<HALF>& values, const Around<HALF>& biases) {
#pragma unroll
    for (int at = 0; at < OCTET + 2 * Kept<HALF>::EACH; ++at) {
        values.at[at] = activate<RELU_FIRST>(values.at[at], biases.at[at]);
    }
}

// s_c = k + alpha * sum over the n channels around c of x^2, of the thread's channels. `values` are activated; another
// n than the usual reads its neighbours from pixel (channels) and bias (channels).
template <bool RELU_FIRST, int HALF>
__device__ __forceinline__ Octet lrn_scales(
    const Lrn& lrn, const Around<HALF>& values, const real* pixel, const real* bias, int channel, int channels) {
    Octet scales;
    if constexpr (HALF == ANY_HALF) {
#pragma unroll
        for (int e = 0; e < OCTET; ++e) {
            const int first = max(channel + e - lrn.n / 2, 0), last = min(channel + e + lrn.n / 2, channels - 1);
            float sum = 0.0f;
#pragma unroll 1
            for (int other = first; other <= last; ++other) {
                const float value = activate<RELU_FIRST>(to_float(pixel[other]), to_float(bias[other]));
                sum += value * value;
            }
            scales.at[e] = lrn.k + lrn.alpha * sum;
        }
    } else {
#pragma unroll
        for (int e = 0; e < OCTET; ++e) {
            float sum = values.at[e] * values.at[e];
#pragma unroll
            for (int other = 1; other <= 2 * HALF; ++other) {
                sum += values.at[e + other] * values.at[e + other];
            }
            scales.at[e] = lrn.k + lrn.alpha * sum;
        }
    }
    return scales;
}

// scale^-1/2: its square is what the backward pass divides by.
__device__ __forceinline__ Octet inverse_roots(const Octet& scales) {
    Octet roots;
#pragma unroll
    for (int e = 0; e < OCTET; ++e) {
        roots.at[e] = inverse_root(scales.at[e]);
    }
    return roots;
}

// scale^-beta. The paper's 0.75 is two roots; any other goes by way of logarithms.
template <int HALF>
__device__ __forceinline__ Octet lrn_powers(const Lrn& lrn, const Octet& scales, const Octet& roots) {
    Octet powers;
#pragma unroll
    for (int e = 0; e < OCTET; ++e) {
        powers.at[e] = HALF == ANY_HALF ? power(scales.at[e], -lrn.beta) : roots.at[e] * root(roots.at[e]);
    }
    return powers;
}
