// What all kernels share: the number types, eight channels at a time, ReLU.
//
// No headers: people's NVRTC has no include path. A source is compiled with -DREAL_BF16 or -DREAL_F32, which choose
// `real`, the type of activations, working weights and gradients; all arithmetic is in f32. PTX stands under
// __CUDA_ARCH__ in this file alone, beside C++ of the same meaning, by which tests run every kernel on the host.

struct bf16 { unsigned short bits; };
struct f16 { unsigned short bits; };

#if defined(REAL_BF16)
typedef bf16 real;
#elif defined(REAL_F32)
typedef float real;
#else
#error "compile with -DREAL_BF16 or -DREAL_F32"
#endif

// The numbers of a step; in device memory, one a slot, so that a recorded step reads them anew.
struct Scalars { unsigned long long step; float learning_rate; unsigned int num_valid; };
// What a step says of itself.
struct StepStatistics { double loss_sum; unsigned int num_top1, num_top5, num_samples, padding; };
// What a sample adds to it.
struct SampleLoss { float loss; unsigned int rank; };
// y = x / (k + alpha * sum over n neighbouring channels of x^2)^beta.
struct Lrn { float k, alpha, beta; int n; };

// Channels that a thread loads and stores at once: 16 bytes of bf16. Every layer's channels are a multiple of it.
#define OCTET 8

struct Octet { float at[OCTET]; };

template <typename T> __device__ __forceinline__ T read(const void* from) {
#ifdef __CUDA_ARCH__
    return *reinterpret_cast<const T*>(from);
#else
    T value;
    __builtin_memcpy(&value, from, sizeof(T));
    return value;
#endif
}

template <typename T> __device__ __forceinline__ void write(void* to, const T& value) {
#ifdef __CUDA_ARCH__
    *reinterpret_cast<T*>(to) = value;
#else
    __builtin_memcpy(to, &value, sizeof(T));
#endif
}

__device__ __forceinline__ float low_half(unsigned int pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float high_half(unsigned int pair) { return __uint_as_float(pair & 0xffff0000u); }

// Two f32 to two bf16, to the nearest, ties to even; `low` takes the lower address.
__device__ __forceinline__ unsigned int bf16_pair(float low, float high) {
#ifdef __CUDA_ARCH__
    unsigned int pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
#else
    const float values[2] = {low, high};
    unsigned int bits[2];
    for (int at = 0; at < 2; ++at) {
        const unsigned int word = __float_as_uint(values[at]);
        bits[at] = values[at] != values[at] ? 0x7fffu : (word + 0x7fffu + (word >> 16 & 1u)) >> 16;
    }
    return bits[0] | bits[1] << 16;
#endif
}

__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(bf16 value) {
    return __uint_as_float(static_cast<unsigned int>(value.bits) << 16);
}

// Exact, subnormal numbers too.
__device__ __forceinline__ float to_float(f16 value) {
#ifdef __CUDA_ARCH__
    float wide;
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(value.bits));
    return wide;
#else
    const unsigned int sign = static_cast<unsigned int>(value.bits & 0x8000u) << 16;
    const unsigned int exponent = value.bits >> 10 & 31u, fraction = value.bits & 0x3ffu;
    if (exponent == 0) {
        const float magnitude = static_cast<float>(fraction) * (1.0f / 16777216.0f);
        return __uint_as_float(sign | __float_as_uint(magnitude));
    }
    return __uint_as_float(sign | (exponent == 31 ? 255u : exponent + 112u) << 23 | fraction << 13);
#endif
}

__device__ __forceinline__ void store_real(float* to, float value) { *to = value; }
__device__ __forceinline__ void store_real(bf16* to, float value) {
    to->bits = static_cast<unsigned short>(bf16_pair(value, 0.0f));
}

// Eight values as they lie in memory: half the registers of an Octet's with bf16.
#ifdef REAL_BF16
typedef uint4 PackedOctet;
#else
typedef Octet PackedOctet;
#endif

__device__ __forceinline__ Octet unpack(const uint4& pairs) {
    return Octet{{low_half(pairs.x), high_half(pairs.x), low_half(pairs.y), high_half(pairs.y),
                  low_half(pairs.z), high_half(pairs.z), low_half(pairs.w), high_half(pairs.w)}};
}

__device__ __forceinline__ Octet unpack(const Octet& octet) { return octet; }

__device__ __forceinline__ Octet load_octet(const bf16* from) { return unpack(read<uint4>(from)); }

__device__ __forceinline__ Octet load_octet(const float* from) {
    const float4 first = read<float4>(from), second = read<float4>(from + 4);
    return Octet{{first.x, first.y, first.z, first.w, second.x, second.y, second.z, second.w}};
}

__device__ __forceinline__ void store_octet(bf16* to, const Octet& values) {
    uint4 pairs;
    pairs.x = bf16_pair(values.at[0], values.at[1]);
    pairs.y = bf16_pair(values.at[2], values.at[3]);
    pairs.z = bf16_pair(values.at[4], values.at[5]);
    pairs.w = bf16_pair(values.at[6], values.at[7]);
    write(to, pairs);
}

__device__ __forceinline__ void store_octet(float* to, const Octet& values) {
    write(to, float4{values.at[0], values.at[1], values.at[2], values.at[3]});
    write(to + 4, float4{values.at[4], values.at[5], values.at[6], values.at[7]});
}

__device__ __forceinline__ float2 load_pair(const bf16* from) {
    const unsigned int pair = read<unsigned int>(from);
    return float2{low_half(pair), high_half(pair)};
}

__device__ __forceinline__ float2 load_pair(const float* from) { return read<float2>(from); }

// Four values that are used once: they need not stay in the caches.
__device__ __forceinline__ float4 load_once(const float* from) {
#ifdef __CUDA_ARCH__
    float4 values;
    asm volatile("ld.global.cs.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(values.x), "=f"(values.y), "=f"(values.z), "=f"(values.w) : "l"(from));
    return values;
#else
    return read<float4>(from);
#endif
}

__device__ __forceinline__ void store_once(float* to, const float4& values) {
#ifdef __CUDA_ARCH__
    asm volatile("st.global.cs.v4.f32 [%0], {%1, %2, %3, %4};"
                 :: "l"(to), "f"(values.x), "f"(values.y), "f"(values.z), "f"(values.w) : "memory");
#else
    write(to, values);
#endif
}

__device__ __forceinline__ Octet zero_octet() { return Octet{{0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f}}; }

// max(x, 0). What is not a number stays so, and shows in the loss.
__device__ __forceinline__ float relu(float value) {
#ifdef __CUDA_ARCH__
    float rectified;
    asm("max.NaN.f32 %0, %1, 0f00000000;" : "=f"(rectified) : "f"(value));
    return rectified;
#else
    return value > 0.0f || value != value ? value : 0.0f;
#endif
}

// 1 / sqrt(x), to 2^-22.9 of itself.
__device__ __forceinline__ float inverse_root(float value) {
#ifdef __CUDA_ARCH__
    float root;
    asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(root) : "f"(value));
    return root;
#else
    return 1.0f / sqrtf(value);
#endif
}

// sqrt(x), to 2^-23 of itself.
__device__ __forceinline__ float root(float value) {
#ifdef __CUDA_ARCH__
    float result;
    asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(value));
    return result;
#else
    return sqrtf(value);
#endif
}

// x^exponent of x > 0, to 2^-22 (1 + |exponent log2 x|) of itself.
__device__ __forceinline__ float power(float value, float exponent) {
#ifdef __CUDA_ARCH__
    float logarithm, result;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(logarithm) : "f"(value));
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(exponent * logarithm));
    return result;
#else
    return powf(value, exponent);
#endif
}
