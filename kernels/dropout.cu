// Dropout (section 4.2 of the paper), with the masks of src/backend/cpu/dropout.rs.

#define DROPOUT_PURPOSE 3u

// In training: a unit is kept, and multiplied by factor, if its random word is at least threshold = p * 2^32; otherwise
// 0. values (num_samples, units) in place; element sample * units + unit reads word element % 4 of the stream's
// position (element / 4, step, layer).
//
// A thread computes eight units of a sample. Bytes: 2 sizeof(real) num_samples units.
extern "C" __global__ void __launch_bounds__(256) dropout_forward(
    real* values, const Scalars* scalars, unsigned long long seed, unsigned int layer, unsigned long long threshold,
    float factor, int num_samples, int units) {
    const long long element = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * OCTET;
    if (element >= static_cast<long long>(num_samples) * units) {
        return;
    }
    Octet own = load_octet(values + element);
    const uint2 key = uint2{static_cast<unsigned int>(seed), static_cast<unsigned int>(seed >> 32)};
    const unsigned int step = static_cast<unsigned int>(scalars->step);
#pragma unroll
    for (int quad = 0; quad < 2; ++quad) {
        const unsigned int position = static_cast<unsigned int>(element / 4 + quad);
        const uint4 words = philox4x32_10(uint4{position, step, layer, DROPOUT_PURPOSE}, key);
        float* four = own.at + quad * 4;
        four[0] = words.x >= threshold ? four[0] * factor : 0.0f;
        four[1] = words.y >= threshold ? four[1] * factor : 0.0f;
        four[2] = words.z >= threshold ? four[2] * factor : 0.0f;
        four[3] = words.w >= threshold ? four[3] * factor : 0.0f;
    }
    store_octet(values + element, own);
}

// In evaluation: values (count) *= factor in place. A thread computes eight. Bytes: 2 sizeof(real) count.
extern "C" __global__ void __launch_bounds__(256) scale(real* values, float factor, long long count) {
    const long long at = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * OCTET;
    if (at >= count) {
        return;
    }
    Octet own = load_octet(values + at);
#pragma unroll
    for (int e = 0; e < OCTET; ++e) {
        own.at[e] *= factor;
    }
    store_octet(values + at, own);
}
