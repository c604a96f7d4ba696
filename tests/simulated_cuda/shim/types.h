// CUDA's keywords, vector types and built-in variables.
#pragma once

#define __global__
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
// A block runs on one thread of the host. Nothing else of a library is thread_local but simulated::current, so its
// whole block of such variables is shared memory (block.h).
#define __shared__ static thread_local

struct alignas(8) uint2 { unsigned int x, y; };
struct uint3 { unsigned int x, y, z; };
struct alignas(16) uint4 { unsigned int x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct dim3 { unsigned int x = 1, y = 1, z = 1; };

namespace {
namespace simulated {

class Machine;

// What a CUDA thread knows of itself.
struct Thread {
    Machine* machine = nullptr;
    uint3 in_block{};
    uint3 block{};
    dim3 block_size{};
    dim3 grid_size{};
    unsigned int index = 0;  // In the block.
};

// The one that runs on this thread of the host.
static thread_local Thread* current = nullptr;

}  // namespace simulated
}  // namespace

#define threadIdx (::simulated::current->in_block)
#define blockIdx (::simulated::current->block)
#define blockDim (::simulated::current->block_size)
#define gridDim (::simulated::current->grid_size)
