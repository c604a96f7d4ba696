// CUDA on the host: what a kernel's source needs to be compiled by a C++17 compiler and run, thread by thread.
//
//   c++ -std=c++17 -O2 -fPIC -shared -include cuda_shim.h -DREAL_F32 -x c++ kernels.cu -o kernels.so
//
// SIMULATED_KERNEL(name), at the end of the source, exports simulated_launch_name and simulated_params_name (export.h).
// A CUDA thread is a fiber (fiber.h); a block's threads run in turns on one thread of the host (block.h). Shared memory
// is filled with a pattern that is no number before each block. Several threads of the host may launch at the same
// time.
//
// Not simulated: races between threads that no barrier orders, the memory model, inline PTX (kernels keep it under
// __CUDA_ARCH__), approximate intrinsics, dynamic shared memory, atomics, textures.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <numeric>
#include <type_traits>
#include <utility>
#include <vector>

#include <link.h>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

// Kernels of the same name in several libraries of one process stay apart.
#pragma GCC visibility push(hidden)

#include "types.h"
#include "fiber.h"
#include "block.h"
#include "intrinsics.h"
#include "export.h"
