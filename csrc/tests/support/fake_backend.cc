// A backend for tests: integer arithmetic in place of a model, so that equal images give equal bits, and faults on
// demand. The results of an image depend on its own pixels, positions and grid only.
//   embedding [N, D]: D weighted sums over the patches and positions of the image
//   logits [N, C]: C other ones, and its grid
//   tokens [T, D]: per token
// Of texts (input_ids, attention_mask or not): embedding [N, D], sum d of the ids that are not masked, each times
// 1 + its place and plus d.
// FAKE_ABI changes the version it claims to speak, FAKE_ONLY_ABI the one that it answers; FAKE_NEEDS_VENDOR makes it
// need a library that lies elsewhere.
#include "support/fake_backend.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "navit_edge/backend_sdk.h"

#if !defined(FAKE_ABI)
#define FAKE_ABI NAVIT_EDGE_BACKEND_ABI_VERSION
#endif

#if defined(FAKE_NEEDS_VENDOR)
extern "C" int fake_vendor_version();
#endif

namespace {

namespace sdk = navit_edge::sdk;

struct Counters {
  std::atomic<std::int32_t> opened{0}, closed{0}, runs{0}, most_in_flight{0}, slots{0}, threads{0}, misuse{0}, ended{0},
      in_flight_of_all{0}, most_in_flight_of_all{0}, gave_up{0}, lent_inputs{0};
};
Counters counters;

/// Runs that stall wait here; nobody is let go by time, as an engine that hangs is not.
struct Stalls {
  std::mutex mutex;
  std::condition_variable released;
  std::uint64_t releases = 0;

  std::uint64_t seen() {
    const std::lock_guard lock(mutex);
    return releases;
  }
  /// Until a release after `since`.
  void stall(std::uint64_t since) {
    std::unique_lock lock(mutex);
    released.wait(lock, [&] { return releases != since; });
  }
  void release() {
    const std::lock_guard lock(mutex);
    ++releases;
    released.notify_all();
  }
};
Stalls& stalls() {
  static auto* all = new Stalls;  // never destroyed: a thread may be in it when the process ends
  return *all;
}

void raise_to(std::atomic<std::int32_t>& most, std::int32_t value) {
  for (std::int32_t seen = most; seen < value;) {
    if (most.compare_exchange_weak(seen, value)) break;
  }
}

/// Waits until `done`; false where that takes more than a minute.
template <class Done>
bool wait_until(Done&& done) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!done()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  return true;
}

using Options = std::map<std::string, std::string, std::less<>>;

Options options_of(const navit_edge_engine_desc& desc) {
  Options options;
  for (std::size_t i = 0; i < desc.option_count; ++i) options[desc.options[i].key] = desc.options[i].value;
  const std::string device = options["device_index"] + options["cores"];
  for (const auto& [key, value] : Options(options)) {
    if (const auto at = key.find('@'); at != std::string::npos && key.substr(at + 1) == device) {
      options[key.substr(0, at)] = value;
    }
  }
  return options;
}

// A run allocates nothing, unless its outputs are larger than 256 KiB: what the tests of memory count is the library's.
struct Inputs {
  std::span<const navit_edge_tensor> tensors;

  [[nodiscard]] const navit_edge_tensor& at(std::string_view name) const {
    for (const navit_edge_tensor& tensor : tensors) {
      if (name == tensor.name) return tensor;
    }
    throw navit_edge::BackendError("the fake engine wants the input " + std::string(name));
  }
  [[nodiscard]] const std::int32_t* ints(std::string_view name) const {
    return static_cast<const std::int32_t*>(at(name).data);
  }
};

}  // namespace

struct navit_edge_engine {
  explicit navit_edge_engine(const navit_edge_engine_desc& desc)
      : options(options_of(desc)),
        busy(static_cast<std::size_t>(desc.slots)),
        sums(static_cast<std::size_t>(desc.slots)) {
    if (options.contains("fail_open")) throw navit_edge::BackendError(options["fail_open"]);
    if (const int most = number("most_slots", desc.slots); desc.slots > most) {
      std::this_thread::sleep_for(std::chrono::microseconds(number("refuse_slots_after_us", 0)));
      throw navit_edge::BackendError("out of beads at slot " + std::to_string(most + 1) + " of " +
                                     std::to_string(desc.slots));
    }
    if (options.contains("take_content")) taken = std::make_unique<sdk::TakenBytes>(*desc.content);
    for (std::vector<std::uint32_t>& one : sums) one.reserve(1 << 16);
    ++counters.opened;
    counters.slots = desc.slots;
    counters.threads = desc.threads;
  }
  ~navit_edge_engine() { ++counters.closed; }

  void run(std::int32_t slot, const Inputs& inputs, const navit_edge_tensor* outputs, std::size_t output_count) {
    if (slot < 0 || static_cast<std::size_t>(slot) >= busy.size() ||
        busy[static_cast<std::size_t>(slot)].exchange(true)) {
      ++counters.misuse;
      throw navit_edge::BackendError("slot misused");
    }
    const std::uint64_t releases = stalls().seen();
    ++counters.runs;
    if (std::string_view(inputs.tensors[0].name) == "input_ids") {
      embed_texts(inputs, outputs[0]);
      busy[static_cast<std::size_t>(slot)] = false;
      return;
    }
    raise_to(counters.most_in_flight, ++in_flight);
    raise_to(counters.most_in_flight_of_all, ++counters.in_flight_of_all);
    const std::int32_t run = started++;
    struct Ending {
      navit_edge_engine& engine;
      std::size_t slot;
      ~Ending() {
        --engine.in_flight;
        --counters.in_flight_of_all;
        engine.busy[slot] = false;
        ++counters.ended;
      }
    } const ending{*this, static_cast<std::size_t>(slot)};
    const std::int64_t tokens = inputs.at("patches").shape[0];
    if (const int only = number("tokens", -1); only >= 0 && tokens != only) {
      throw navit_edge::BackendError("a pack of " + std::to_string(tokens) + " tokens; expected " +
                                     std::to_string(only));
    }
    const auto fail = [&] { throw navit_edge::BackendError("run " + std::to_string(run) + " was told to fail"); };
    if (run == number("fail_early_on_run", -1)) {
      wait_until([] { return counters.in_flight_of_all > 1; });
      fail();
    }
    if (const int runs = number("wait_for_runs", 0); !wait_until([&] { return counters.runs >= runs; })) {
      ++counters.gave_up;
    }
    if (const int ends = number("wait_for_ends", 0); !wait_until([&] { return counters.ended >= ends; })) {
      ++counters.gave_up;
    }
    std::this_thread::sleep_for(
        std::chrono::microseconds(number("stall_us", 0) + number("us_per_token", 0) * static_cast<int>(tokens)));
    if (chosen("stall_on_run", "stall_every", run)) stalls().stall(releases);
    if (run == number("wrong_shape_on_run", -1)) {
      throw navit_edge::BackendError("output " + std::string(outputs[0].name) + " has the shape [7, 7]; expected [" +
                                     std::to_string(outputs[0].shape[0]) + ", " + std::to_string(outputs[0].shape[1]) +
                                     "]");
    }
    count_lent(slot, inputs);
    for (std::size_t i = 0; i < output_count; ++i) compute(inputs, outputs[i], sums[static_cast<std::size_t>(slot)]);
    divide_logits(outputs, output_count);
    if (chosen("nan_on_run", "nan_every", run)) spoil(outputs, output_count);
    const int from = number("fail_from", std::numeric_limits<int>::max());
    if (chosen("fail_on_run", "fail_every", run) ||
        (run >= from && run - from < number("fail_count", std::numeric_limits<int>::max()))) {
      fail();
    }
  }

  /// By the options NAME_on_run and NAME_every.
  [[nodiscard]] bool chosen(std::string_view on_run, std::string_view each, int run) const {
    const int every = number(each, 0);
    return run == number(on_run, -1) || (every > 0 && run % every == every - 1);
  }

  void divide_logits(const navit_edge_tensor* outputs, std::size_t count) const {
    const auto divisor = static_cast<float>(number("logit_divisor", 1));
    for (std::size_t i = 0; i < count; ++i) {
      if (std::string_view(outputs[i].name) != "logits") continue;
      auto* out = static_cast<float*>(outputs[i].data);
      for (std::int64_t at = 0; at < outputs[i].shape[0] * outputs[i].shape[1]; ++at) out[at] /= divisor;
    }
  }

  void spoil(const navit_edge_tensor* outputs, std::size_t count) const {
    const int image = number("nan_image", -1);
    const auto only = options.find("nan_output");
    for (std::size_t i = 0; i < count; ++i) {
      const navit_edge_tensor& output = outputs[i];
      if (only != options.end() && only->second != output.name) continue;
      if (image >= 0 && std::string(output.name) == "tokens") continue;
      for (std::int64_t row = 0; row < output.shape[0]; ++row) {
        if (image >= 0 && row != image) continue;
        static_cast<float*>(output.data)[row * output.shape[1]] = std::numeric_limits<float>::quiet_NaN();
      }
    }
  }

  [[nodiscard]] std::string content() const {
    return taken == nullptr ? "" : std::string(static_cast<const char*>(taken->data()), taken->size());
  }

  [[nodiscard]] int number(std::string_view option, int otherwise) const {
    const auto found = options.find(option);
    return found == options.end() ? otherwise : std::stoi(found->second);
  }

  /// Where option lend_bytes says how much: that many bytes for each input of each slot.
  void* memory(std::int32_t slot, const std::string& name, std::size_t bytes) {
    if (!options.contains("lend_bytes") || bytes > std::stoul(options.at("lend_bytes"))) return nullptr;
    const std::lock_guard lock(lent_mutex);
    auto& place = lent[{slot, name}];
    if (place == nullptr) place = std::make_unique<Line[]>(std::stoul(options.at("lend_bytes")) / sizeof(Line) + 1);
    return place.get();
  }

  void count_lent(std::int32_t slot, const Inputs& inputs) {
    const std::lock_guard lock(lent_mutex);
    for (const auto& [key, place] : lent) {
      if (key.first == slot && inputs.at(key.second).data == place.get()) ++counters.lent_inputs;
    }
  }

  static void embed_texts(const Inputs& inputs, const navit_edge_tensor& output) {
    const std::int64_t tokens = inputs.tensors[0].shape[1];
    const std::int32_t* ids = inputs.ints("input_ids");
    const std::int32_t* mask = inputs.tensors.size() > 1 ? inputs.ints("attention_mask") : nullptr;
    auto* out = static_cast<float*>(output.data);
    for (std::int64_t i = 0; i < output.shape[0] * output.shape[1]; ++i) {
      const std::int64_t first = i / output.shape[1] * tokens;
      std::int64_t sum = 0;
      for (std::int64_t t = 0; t < tokens; ++t) {
        if (mask == nullptr || mask[first + t] != 0) sum += (1 + t) * (ids[first + t] + i % output.shape[1]);
      }
      out[i] = static_cast<float>(sum);
    }
  }

  static void compute(const Inputs& inputs, const navit_edge_tensor& output, std::vector<std::uint32_t>& sums) {
    const navit_edge_tensor& patches = inputs.at("patches");
    const std::int64_t tokens = patches.shape[0];
    const std::int64_t patch_bytes = patches.shape[1];
    const auto* pixels = static_cast<const std::uint8_t*>(patches.data);
    const std::int32_t* ids = inputs.ints("segment_ids");
    const std::int32_t* positions = inputs.ints("positions");
    const std::int32_t* grids = inputs.ints("grid_hw");
    const std::int64_t images = inputs.at("grid_hw").shape[0];
    const std::int64_t width = output.shape[1];
    const bool per_token = std::string_view(output.name) == "tokens";
    const std::uint32_t salt = std::string_view(output.name) == "logits" ? 31U : 7U;

    sums.assign(static_cast<std::size_t>((per_token ? tokens : images) * width), 0);
    for (std::int64_t t = 0; t < tokens; ++t) {
      if (!per_token && ids[t] >= images) continue;  // padding
      std::uint32_t* row = sums.data() + static_cast<std::size_t>((per_token ? t : ids[t]) * width);
      for (std::int64_t d = 0; d < width; ++d) {
        const auto weight = static_cast<std::uint32_t>(d) + salt;
        std::uint32_t sum = 0;
        for (std::int64_t f = 0; f < patch_bytes; ++f) {
          sum += (static_cast<std::uint32_t>(f) % weight + 1U) * pixels[t * patch_bytes + f];
        }
        row[d] += sum * 2654435761U +
                  static_cast<std::uint32_t>(positions[2 * t] * 1009 + positions[2 * t + 1] * 31) * weight;
      }
    }
    for (std::int64_t n = 0; !per_token && n < images; ++n) {
      sums[static_cast<std::size_t>(n * width)] += static_cast<std::uint32_t>(grids[2 * n] * 65537 + grids[2 * n + 1]);
    }
    auto* out = static_cast<float*>(output.data);
    for (std::size_t i = 0; i < sums.size(); ++i) out[i] = static_cast<float>(sums[i] >> 8);  // 24 bits: exact
  }

  Options options;
  std::vector<std::atomic<bool>> busy;           // [slots]
  std::vector<std::vector<std::uint32_t>> sums;  // [slots] what an output is made from
  std::atomic<std::int32_t> in_flight{0};
  std::atomic<std::int32_t> started{0};

  struct alignas(64) Line {
    char bytes[64];
  };
  std::unique_ptr<sdk::TakenBytes> taken;
  std::mutex lent_mutex;
  std::map<std::pair<std::int32_t, std::string>, std::unique_ptr<Line[]>> lent;
};

namespace {

std::int32_t probe(const navit_edge_engine_desc* desc, const navit_edge_option*, std::size_t, navit_edge_probe* out,
                   navit_edge_error* error) {
  return sdk::guard(error, [&] {
    const auto options = options_of(*desc);
    if (const auto refuse = options.find("refuse"); refuse != options.end()) {
      throw navit_edge::BackendError(refuse->second);
    }
    std::strcpy(out->library_version, "1.2.3");
#if defined(FAKE_NEEDS_VENDOR)
    if (fake_vendor_version() != 123) throw navit_edge::BackendError("not the fake vendor's library");
#endif
    std::strcpy(out->device, "an abacus");
  });
}

std::int32_t open(const navit_edge_engine_desc* desc, navit_edge_engine** out, navit_edge_error* error) {
  return sdk::guard(error, [&] { *out = std::make_unique<navit_edge_engine>(*desc).release(); });
}

std::int32_t run(navit_edge_engine* engine, std::int32_t slot, const navit_edge_tensor* inputs, std::size_t input_count,
                 const navit_edge_tensor* outputs, std::size_t output_count, navit_edge_error* error) {
  return sdk::guard(error, [&] { engine->run(slot, {{inputs, input_count}}, outputs, output_count); });
}

void close(navit_edge_engine* engine) { delete engine; }

std::int32_t query(navit_edge_engine* engine, const char* key, char* buffer, std::size_t capacity, std::size_t* needed,
                   navit_edge_error* error) {
  return sdk::guard(error, [&] {
    if (std::string(key) != "report") sdk::refuse_key(key);
    const auto padding = engine->options.find("report_bytes");  // a report longer than a first buffer
    const std::size_t extra = padding == engine->options.end() ? 0 : std::stoul(padding->second);
    const std::string text = sdk::JsonObject()
                                 .number("slots", static_cast<std::int64_t>(engine->busy.size()))
                                 .text("device", "an \"abacus\"\n")
                                 .text("padding", std::string(extra, 'x'))
                                 .text("content", engine->content())
                                 .done();
    sdk::answer(text, buffer, capacity, needed);
  });
}

std::int32_t memory(navit_edge_engine* engine, std::int32_t slot, const char* name, std::size_t bytes, void** data,
                    navit_edge_error* error) {
  return sdk::guard(error, [&] { *data = engine->memory(slot, name, bytes); });
}

[[maybe_unused]] const navit_edge_backend_table kTable = {FAKE_ABI, "fake", probe, open, run, close, query, memory};

}  // namespace

NAVIT_EDGE_BACKEND_EXPORT void fake_backend_stats(FakeStats* out, std::int32_t reset) {
  if (out != nullptr) {
    *out = {counters.opened,     counters.closed, counters.runs,  counters.most_in_flight,        counters.slots,
            counters.threads,    counters.misuse, counters.ended, counters.most_in_flight_of_all, counters.gave_up,
            counters.lent_inputs};
  }
  if (reset != 0) {
    counters.opened = counters.closed = counters.runs = counters.most_in_flight = counters.misuse = 0;
    counters.ended = counters.most_in_flight_of_all = counters.gave_up = counters.lent_inputs = 0;
  }
}

NAVIT_EDGE_BACKEND_EXPORT void fake_backend_release() { stalls().release(); }

#if !defined(FAKE_HIDES_ITS_TABLE)
NAVIT_EDGE_BACKEND_EXPORT const navit_edge_backend_table* navit_edge_backend(std::uint32_t abi_version) {
#if defined(FAKE_ONLY_ABI)  // as real backends do: a table for its own version, none for others
  return abi_version == FAKE_ONLY_ABI ? &kTable : nullptr;
#else
  (void)abi_version;
  return &kTable;
#endif
}
#endif
