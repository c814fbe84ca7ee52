# navit_edge_find_tensorrt(): headers for the TensorRT backends; no library of NVIDIA's is linked.
#   TensorRT_FOUND      TensorRT_INCLUDE_DIR: TensorRT_ROOT, NAVIT_EDGE_HEADERS, the system's, then the kernel-lens wheel's
#   TensorRT_RTX_FOUND  TensorRT_RTX_INCLUDE_DIR: only TensorRT_RTX_ROOT, since TensorRT's own headers do not fit that library
#   both need           TensorRT_CUDA_INCLUDE_DIR: CUDAToolkit_ROOT, NAVIT_EDGE_HEADERS, the system's, then PyPI's CUDA 13 wheels
# pip builds in an environment of its own, which sees no other package: NAVIT_EDGE_HEADERS names the directory into which
# `pip install --target DIR --no-deps -c constraints.txt -r requirements-headers.txt` laid the same wheels.
macro(navit_edge_find_tensorrt)
  set(TensorRT_FOUND FALSE)
  set(TensorRT_RTX_FOUND FALSE)
  string(CONCAT _headers_remedy "set TensorRT_ROOT and CUDAToolkit_ROOT, or NAVIT_EDGE_HEADERS to the directory given to "
    "pip install --target DIR --no-deps -c constraints.txt -r requirements-headers.txt")
  if(NOT NAVIT_EDGE_TENSORRT STREQUAL "OFF")
    navit_edge_python_says(_tensorrt_wheel
      "import importlib.util as u, pathlib as p; print(p.Path(u.find_spec('kernel_lens').origin).parent / 'include/tensorrt')")
    navit_edge_python_says(_cuda_wheel
      "import importlib.util as u; print(list(u.find_spec('nvidia.cu13').submodule_search_locations)[0] + '/include')")
    find_path(TensorRT_INCLUDE_DIR NvInferRuntime.h
      HINTS "${TensorRT_ROOT}" "$ENV{TensorRT_ROOT}" "${NAVIT_EDGE_HEADERS}/kernel_lens/include/tensorrt"
      PATH_SUFFIXES include "include/${CMAKE_LIBRARY_ARCHITECTURE}"
      PATHS "${_tensorrt_wheel}" DOC "Directory of NvInferRuntime.h, TensorRT 10 or 11")
    # The header that cuda_runtime_api.h includes and that NVIDIA ships in another package (cuda-crt, or nvcc's).
    find_path(TensorRT_CUDA_INCLUDE_DIR crt/host_defines.h
      HINTS "${CUDAToolkit_ROOT}" "$ENV{CUDA_HOME}" "${NAVIT_EDGE_HEADERS}/nvidia/cu13" PATH_SUFFIXES include
      PATHS /usr/local/cuda "${_cuda_wheel}" DOC "Directory of cuda_runtime_api.h and crt/host_defines.h")
    set(_cuda_headers FALSE)
    if(TensorRT_CUDA_INCLUDE_DIR AND EXISTS "${TensorRT_CUDA_INCLUDE_DIR}/cuda_runtime_api.h")
      set(_cuda_headers TRUE)
    endif()

    if(TensorRT_INCLUDE_DIR AND _cuda_headers)
      set(TensorRT_FOUND TRUE)
      message(STATUS "TensorRT backend: headers at ${TensorRT_INCLUDE_DIR}, CUDA's at ${TensorRT_CUDA_INCLUDE_DIR}")
    elseif(NAVIT_EDGE_TENSORRT STREQUAL "ON")
      message(FATAL_ERROR "TensorRT's or CUDA's headers were not found (NvInferRuntime.h: ${TensorRT_INCLUDE_DIR}; "
        "crt/host_defines.h beside cuda_runtime_api.h: ${TensorRT_CUDA_INCLUDE_DIR}); ${_headers_remedy}")
    else()
      message(STATUS "TensorRT backend: not built (${_headers_remedy})")
    endif()

    set(_rtx_root "${TensorRT_RTX_ROOT}")
    if(NOT _rtx_root)
      set(_rtx_root "$ENV{TensorRT_RTX_ROOT}")
    endif()
    if(_rtx_root)
      find_path(TensorRT_RTX_INCLUDE_DIR NvInferRuntime.h
        PATHS "${_rtx_root}" PATH_SUFFIXES include NO_DEFAULT_PATH DOC "Directory of TensorRT-RTX's NvInferRuntime.h")
      set(_rtx_macro "")
      if(TensorRT_RTX_INCLUDE_DIR)
        file(STRINGS "${TensorRT_RTX_INCLUDE_DIR}/NvInferVersion.h" _rtx_macro REGEX "define +TRT_MAJOR_RTX ")
      endif()
      if(NOT _rtx_macro)
        message(FATAL_ERROR "TensorRT_RTX_ROOT is ${_rtx_root}, which holds no headers of TensorRT-RTX; expected "
          "include/NvInferVersion.h with TRT_MAJOR_RTX; name the unpacked TensorRT-RTX SDK (TensorRT's own headers do not fit)")
      endif()
      if(NOT _cuda_headers)
        message(FATAL_ERROR "The TensorRT-RTX backend needs CUDA's headers; ${_headers_remedy}")
      endif()
      set(TensorRT_RTX_FOUND TRUE)
      message(STATUS "TensorRT-RTX backend: headers at ${TensorRT_RTX_INCLUDE_DIR}")
    else()
      message(STATUS "TensorRT-RTX backend: not built (set TensorRT_RTX_ROOT to the unpacked TensorRT-RTX SDK)")
    endif()
  endif()
endmacro()
