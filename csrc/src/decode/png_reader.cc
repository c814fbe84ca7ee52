#include "decode/png_reader.h"

#include <array>
#include <csetjmp>
#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include "decode/png_functions.h"
#include "navit_edge/error.h"
#include "pixels/kernels/pixel_kernels.h"
#include "pixels/simd_level.h"

namespace navit_edge {
namespace {

using Rgba = std::array<std::uint8_t, 4>;

std::int32_t value_at(std::span<const std::uint8_t> bytes, std::size_t at) { return bytes[at] * 256 + bytes[at + 1]; }

/// What the pixels of gray with less than 8 bits, of gray with a transparent value, and of a palette stand for.
std::vector<Rgba> table_of(const PngHeader& header) {
  std::vector<Rgba> table;
  if (header.colour == PngColour::kPalette) {
    for (std::size_t i = 0; i + 2 < header.palette.size(); i += 3) {
      const bool given = header.transparency && i / 3 < header.transparency->size();
      const std::uint8_t alpha = given ? (*header.transparency)[i / 3] : std::uint8_t{255};
      table.push_back({header.palette[i], header.palette[i + 1], header.palette[i + 2], alpha});
    }
  } else if (header.colour == PngColour::kGray && header.bits <= 8 && (header.bits < 8 || header.transparency)) {
    const std::int32_t most = (1 << header.bits) - 1;
    const std::int32_t key = header.transparency ? value_at(*header.transparency, 0) : -1;
    for (std::int32_t value = 0; value <= most; ++value) {
      const auto gray = static_cast<std::uint8_t>(value * 255 / most);
      table.push_back({gray, gray, gray, value == key ? std::uint8_t{0} : std::uint8_t{255}});
    }
  }
  return table;
}

/// The colour that is transparent, in 8 bits, by which Pillow looks for it. No pixel is of a key that is not there.
std::array<std::int32_t, 3> key_of(const PngHeader& header) {
  std::array<std::int32_t, 3> key{-1, -1, -1};
  if (header.colour != PngColour::kRgb || !header.transparency) return key;
  for (std::size_t c = 0; c < 3; ++c) key[c] = value_at(*header.transparency, 2 * c) >> (header.bits == 16 ? 8 : 0);
  return key;
}

}  // namespace

/// Calls of the library are in functions without objects that have destructors: an error jumps out of them.
struct PngReader::State {
  const PngFunctions& call = png_functions();
  const PixelKernels& kernels = pixel_kernels(best_simd_level());
  PngHeader header;
  JumpingPngErrors errors{};
  PngStruct* png = nullptr;
  PngInfo* info = nullptr;
  std::span<const std::uint8_t> left;  // of the file

  std::vector<Rgba> table;            // empty: samples are pixels
  std::array<std::int32_t, 3> key{};  // -1: none
  std::size_t sample_bytes = 0;       // of a pixel as libpng gives it
  bool flat = false;
  Alpha alpha = Alpha::kDrop;
  Rgb background{};
  bool transparent = false;
  std::vector<std::uint8_t> samples;  // a row of libpng's
  std::vector<std::uint8_t> pixels;   // a row with alpha, before it is flat
  std::vector<std::uint8_t> all;      // of an interlaced file, [height_px, width_px, sample_bytes]

  [[nodiscard]] std::size_t width() const noexcept { return static_cast<std::size_t>(header.size.width_px); }

  static void read(PngStruct* png, std::uint8_t* to, std::size_t bytes) {
    State& state = *static_cast<State*>(png_functions().get_io_ptr(png));
    if (bytes > state.left.size()) state.errors.jump("it is cut off");
    std::memcpy(to, state.left.data(), bytes);
    state.left = state.left.subspan(bytes);
  }

  bool begin() noexcept {
    constexpr std::uint32_t kMostSide = 0x7FFFFFFF;  // limits are ours
    constexpr int kNever = 1;                        // PNG_HANDLE_CHUNK_NEVER: checksums alone
    if (setjmp(errors.place) != 0) return false;
    png = call.create_read_struct("1.6.0", &errors, JumpingPngErrors::on_error, JumpingPngErrors::on_warning);
    if (png == nullptr) errors.jump("it has no memory");
    info = call.create_info_struct(png);
    if (info == nullptr) errors.jump("it has no memory");
    call.set_user_limits(png, kMostSide, kMostSide);
    call.set_keep_unknown_chunks(png, kNever, nullptr, -1);
    call.set_read_fn(png, this, read);
    call.read_info(png, info);
    return true;
  }

  /// Bytes of a row; 0: an error.
  std::size_t start() noexcept {
    if (setjmp(errors.place) != 0) return 0;
    if (header.bits < 8) call.set_packing(png);
    if (header.bits == 16 && header.colour == PngColour::kGray) call.set_scale_16(png);
    if (header.bits == 16 && header.colour != PngColour::kGray) call.set_strip_16(png);  // as Pillow has them
    if (header.interlaced) call.set_interlace_handling(png);
    call.read_update_info(png, info);
    return call.get_rowbytes(png, info);
  }

  bool read_samples(std::uint8_t* to) noexcept {
    if (setjmp(errors.place) != 0) return false;
    call.read_row(png, to, nullptr);
    return true;
  }

  bool read_all() noexcept {
    if (setjmp(errors.place) != 0) return false;
    for (int pass = 0; pass < 7; ++pass) {
      std::uint8_t* row = all.data();
      for (std::int32_t y = 0; y < header.size.height_px; ++y) {
        call.read_row(png, row, nullptr);
        row += width() * sample_bytes;
      }
    }
    return true;
  }

  bool end() noexcept {
    if (setjmp(errors.place) != 0) return false;
    call.read_end(png, nullptr);
    return true;
  }

  void destroy() noexcept {
    if (png != nullptr && setjmp(errors.place) == 0) call.destroy_read_struct(&png, &info, nullptr);
  }

  /// Throws InvalidInput unless all is well.
  void require(bool done) const {
    if (done && errors.warnings == 0) return;
    throw InvalidInput("the PNG file cannot be decoded (" + std::string(errors.text) + "); check the file");
  }

  /// A row of samples as gray, RGB or RGBA.
  void unpack(const std::uint8_t* from, std::uint8_t* to) const {
    const auto channels = static_cast<std::size_t>(header.channels());
    for (std::size_t x = 0; x < width(); ++x, from += sample_bytes, to += channels) {
      if (header.colour == PngColour::kGrayAlpha) {
        to[0] = to[1] = to[2] = from[0];
        to[3] = from[1];
      } else if (table.empty()) {
        std::memcpy(to, from, 3);
        to[3] = from[0] == key[0] && from[1] == key[1] && from[2] == key[2] ? std::uint8_t{0} : std::uint8_t{255};
      } else if (*from < table.size()) {
        std::memcpy(to, table[*from].data(), channels);
      } else {
        throw InvalidInput("the PNG file has a pixel that its palette does not have; check the file");
      }
    }
  }

  void look_for_transparency(const std::uint8_t* rgba) noexcept {
    std::uint8_t least = 255;
    for (std::size_t x = 0; x < width(); ++x) least = static_cast<std::uint8_t>(least & rgba[4 * x + 3]);
    transparent = transparent || least != 255;
  }
};

PngReader::PngReader(std::span<const std::uint8_t> file, const PngHeader& header) : state_(std::make_unique<State>()) {
  State& state = *state_;
  state.header = header;
  state.left = file;
  if (header.colour == PngColour::kGray && header.transparency && (header.bits == 1 || header.bits == 16)) {
    throw InvalidInput("the PNG file has a transparent gray of " + std::to_string(header.bits) +
                       " bits; expected 2, 4 or 8; save it with an alpha channel");
  }
  const bool done = state.begin();
  if (done && state.errors.warnings == 0) return;
  state.destroy();
  state.require(false);
}

PngReader::~PngReader() { state_->destroy(); }

Size PngReader::rows_size() const noexcept { return state_->header.size; }

std::int32_t PngReader::channels() const noexcept {
  const std::int32_t channels = state_->header.channels();
  return state_->flat && channels == 4 ? 3 : channels;
}

bool PngReader::transparent() const noexcept { return state_->transparent; }

void PngReader::flatten(Alpha alpha, const Rgb& background) {
  state_->flat = true;
  state_->alpha = alpha;
  state_->background = background;
}

void PngReader::start() {
  State& state = *state_;
  const PngHeader& header = state.header;
  state.table = table_of(header);
  state.key = key_of(header);
  state.sample_bytes = header.colour == PngColour::kRgba        ? 4
                       : header.colour == PngColour::kRgb       ? 3
                       : header.colour == PngColour::kGrayAlpha ? 2
                                                                : 1;
  const std::size_t row = state.start();
  state.require(row != 0);
  if (row != state.width() * state.sample_bytes) {
    throw InvalidInput("libpng gives rows of " + std::to_string(row) + " bytes; expected " +
                       std::to_string(state.width() * state.sample_bytes) + "; check the file");
  }
  state.samples.resize(row);
  if (header.has_alpha()) state.pixels.resize(4 * state.width());
  if (!header.interlaced) return;
  state.all.resize(row * static_cast<std::size_t>(header.size.height_px));
  state.require(state.read_all());
}

void PngReader::read_row(std::uint8_t* to) {
  State& state = *state_;
  const bool has_alpha = state.header.has_alpha();
  const bool unpacks = static_cast<std::size_t>(state.header.channels()) != state.sample_bytes || !state.table.empty();
  const bool flat = state.flat && has_alpha;
  const std::uint8_t* samples = nullptr;
  if (state.header.interlaced) {
    samples = state.all.data() + static_cast<std::size_t>(next_row()) * state.samples.size();
    if (!unpacks && !flat) std::memcpy(to, samples, state.samples.size());
  } else {
    std::uint8_t* const place = unpacks || flat ? state.samples.data() : to;
    state.require(state.read_samples(place));
    samples = place;
  }
  const std::uint8_t* pixels = samples;
  if (unpacks) {
    std::uint8_t* const place = flat ? state.pixels.data() : to;
    state.unpack(samples, place);
    pixels = place;
  }
  if (has_alpha) state.look_for_transparency(pixels);
  if (!flat) return;
  if (state.alpha == Alpha::kComposite) {
    state.kernels.composite(pixels, state.width(), false, state.background.data(), to);
  } else {
    state.kernels.take_three(pixels, state.width(), false, to);
  }
}

void PngReader::read_end() {
  State& state = *state_;
  state.require(state.end());
}

}  // namespace navit_edge
