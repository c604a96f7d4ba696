// Blocks: their threads as fibers, barriers between them, shared memory.
//
// A fiber runs one thread after another; a thread that waits keeps its fiber, and the next thread takes a fresh one. So
// a kernel without barriers costs one call a thread, on one stack.
#pragma once

namespace {
namespace simulated {

enum class Wait { None, Block, Warp };

// A fiber and the thread that it runs.
struct Fiber {
    Context context;
    std::unique_ptr<char[]> stack;
    Thread thread;
    Wait wait = Wait::None;
    int line = 0;            // Of the barrier.
    unsigned int mask = 0;   // Of a warp's barrier.
};

// A warp's shuffles: each lane leaves its value in one of two rows in turns, so that none overwrites what another has
// yet to read.
struct Exchange {
    std::uint64_t values[2][32];
    unsigned int turns[32];
};

// An order of 0..count: from `first` in steps that have no divisor in common with count.
struct Order {
    std::uint64_t count, first, step;

    // Order 0 is ascending, 1 descending, others leap.
    Order(std::uint64_t count, unsigned int order) : count(count), first(0), step(1) {
        if (order == 1) {
            first = count - 1;
            step = count - 1;
        } else if (order > 1) {
            first = (order * 7919ULL) % count;
            step = (count * 5 / 8 + order * 31ULL) % count;
        }
        while (count > 1 && std::gcd(step, count) != 1) {
            step = step % count + 1;
        }
    }

    std::uint64_t at(std::uint64_t position) const {
        return static_cast<std::uint64_t>((first + static_cast<unsigned __int128>(position) * step) % count);
    }
};

// What is thread_local in this library, on this thread of the host: `current`, and the kernels' shared memory.
struct SharedMemory {
    char* start = nullptr;
    std::size_t bytes = 0;

    static SharedMemory find() {
        SharedMemory found;
        current = nullptr;  // The loader makes a thread's block when it is first touched.
        dl_iterate_phdr(
            [](dl_phdr_info* library, std::size_t, void* data) {
                auto to = static_cast<SharedMemory*>(data);
                auto own = reinterpret_cast<char*>(&current);
                auto block = static_cast<char*>(library->dlpi_tls_data);
                for (int at = 0; block != nullptr && at < library->dlpi_phnum; ++at) {
                    const auto& segment = library->dlpi_phdr[at];
                    if (segment.p_type == PT_TLS && own >= block && own < block + segment.p_memsz) {
                        *to = SharedMemory{block, segment.p_memsz};
                        return 1;
                    }
                }
                return 0;
            },
            &found);
        return found;
    }

    // A pattern that is not a number as f32, f64 or bf16, and a huge one as an integer.
    void poison() const {
        Thread* kept = current;
        std::memset(start, 0xff, bytes);
        current = kept;
    }
};

// Runs the blocks of a launch. One launch uses it at a time; its stacks serve the next.
class Machine {
public:
    // Runs `kernel(argument)` once for each thread of the grid; false, and a message, if its threads part ways.
    bool run(dim3 grid, dim3 block, unsigned int order, void (*kernel)(void*), void* argument) {
        kernel_ = kernel;
        argument_ = argument;
        grid_ = grid;
        block_ = block;
        num_threads_ = block.x * block.y * block.z;
        order_ = order;
        thread_order_.resize(num_threads_);
        const Order threads(num_threads_, order);
        for (unsigned int at = 0; at < num_threads_; ++at) {
            thread_order_[at] = static_cast<unsigned int>(threads.at(at));
        }
        exchanges_.resize((num_threads_ + 31) / 32);
        // Another thread of the host may have run the last launch: fibers begin anew.
        num_begun_ = 0;
        idle_.clear();
        const std::uint64_t num_blocks = static_cast<std::uint64_t>(grid.x) * grid.y * grid.z;
        const Order blocks(num_blocks, order);
        const SharedMemory shared = SharedMemory::find();
        bool has_waited = false;
        for (std::uint64_t at = 0; at < num_blocks; ++at) {
            // Shared memory is of no use without barriers: a kernel that had none in its last block is spared the time.
            if (at == 0 || has_waited) {
                shared.poison();
            }
            if (!run_block(blocks.at(at))) {
                return false;
            }
            has_waited = has_waited_;
        }
        return true;
    }

    const char* message() const { return message_; }

    // Of the running thread: waits until all threads of its block have come to this line.
    void wait_for_block(int line) { park(Wait::Block, line, 0); }

    // Of the running thread: gives `value` and gets those of its warp, of which the lanes in `mask` have come.
    const std::uint64_t* exchange(std::uint64_t value, unsigned int mask, int line) {
        const unsigned int lane = current->index % 32;
        Exchange& warp = exchanges_[current->index / 32];
        const unsigned int row = warp.turns[lane]++ % 2;
        warp.values[row][lane] = value;
        park(Wait::Warp, line, mask);
        return warp.values[row];
    }

    // The lanes that a warp has: fewer than 32 at the end of an odd block.
    unsigned int lanes(unsigned int warp) const {
        const unsigned int count = num_threads_ - warp * 32;
        return count >= 32 ? 0xffffffffu : (1u << count) - 1;
    }

private:
    bool run_block(std::uint64_t block) {
        block_index_ = uint3{static_cast<unsigned int>(block % grid_.x),
                             static_cast<unsigned int>(block / grid_.x % grid_.y),
                             static_cast<unsigned int>(block / grid_.x / grid_.y)};
        num_started_ = num_finished_ = 0;
        has_waited_ = false;
        waiting_.assign(num_threads_, nullptr);
        std::memset(exchanges_.data(), 0, exchanges_.size() * sizeof(Exchange));
        while (num_finished_ < num_threads_) {
            if (num_started_ < num_threads_) {
                resume(idle_fiber());
            } else if (!release_warps() && !release_block()) {
                return false;
            }
        }
        return true;
    }

    Fiber& idle_fiber() {
        if (!idle_.empty()) {
            Fiber& fiber = *idle_.back();
            idle_.pop_back();
            return fiber;
        }
        if (num_begun_ == fibers_.size()) {
            fibers_.push_back(std::make_unique<Fiber>());
            fibers_.back()->stack.reset(new char[STACK_BYTES]);
        }
        Fiber& fiber = *fibers_[num_begun_++];
        fiber.thread = Thread{};
        fiber.thread.machine = this;
        fiber.context.begin(fiber.stack.get(), STACK_BYTES, &Machine::enter);
        return fiber;
    }

    void resume(Fiber& fiber) {
        running_ = &fiber;
        current = &fiber.thread;
        scheduler_.switch_to(fiber.context);
        current = nullptr;
    }

    static void enter() { current->machine->run_threads(); }

    // On a fiber: runs threads as long as there are some.
    void run_threads() {
        for (;;) {
            while (num_started_ < num_threads_) {
                begin(running_->thread, thread_order_[num_started_++]);
                kernel_(argument_);
                num_finished_ += 1;
            }
            idle_.push_back(running_);
            running_->context.switch_to(scheduler_);
        }
    }

    void begin(Thread& thread, unsigned int index) const {
        thread.index = index;
        thread.in_block = uint3{index % block_.x, index / block_.x % block_.y, index / block_.x / block_.y};
        thread.block = block_index_;
        thread.block_size = block_;
        thread.grid_size = grid_;
    }

    // On a fiber: waits.
    void park(Wait wait, int line, unsigned int mask) {
        Fiber& fiber = *running_;
        fiber.wait = wait;
        fiber.line = line;
        fiber.mask = mask;
        waiting_[fiber.thread.index] = &fiber;
        has_waited_ = true;
        fiber.context.switch_to(scheduler_);
    }

    // Lets the warps go on whose lanes have met; whether there were some.
    bool release_warps() {
        ready_.clear();
        for (unsigned int index : thread_order_) {
            const Fiber* fiber = waiting_[index];
            if (fiber != nullptr && fiber->wait == Wait::Warp && have_met(index / 32, *fiber)) {
                ready_.push_back(index);
            }
        }
        return resume_ready();
    }

    bool have_met(unsigned int warp, const Fiber& fiber) const {
        for (unsigned int lane = 0; lane < 32; ++lane) {
            if ((fiber.mask & lanes(warp)) >> lane & 1u) {
                const Fiber* other = waiting_[warp * 32 + lane];
                if (other == nullptr || other->wait != Wait::Warp || other->line != fiber.line ||
                    other->mask != fiber.mask) {
                    return false;
                }
            }
        }
        return true;
    }

    // Lets the block go on if all its threads have met; a message if some never will.
    bool release_block() {
        const Fiber* first = nullptr;
        for (unsigned int index = 0; index < num_threads_; ++index) {
            first = first == nullptr ? waiting_[index] : first;
        }
        for (unsigned int index = 0; index < num_threads_; ++index) {
            const Fiber* other = waiting_[index];
            if (other == nullptr) {
                return fail(*first, index, "has left the kernel", 0);
            }
            if (other->wait != first->wait || other->line != first->line) {
                return fail(*first, index, "waits at line", other->line);
            }
        }
        if (first->wait == Wait::Warp) {
            return fail(*first, first->thread.index, "names lanes that do not come there", 0);
        }
        ready_ = thread_order_;
        return resume_ready();
    }

    // Threads in turns; in an odd order a warp runs ahead as far as the block's next barrier, before the others go on.
    bool resume_ready() {
        for (unsigned int index : ready_) {
            waiting_[index]->wait = Wait::None;
        }
        for (unsigned int index : ready_) {
            if (!is_released(index)) {
                continue;  // It has run ahead.
            }
            if (order_ % 2 == 1) {
                run_ahead(index / 32);
            } else {
                resume_thread(index);
            }
        }
        return !ready_.empty();
    }

    bool is_released(unsigned int index) const {
        return waiting_[index] != nullptr && waiting_[index]->wait == Wait::None;
    }

    void resume_thread(unsigned int index) {
        Fiber& fiber = *waiting_[index];
        waiting_[index] = nullptr;
        resume(fiber);
    }

    void run_ahead(unsigned int warp) {
        const unsigned int first = warp * 32, end = min_of(first + 32, num_threads_);
        bool has_met = true;
        while (has_met) {
            for (unsigned int index = first; index < end; ++index) {
                if (is_released(index)) {
                    resume_thread(index);
                }
            }
            unsigned int met = 0;
            for (unsigned int index = first; index < end; ++index) {
                const Fiber* fiber = waiting_[index];
                met |= fiber != nullptr && fiber->wait == Wait::Warp && have_met(warp, *fiber) ? 1u << index % 32 : 0u;
            }
            for (unsigned int index = first; index < end; ++index) {
                if (met >> index % 32 & 1u) {
                    waiting_[index]->wait = Wait::None;
                }
            }
            has_met = met != 0;
        }
    }

    static unsigned int min_of(unsigned int a, unsigned int b) { return a < b ? a : b; }

    bool fail(const Fiber& waiting, unsigned int other, const char* what, int line) {
        char number[16] = "";
        if (line > 0) {
            std::snprintf(number, sizeof number, " %d", line);
        }
        std::snprintf(message_, sizeof message_,
                      "divergent barrier: in block (%u, %u, %u) thread %u waits at line %d, and thread %u %s%s",
                      block_index_.x,
                      block_index_.y, block_index_.z, waiting.thread.index, waiting.line, other, what, number);
        return false;
    }

    Context scheduler_;
    std::vector<std::unique_ptr<Fiber>> fibers_;
    std::size_t num_begun_ = 0;            // Fibers of this launch.
    std::vector<Fiber*> idle_;             // Those of them that run no thread.
    Fiber* running_ = nullptr;
    void (*kernel_)(void*) = nullptr;
    void* argument_ = nullptr;
    dim3 grid_, block_;
    uint3 block_index_{};
    unsigned int order_ = 0, num_threads_ = 0, num_started_ = 0, num_finished_ = 0;
    std::vector<unsigned int> thread_order_;
    std::vector<Fiber*> waiting_;          // The fiber on which a thread waits.
    std::vector<unsigned int> ready_;
    std::vector<Exchange> exchanges_;      // One a warp.
    bool has_waited_ = false;              // A thread of this block has.
    char message_[256] = {};
};

}  // namespace simulated
}  // namespace
