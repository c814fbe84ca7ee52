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

# NAVIT_EDGE_JPEG_HEADERS: a folder with libjpeg-turbo's jpeglib.h and jmorecfg.h alone, copied from the system or from
# PyPI's comma-deps-libjpeg; empty: there are none. Its library is opened when a program runs.
function(navit_edge_find_jpeg)
  set(NAVIT_EDGE_JPEG_HEADERS "" PARENT_SCOPE)
  if(NAVIT_EDGE_JPEG STREQUAL "OFF")
    return()
  endif()
  navit_edge_python_says(wheel
    "import importlib.util as u, pathlib as p; print(p.Path(u.find_spec('libjpeg').origin).parent / 'install/include')")
  find_path(NAVIT_EDGE_JPEGLIB_H jpeglib.h HINTS "${NAVIT_EDGE_HEADERS}/libjpeg/install/include" "${wheel}" DOC "Directory of libjpeg-turbo's jpeglib.h")
  if(NOT NAVIT_EDGE_JPEGLIB_H AND EXISTS "${wheel}/jpeglib.h")  # cross-compiling, which looks nowhere else
    set(NAVIT_EDGE_JPEGLIB_H "${wheel}")
  endif()
  set(of_turbo "")
  if(NAVIT_EDGE_JPEGLIB_H)
    file(STRINGS "${NAVIT_EDGE_JPEGLIB_H}/jpeglib.h" of_turbo REGEX "JCS_EXT_RGB," LIMIT_COUNT 1)
  endif()
  if(of_turbo)
    message(STATUS "JPEG decoder: by the header in ${NAVIT_EDGE_JPEGLIB_H}")
    file(COPY "${NAVIT_EDGE_JPEGLIB_H}/jpeglib.h" "${NAVIT_EDGE_JPEGLIB_H}/jmorecfg.h"
      DESTINATION "${PROJECT_BINARY_DIR}/libjpeg")
    set(NAVIT_EDGE_JPEG_HEADERS "${PROJECT_BINARY_DIR}/libjpeg" PARENT_SCOPE)
    return()
  endif()
  set(remedy "pip install --no-deps --ignore-requires-python comma-deps-libjpeg, or apt install libjpeg-dev")
  if(NAVIT_EDGE_JPEG STREQUAL "ON")
    message(FATAL_ERROR "libjpeg-turbo's jpeglib.h was not found. Install it: ${remedy}, or set NAVIT_EDGE_JPEGLIB_H")
  endif()
  message(STATUS "JPEG decoder: not built (${remedy})")
endfunction()
