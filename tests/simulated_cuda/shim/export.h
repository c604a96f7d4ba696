// How the simulated driver launches a kernel.
#pragma once

namespace {
namespace simulated {

// Machines that no launch uses now.
class Machines {
public:
    std::unique_ptr<Machine> take() {
        const std::lock_guard<std::mutex> guard(lock_);
        if (idle_.empty()) {
            return std::make_unique<Machine>();
        }
        auto machine = std::move(idle_.back());
        idle_.pop_back();
        return machine;
    }

    void give_back(std::unique_ptr<Machine> machine) {
        const std::lock_guard<std::mutex> guard(lock_);
        idle_.push_back(std::move(machine));
    }

private:
    std::mutex lock_;
    std::vector<std::unique_ptr<Machine>> idle_;
};

static Machines machines;

template <typename T> struct Signature;

template <typename... Parameters> struct Signature<void(Parameters...)> {
    // Bytes of each parameter to `sizes`, as many as it takes; returns their number.
    static unsigned int sizes(unsigned int* sizes, unsigned int capacity) {
        const unsigned int all[] = {static_cast<unsigned int>(sizeof(Parameters))..., 0};
        for (unsigned int at = 0; at < sizeof...(Parameters) && at < capacity; ++at) {
            sizes[at] = all[at];
        }
        return sizeof...(Parameters);
    }

    template <void (*KERNEL)(Parameters...)> static void call(void* parameters) {
        call<KERNEL>(static_cast<void**>(parameters), std::index_sequence_for<Parameters...>());
    }

private:
    template <void (*KERNEL)(Parameters...), std::size_t... AT>
    static void call([[maybe_unused]] void** parameters, std::index_sequence<AT...>) {
        KERNEL(*static_cast<Parameters*>(parameters[AT])...);
    }
};

inline int launch(void (*call)(void*), void** parameters, const unsigned int* grid, const unsigned int* block,
                  unsigned int shared_bytes, unsigned int order, char* message, std::size_t message_bytes) {
    const std::uint64_t num_threads = static_cast<std::uint64_t>(block[0]) * block[1] * block[2];
    if (grid[0] == 0 || grid[1] == 0 || grid[2] == 0 || grid[0] > 0x7fffffff || grid[1] > 65535 || grid[2] > 65535 ||
        num_threads == 0 || num_threads > 1024 || block[2] > 64) {
        std::snprintf(message, message_bytes, "a grid of (%u, %u, %u) blocks of (%u, %u, %u) threads",
                      grid[0], grid[1], grid[2],
                      block[0], block[1], block[2]);
        return 1;
    }
    if (shared_bytes > 0) {
        std::snprintf(message, message_bytes, "%u bytes of dynamic shared memory, which is not simulated",
                      shared_bytes);
        return 1;
    }
    auto machine = machines.take();
    const bool succeeded =
        machine->run(dim3{grid[0], grid[1], grid[2]}, dim3{block[0], block[1], block[2]}, order, call, parameters);
    if (!succeeded) {
        std::snprintf(message, message_bytes, "%s", machine->message());
    }
    machines.give_back(std::move(machine));
    return succeeded ? 0 : 1;
}

}  // namespace simulated
}  // namespace

#define SIMULATED_EXPORT extern "C" __attribute__((visibility("default")))

// simulated_launch_name runs a kernel with parameters as cuLaunchKernel takes them, blocks and threads in the given
// order: 0, or another number and a message. simulated_params_name gives the bytes of its parameters.
#define SIMULATED_KERNEL(name)                                                                                         \
    SIMULATED_EXPORT int simulated_launch_##name(void** parameters, const unsigned int grid[3],                        \
                                                 const unsigned int block[3], unsigned int shared_bytes,               \
                                                 unsigned int order, char* message, std::size_t message_bytes) {       \
        return simulated::launch(&simulated::Signature<decltype(name)>::call<&name>, parameters, grid, block,          \
                                 shared_bytes, order, message, message_bytes);                                         \
    }                                                                                                                  \
    SIMULATED_EXPORT unsigned int simulated_params_##name(unsigned int* sizes, unsigned int capacity) {                \
        return simulated::Signature<decltype(name)>::sizes(sizes, capacity);                                           \
    }
