/*
 * The backend for ONNX models, over ONNX Runtime's C API on the CPU. Names of config parameters are those of Triton's
 * ONNX Runtime backend: intra_op_thread_count, inter_op_thread_count, execution_mode (0 sequential, 1 parallel),
 * enable_mem_arena, enable_mem_pattern, and optimization { graph { level } }.
 */
#ifndef HIPPOCAMP_BACKENDS_ONNXRUNTIME_ONNXRUNTIME_H
#define HIPPOCAMP_BACKENDS_ONNXRUNTIME_ONNXRUNTIME_H

#include "backends/backend.h"

extern const struct backend_ops backend_onnxruntime_ops;

#endif
