# A STAND-IN, not OpenCV: see opencv2/core.hpp.
set(OpenCV_FOUND TRUE)
set(OpenCV_INCLUDE_DIRS "${CMAKE_CURRENT_LIST_DIR}")
set(OpenCV_LIBS "")
