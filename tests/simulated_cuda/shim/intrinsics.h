// CUDA's built-in functions.
#pragma once

namespace {

inline void __syncthreads(int line = __builtin_LINE()) { simulated::current->machine->wait_for_block(line); }

inline void __syncwarp(unsigned int mask = 0xffffffffu, int line = __builtin_LINE()) {
    simulated::current->machine->exchange(0, mask, line);
}

namespace simulated {

// The value of lane `from` of the running thread's warp; its own where there is no such lane.
template <typename T> T shuffle(unsigned int mask, T value, unsigned int from, int line) {
    static_assert(sizeof(T) <= sizeof(std::uint64_t) && std::is_trivially_copyable<T>::value,
                  "a shuffled value is a plain number");
    std::uint64_t word = 0;
    std::memcpy(&word, &value, sizeof(T));
    const std::uint64_t* words = current->machine->exchange(word, mask, line);
    if (from < 32 && (mask & current->machine->lanes(current->index / 32)) >> from & 1u) {
        std::memcpy(&value, &words[from], sizeof(T));
    }
    return value;
}

inline unsigned int lane() { return current->index % 32; }

}  // namespace simulated

template <typename T>
T __shfl_sync(unsigned int mask, T value, int from, int width = 32, int line = __builtin_LINE()) {
    const unsigned int lane = simulated::lane();
    return simulated::shuffle(mask, value, lane / width * width + static_cast<unsigned int>(from) % width, line);
}

template <typename T>
T __shfl_up_sync(unsigned int mask, T value, unsigned int by, int width = 32, int line = __builtin_LINE()) {
    const unsigned int lane = simulated::lane();
    return simulated::shuffle(mask, value, lane % width >= by ? lane - by : lane, line);
}

template <typename T>
T __shfl_down_sync(unsigned int mask, T value, unsigned int by, int width = 32, int line = __builtin_LINE()) {
    const unsigned int lane = simulated::lane();
    return simulated::shuffle(mask, value, lane % width + by < static_cast<unsigned int>(width) ? lane + by : lane,
                              line);
}

template <typename T>
T __shfl_xor_sync(unsigned int mask, T value, int by, int width = 32, int line = __builtin_LINE()) {
    const unsigned int lane = simulated::lane(), from = lane ^ static_cast<unsigned int>(by);
    return simulated::shuffle(mask, value, from / width <= lane / width ? from : lane, line);
}

inline unsigned int __ballot_sync(unsigned int mask, int predicate, int line = __builtin_LINE()) {
    const std::uint64_t* words = simulated::current->machine->exchange(predicate != 0, mask, line);
    const unsigned int lanes = mask & simulated::current->machine->lanes(simulated::current->index / 32);
    unsigned int ballot = 0;
    for (unsigned int lane = 0; lane < 32; ++lane) {
        ballot |= (lanes >> lane & 1u) && words[lane] != 0 ? 1u << lane : 0u;
    }
    return ballot;
}

inline int __any_sync(unsigned int mask, int predicate, int line = __builtin_LINE()) {
    return __ballot_sync(mask, predicate, line) != 0;
}

inline int __all_sync(unsigned int mask, int predicate, int line = __builtin_LINE()) {
    return __ballot_sync(mask, !predicate, line) == 0;
}

inline unsigned int __float_as_uint(float value) {
    unsigned int bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline float __uint_as_float(unsigned int bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }

template <typename T> T min(T a, T b) { return b < a ? b : a; }
template <typename T> T max(T a, T b) { return a < b ? b : a; }

}  // namespace
