// Dropout (section 4.2 of the paper), with the masks of src/backend/cpu/dropout.rs.

#define DROPOUT_PURPOSE 3u

// In training, with rectify after ReLU: a unit is kept, and multiplied by factor, if its random word is at least
// threshold = p * 2^32; otherwise 0. input to output, both (num_samples, units / channels, channels), or in place;
// channels are a multiple of eight. In the CPU's order, (num_samples, channels, units / channels), element i reads word
// i % 4 of the stream's position (i / 4, step, layer).
//
// A thread computes eight units of a sample. Bytes: 2 sizeof(real) num_samples units.
extern "C" __global__ void __launch_bounds__(256) dropout_forward(
    const real* input, real* output, const Scalars* scalars, unsigned long long seed, unsigned int layer,
    unsigned long long threshold, float factor, int num_samples, int units, int channels, int rectify) {
    const long long at = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * OCTET;
    if (at >= static_cast<long long>(num_samples) * units) {
        return;
    }
    Octet own = load_octet(input + at);
#pragma unroll
    for (int e = 0; e < OCTET; ++e) {
        own.at[e] = rectify ? relu(own.at[e]) : own.at[e];
    }
    const uint2 key = uint2{static_cast<unsigned int>(seed), static_cast<unsigned int>(seed >> 32)};
    const unsigned int step = static_cast<unsigned int>(scalars->step);
    if (channels == units) {
#pragma unroll
        for (int quad = 0; quad < 2; ++quad) {
            const unsigned int position = static_cast<unsigned int>(at / 4 + quad);
            const uint4 words = philox4x32_10(uint4{position, step, layer, DROPOUT_PURPOSE}, key);
            float* four = own.at + quad * 4;
            four[0] = words.x >= threshold ? four[0] * factor : 0.0f;
            four[1] = words.y >= threshold ? four[1] * factor : 0.0f;
            four[2] = words.z >= threshold ? four[2] * factor : 0.0f;
            four[3] = words.w >= threshold ? four[3] * factor : 0.0f;
        }
    } else {
        // Neighbouring channels are elements that lie a plane apart.
        const int positions = units / channels, place = static_cast<int>(at % units);
        const long long first = at - place + static_cast<long long>(place % channels) * positions + place / channels;
#pragma unroll
        for (int e = 0; e < OCTET; ++e) {
            const long long element = first + e * positions;
            const unsigned int position = static_cast<unsigned int>(element / 4);
            const uint4 words = philox4x32_10(uint4{position, step, layer, DROPOUT_PURPOSE}, key);
            const unsigned int low = element % 2 == 0 ? words.x : words.y, high = element % 2 == 0 ? words.z : words.w;
            own.at[e] = (element % 4 < 2 ? low : high) >= threshold ? own.at[e] * factor : 0.0f;
        }
    }
    store_octet(output + at, own);
}

// Without dropout: output = ReLU(input) * factor, both (count), or in place. A thread computes eight.
// Bytes: 2 sizeof(real) count.
extern "C" __global__ void __launch_bounds__(256) relu_scale(
    const real* input, real* output, float factor, long long count) {
    const long long at = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * OCTET;
    if (at >= count) {
        return;
    }
    Octet own = load_octet(input + at);
#pragma unroll
    for (int e = 0; e < OCTET; ++e) {
        own.at[e] = relu(own.at[e]) * factor;
    }
    store_octet(output + at, own);
}
