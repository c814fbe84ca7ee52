#include "decode/jpeg_reader.h"

#include <csetjmp>
#include <cstddef>
#include <string>

#include "decode/jpeg_functions.h"
#include "navit_edge/error.h"

namespace navit_edge {
namespace {

void nothing_to_begin(j_decompress_ptr) {}
/// All of the file is there: there is no more.
boolean no_more(j_decompress_ptr) { return FALSE; }

void skip(j_decompress_ptr info, long bytes) {  // NOLINT(google-runtime-int): libjpeg's type
  if (bytes <= 0) return;
  jpeg_source_mgr& source = *info->src;
  const std::size_t most = source.bytes_in_buffer;
  const std::size_t count = static_cast<std::size_t>(bytes) < most ? static_cast<std::size_t>(bytes) : most;
  source.next_input_byte += count;
  source.bytes_in_buffer -= count;
}

}  // namespace

/// Calls of the library are in functions without objects that have destructors: an error jumps out of them.
struct JpegReader::State {
  enum class Outcome { kDone, kEnded, kError };

  const JpegFunctions& call = jpeg_functions();
  jpeg_decompress_struct info{};
  JumpingErrors errors{};
  jpeg_source_mgr source{};

  Outcome create() noexcept {
    info.err = errors.set(call);
    if (setjmp(errors.place) != 0) return Outcome::kError;
    call.create(&info, JPEG_LIB_VERSION, sizeof(info));
    info.src = &source;
    return Outcome::kDone;
  }

  Outcome read_header() noexcept {
    if (setjmp(errors.place) != 0) return Outcome::kError;
    return call.read_header(&info, TRUE) == JPEG_HEADER_OK ? Outcome::kDone : Outcome::kEnded;
  }

  Outcome start() noexcept {
    if (setjmp(errors.place) != 0) return Outcome::kError;
    return call.start(&info) != 0 ? Outcome::kDone : Outcome::kEnded;
  }

  Outcome read_row(JSAMPROW to) noexcept {
    if (setjmp(errors.place) != 0) return Outcome::kError;
    return call.read_rows(&info, &to, 1) == 1 ? Outcome::kDone : Outcome::kEnded;
  }

  Outcome finish() noexcept {
    if (setjmp(errors.place) != 0) return Outcome::kError;
    return call.finish(&info) != 0 ? Outcome::kDone : Outcome::kEnded;
  }

  void destroy() noexcept {
    if (setjmp(errors.place) == 0) call.destroy(&info);
  }

  /// Throws InvalidInput unless all is well.
  void require(Outcome outcome) {
    if (outcome == Outcome::kEnded) throw InvalidInput("the JPEG file ends too early; it is cut off; get it anew");
    if (outcome == Outcome::kDone && errors.base.num_warnings == 0) return;
    char text[JMSG_LENGTH_MAX] = "";
    errors.base.format_message(reinterpret_cast<j_common_ptr>(&info), text);
    throw InvalidInput("the JPEG file cannot be decoded (" + std::string(text) + "); check the file");
  }
};

JpegReader::JpegReader(std::span<const std::uint8_t> file) : state_(std::make_unique<State>()) {
  State& state = *state_;
  state.source.next_input_byte = file.data();
  state.source.bytes_in_buffer = file.size();
  state.source.init_source = nothing_to_begin;
  state.source.fill_input_buffer = no_more;
  state.source.skip_input_data = skip;
  state.source.resync_to_restart = state.call.resync_to_restart;
  state.source.term_source = nothing_to_begin;
  try {
    state.require(state.create());
    state.require(state.read_header());
    if (state.info.data_precision != 8 || (state.info.num_components != 1 && state.info.num_components != 3)) {
      throw InvalidInput("the JPEG file has " + std::to_string(state.info.num_components) + " channels of " +
                         std::to_string(state.info.data_precision) +
                         " bits; expected 1 or 3 of 8; decode it with another library");
    }
  } catch (...) {
    state.destroy();
    throw;
  }
  // As Pillow sets them.
  state.info.out_color_space = state.info.num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
}

JpegReader::~JpegReader() { state_->destroy(); }

Size JpegReader::size() const noexcept {
  return {static_cast<std::int32_t>(state_->info.image_height), static_cast<std::int32_t>(state_->info.image_width)};
}

std::int32_t JpegReader::channels() const noexcept { return state_->info.num_components; }

Size JpegReader::rows_size() const noexcept {
  return {static_cast<std::int32_t>(state_->info.output_height), static_cast<std::int32_t>(state_->info.output_width)};
}

void JpegReader::start(std::int32_t scale) {
  State& state = *state_;
  state.info.scale_num = 1;
  state.info.scale_denom = static_cast<unsigned int>(scale);
  state.require(state.start());
}

void JpegReader::read_row(std::uint8_t* to) { state_->require(state_->read_row(to)); }

void JpegReader::read_end() { state_->require(state_->finish()); }

}  // namespace navit_edge
