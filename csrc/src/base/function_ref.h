// A callable that is borrowed for a call: what std::function is for parameters, without its memory.
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

namespace navit_edge {

template <class Signature>
class FunctionRef;

/// Borrows a callable for as long as the call lasts that takes it; never allocates. As a parameter only.
template <class Returned, class... Args>
class FunctionRef<Returned(Args...)> {
 public:
  template <class Body>
    requires(!std::is_same_v<std::remove_cvref_t<Body>, FunctionRef> && std::is_invocable_r_v<Returned, Body&, Args...>)
  FunctionRef(Body&& body) noexcept  // converts, as std::function does
      : body_(const_cast<void*>(static_cast<const void*>(std::addressof(body)))),
        call_([](void* borrowed, Args... args) -> Returned {
          return (*static_cast<std::remove_reference_t<Body>*>(borrowed))(std::forward<Args>(args)...);
        }) {}

  Returned operator()(Args... args) const { return call_(body_, std::forward<Args>(args)...); }

 private:
  void* body_;
  Returned (*call_)(void*, Args...);
};

}  // namespace navit_edge
