# Third-party C++ that Python packages ship: a system copy is taken first, then the one of the interpreter at hand.

find_package(Python 3.10 COMPONENTS Interpreter)

# navit_edge_python_says(OUT code): what a line of Python prints; empty where it fails.
function(navit_edge_python_says out code)
  set(answer "")
  if(Python_Interpreter_FOUND)
    execute_process(
      COMMAND "${Python_EXECUTABLE}" -c "${code}"
      OUTPUT_VARIABLE answer OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE status)
    if(NOT status EQUAL 0)
      set(answer "")
    endif()
  endif()
  set(${out} "${answer}" PARENT_SCOPE)
endfunction()

# nlohmann_json::nlohmann_json, header only.
function(navit_edge_find_nlohmann_json)
  find_package(nlohmann_json 3.10 QUIET)
  if(TARGET nlohmann_json::nlohmann_json)
    return()
  endif()
  navit_edge_python_says(where
    "import importlib.util as u, pathlib as p; print(p.Path(u.find_spec('nlohmann_json').origin).parent / 'include')")
  if(NOT EXISTS "${where}/nlohmann/json.hpp")
    message(FATAL_ERROR "nlohmann-json was not found. Install it: pip install nlohmann-json==3.12.0, or your system's package")
  endif()
  add_library(nlohmann_json::nlohmann_json INTERFACE IMPORTED GLOBAL)
  set_target_properties(nlohmann_json::nlohmann_json PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${where}")
endfunction()

# openvino::runtime, from OpenVINO_DIR, the system or the openvino wheel. A macro, so that its imported targets are seen.
macro(navit_edge_find_openvino)
  if(NOT NAVIT_EDGE_OPENVINO STREQUAL "OFF")
    if(NOT OpenVINO_DIR)
      navit_edge_python_says(_openvino_dir "import openvino.utils as u; print(u.get_cmake_path())")
      set(OpenVINO_DIR "${_openvino_dir}" CACHE PATH "Directory of OpenVINOConfig.cmake")
    endif()
    find_package(OpenVINO QUIET COMPONENTS Runtime)
    if(NOT OpenVINO_FOUND AND NAVIT_EDGE_OPENVINO STREQUAL "ON")
      message(FATAL_ERROR "OpenVINO was not found. Install it: pip install openvino==2026.4.1, or set OpenVINO_DIR")
    endif()
    if(OpenVINO_FOUND)
      message(STATUS "OpenVINO backend: ${OpenVINO_VERSION} at ${OpenVINO_DIR}")
    else()
      message(STATUS "OpenVINO backend: not built (pip install openvino==2026.4.1, or set OpenVINO_DIR)")
    endif()
  endif()
endmacro()
