# navit_edge_warnings(target): the warnings every target of ours is compiled with.
function(navit_edge_warnings target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor)
  if(NAVIT_EDGE_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
endfunction()
