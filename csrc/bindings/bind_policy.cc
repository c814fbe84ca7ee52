// Policies, and what they choose without a session.
#include <pybind11/operators.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <functional>
#include <optional>
#include <string>

#include "bindings.h"
#include "gil.h"
#include "navit_edge/choice.h"
#include "navit_edge/error.h"
#include "navit_edge/sizing.h"

namespace py = pybind11;

namespace navit_edge::bindings {
namespace {

using Kind = Policy::Kind;

const char* kind_name(const Policy& policy) {
  switch (policy.kind()) {
    case Kind::kNative:
      return "native";
    case Kind::kTokenCap:
      return "token-cap";
    case Kind::kFast:
      return "fast";
    case Kind::kBalanced:
      return "balanced";
    case Kind::kQuality:
      return "quality";
    case Kind::kLatency:
      return "latency";
    case Kind::kContent:
      return "content";
    case Kind::kCascade:
      return "cascade";
  }
  return "";
}

template <class Value>
std::optional<Value> only_of(bool has, Value value) {
  return has ? std::optional(value) : std::nullopt;
}

bool is_content(const Policy& policy) { return policy.kind() == Kind::kContent; }
bool is_cascade(const Policy& policy) { return policy.kind() == Kind::kCascade; }
bool is_latency(const Policy& policy) { return policy.kind() == Kind::kLatency; }

PreprocessSpec preprocess_of(const std::string& alpha, const Rgb& background) {
  PreprocessSpec preprocess;
  preprocess.alpha = parse_word<Alpha>(alpha);
  preprocess.background = background;
  return preprocess;
}

/// (grid, tokens, reason) of one image: (height_px, width_px), or its pixels.
py::tuple chosen(const py::handle& image, const std::string& who, const PreprocessSpec& preprocess,
                 const Policy& policy, const EngineLimits& engine, const Load& load) {
  Choice choice;
  try {
    if (py::isinstance<py::tuple>(image)) {
      const auto [height_px, width_px] = image.cast<std::pair<std::int32_t, std::int32_t>>();
      choice = choose_grid({height_px, width_px}, preprocess, policy, engine, load, nullptr);
    } else {
      const ImageView view = image_view(image, who);
      choice = choose_grid(view.size(), preprocess, policy, engine, load, &view);
    }
  } catch (const Error& e) {
    throw_error(e.code(), who + ": " + e.what());
  }
  return py::make_tuple(py::make_tuple(choice.grid.rows, choice.grid.cols), choice.grid.tokens() + engine.prefix_tokens,
                        choice.reason.to_string());
}

void bind_class(py::module_& module) {
  py::class_<Policy>(module, "Policy",
                     "Chooses how many tokens an image gets: patches, prefix tokens not counted. Never more than the "
                     "bundle's sizing rule\ngives, the aspect kept (docs/policies.md). A value: cannot be changed.")
      .def(py::init([](const py::object& text) {
             if (py::isinstance<py::str>(text)) return Policy::parse(text.cast<std::string>());
             if (py::isinstance<Policy>(text)) return text.cast<Policy>();
             throw InvalidInput("a policy is made of " + py::repr(text).cast<std::string>() +
                                "; expected its text, as Policy(\"fast\") or Policy(\"token-cap:256\")");
           }),
           py::arg("text"), "Of the text that ``parse`` takes.")
      .def_static("native", &Policy::native, "What the bundle's sizing rule gives.")
      .def_static("token_cap", &Policy::token_cap, py::arg("max_tokens"),
                  "At most ``max_tokens`` patches, 1 and up. Raises InvalidInputError.")
      .def_static(
          "preset", &Policy::preset, py::arg("name"),
          "\"quality\": all tokens that the rule gives; \"balanced\": half of them; \"fast\": a quarter; both at "
          "least 64.\n\nRaises InvalidInputError for another name.")
      .def_static(
          "latency",
          [](double target_ms, std::int32_t min_tokens) { return Policy::latency(target_ms * 1e3, min_tokens); },
          py::arg("target_ms"), py::kw_only(), py::arg("min_tokens") = kLeastTokens,
          "The most tokens with which the result is predicted to be there ``target_ms`` milliseconds after the image "
          "was "
          "given, what\nwaits before it and decoding included; at least ``min_tokens``, also if the target cannot be "
          "met so "
          "(``result.reason`` then\nsays that). All images of one ``run`` should be done by the target.\n\nThe "
          "prediction "
          "is what the session has learned from its packs, before that the engine's cost model: measured by\n"
          "``navit-edge bench --calibrate``, or assumed. A result that was late says so (\"missed by 12.0 ms\"). "
          "Raises "
          "InvalidInputError.")
      .def_static(
          "content",
          [](std::int32_t min_tokens, std::optional<std::int32_t> max_tokens, double flat, double busy) {
            if (max_tokens == 0) throw InvalidInput("max_tokens of a policy is 0; expected at least 1, or None");
            return Policy::content({min_tokens, max_tokens.value_or(0), flat, busy});
          },
          py::kw_only(), py::arg("min_tokens") = ContentOptions{}.min_tokens, py::arg("max_tokens") = py::none(),
          py::arg("flat") = ContentOptions{}.flat, py::arg("busy") = ContentOptions{}.busy,
          "Tokens by what there is to see (``navit_edge.complexity``): ``min_tokens`` for images of complexity "
          "``flat`` "
          "and below,\n``max_tokens`` (None: all that the rule gives) from ``busy`` on, in proportion "
          "between.\n\nRaises "
          "InvalidInputError.")
      .def_static(
          "cascade",
          [](std::int32_t first, double accept, const std::string& by, std::optional<std::int32_t> then) {
            if (then == 0) throw InvalidInput("then of a cascade is 0; expected more tokens than first, or None");
            return Policy::cascade({first, accept, parse_word<CascadeScore>(by), then.value_or(0)});
          },
          py::arg("first") = CascadeOptions{}.first, py::arg("accept") = CascadeOptions{}.accept,
          py::arg("by") = word_of(CascadeOptions{}.by), py::kw_only(), py::arg("then") = py::none(),
          "Every image runs with at most ``first`` tokens. If the probability of its best class (``by=\"margin\"``: "
          "how far that is\nabove the second) is at least ``accept``, the result stands; else the image runs again, "
          "with all tokens that the rule\ngives, or at most ``then``. A bundle with logits only. Raises "
          "InvalidInputError.")
      .def_static("parse", &Policy::parse, py::arg("text"),
                  "\"native\", \"token-cap:256\", \"fast\", \"balanced\", \"quality\", \"latency:20ms\" (ms, us or s), "
                  "\"content\", \"cascade:128,0.8\";\n\"latency:20ms,min_tokens=128\", "
                  "\"content:min_tokens=64,max_tokens=1024,flat=0.02,busy=0.12\",\n"
                  "\"cascade:128,0.3,by=margin,then=576\".\n\nRaises InvalidInputError.")
      .def_property_readonly("kind", &kind_name, "\"native\", \"token-cap\", \"fast\", ...")
      .def_property_readonly(
          "max_tokens",
          [](const Policy& self) {
            return only_of(self.kind() == Kind::kTokenCap || (is_content(self) && self.max_tokens() != 0),
                           self.max_tokens());
          },
          "Of a token cap, or of content if it was given; else None.")
      .def_property_readonly(
          "min_tokens",
          [](const Policy& self) { return only_of(is_latency(self) || is_content(self), self.min_tokens()); },
          "Of latency and content; else None.")
      .def_property_readonly(
          "target_ms", [](const Policy& self) { return only_of(is_latency(self), self.target_us() / 1e3); },
          "Of latency, milliseconds; else None.")
      .def_property_readonly(
          "flat", [](const Policy& self) { return only_of(is_content(self), self.flat()); }, "Of content; else None.")
      .def_property_readonly(
          "busy", [](const Policy& self) { return only_of(is_content(self), self.busy()); }, "Of content; else None.")
      .def_property_readonly(
          "first", [](const Policy& self) { return only_of(is_cascade(self), self.cascade_options().first); },
          "Most tokens of a cascade's first pass; else None.")
      .def_property_readonly(
          "accept", [](const Policy& self) { return only_of(is_cascade(self), self.cascade_options().accept); },
          "Of a cascade; else None.")
      .def_property_readonly(
          "by", [](const Policy& self) { return only_of(is_cascade(self), word_of(self.cascade_options().by)); },
          "Of a cascade, \"probability\" or \"margin\"; else None.")
      .def_property_readonly(
          "then",
          [](const Policy& self) {
            return only_of(is_cascade(self) && self.cascade_options().then != 0, self.cascade_options().then);
          },
          "Most tokens of a cascade's second pass, if it was given; else None.")
      .def(py::self == py::self)
      .def("__hash__", [](const Policy& self) { return std::hash<std::string>{}(self.to_string()); })
      .def("__str__", &Policy::to_string)
      .def("__repr__", [](const Policy& self) { return "<navit_edge.Policy " + self.to_string() + ">"; })
      .def(py::pickle([](const Policy& self) { return self.to_string(); },
                      [](const std::string& text) { return Policy::parse(text); }));
}

}  // namespace

void bind_policy(py::module_& module) {
  bind_class(module);
  module.def(
      "complexity",
      [](const py::object& image, const std::string& alpha, const Rgb& background) {
        const ImageView view = image_view(image, "the image");
        const PreprocessSpec preprocess = preprocess_of(alpha, background);
        ReleasedGil release;
        return image_complexity(view, preprocess);
      },
      py::arg("image"), py::arg("alpha"), py::arg("background"));
  module.def(
      "choose_grids",
      [](const std::filesystem::path& bundle, const std::string& engine, const Policy& policy, const py::list& images,
         std::int32_t max_tokens_per_image, double waiting_us, std::int32_t together) {
        const Manifest manifest = Manifest::load(bundle);
        PreprocessSpec preprocess = manifest.preprocess;
        if (max_tokens_per_image != 0) {
          preprocess.sizing = capped(preprocess.sizing, preprocess.patch_px, max_tokens_per_image);
        }
        const EngineLimits limits = EngineLimits::of(manifest, manifest.engine(engine));
        check_policy(policy, preprocess);
        py::list out;
        for (std::size_t i = 0; i < images.size(); ++i) {
          out.append(
              chosen(images[i], "image " + std::to_string(i), preprocess, policy, limits, {waiting_us, together}));
        }
        return out;
      },
      py::arg("bundle"), py::arg("engine"), py::arg("policy"), py::arg("images"), py::kw_only(),
      py::arg("max_tokens_per_image"), py::arg("waiting_us"), py::arg("together"),
      "Of each image, (height_px, width_px) or its pixels: ((rows, cols), tokens with prefix tokens, reason).");
}

}  // namespace navit_edge::bindings
