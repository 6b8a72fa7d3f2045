#include "server/grpc_service.h"

#define SERVICE "/inference.GRPCInferenceService/"
#define HEALTH "/grpc.health.v1.Health/"

/* Methods that reply at once. */
static const struct service_method simple[] = {
	{{.path = SERVICE "ServerLive", .begin = grpc_check_access, .message = grpc_server_live}, PROTOCOL_HEALTH},
	{{.path = SERVICE "ServerReady", .begin = grpc_check_access, .message = grpc_server_ready}, PROTOCOL_HEALTH},
	{{.path = SERVICE "ModelReady", .begin = grpc_check_access, .message = grpc_model_ready}, PROTOCOL_HEALTH},
	{{.path = SERVICE "ServerMetadata", .begin = grpc_check_access, .message = grpc_server_metadata},
	 PROTOCOL_METADATA},
	{{.path = SERVICE "ModelMetadata", .begin = grpc_check_access, .message = grpc_model_metadata},
	 PROTOCOL_METADATA},
	{{.path = SERVICE "ModelConfig", .begin = grpc_check_access, .message = grpc_model_config},
	 PROTOCOL_MODEL_CONFIG},
	{{.path = SERVICE "ModelStatistics", .begin = grpc_check_access, .message = grpc_model_statistics},
	 PROTOCOL_STATISTICS},
	{{.path = SERVICE "RepositoryIndex", .begin = grpc_check_access, .message = grpc_repository_index},
	 PROTOCOL_MODEL_REPOSITORY},
	{{.path = SERVICE "SystemSharedMemoryStatus", .begin = grpc_check_access, .message = grpc_system_memory_status},
	 PROTOCOL_SHARED_MEMORY},
	{{.path = SERVICE "SystemSharedMemoryRegister",
	  .begin = grpc_check_access,
	  .message = grpc_shared_memory_register},
	 PROTOCOL_SHARED_MEMORY},
	{{.path = SERVICE "SystemSharedMemoryUnregister",
	  .begin = grpc_check_access,
	  .message = grpc_shared_memory_unregister},
	 PROTOCOL_SHARED_MEMORY},
	{{.path = SERVICE "CudaSharedMemoryStatus", .begin = grpc_check_access, .message = grpc_cuda_memory_status},
	 PROTOCOL_SHARED_MEMORY},
	{{.path = SERVICE "CudaSharedMemoryRegister", .begin = grpc_check_access, .message = grpc_cuda_memory_register},
	 PROTOCOL_SHARED_MEMORY},
	{{.path = SERVICE "CudaSharedMemoryUnregister",
	  .begin = grpc_check_access,
	  .message = grpc_shared_memory_unregister},
	 PROTOCOL_SHARED_MEMORY},
	{{.path = SERVICE "TraceSetting", .begin = grpc_check_access, .message = grpc_trace_setting}, PROTOCOL_TRACE},
	{{.path = SERVICE "LogSettings", .begin = grpc_check_access, .message = grpc_log_settings}, PROTOCOL_LOGGING},
	{{.path = HEALTH "Check", .begin = grpc_check_access, .message = grpc_health_check}, PROTOCOL_HEALTH},
	{{.path = HEALTH "List", .begin = grpc_check_access, .message = grpc_health_list}, PROTOCOL_HEALTH},
};

const struct grpc_method *const grpc_service_methods[] = {
	&grpc_model_infer.method,
	&grpc_model_stream_infer.method,
	&grpc_model_load.method,
	&grpc_model_unload.method,
	&grpc_health_watch.method,
	&grpc_reflection.method,
	&grpc_reflection_alpha.method,
	&simple[0].method,
	&simple[1].method,
	&simple[2].method,
	&simple[3].method,
	&simple[4].method,
	&simple[5].method,
	&simple[6].method,
	&simple[7].method,
	&simple[8].method,
	&simple[9].method,
	&simple[10].method,
	&simple[11].method,
	&simple[12].method,
	&simple[13].method,
	&simple[14].method,
	&simple[15].method,
	&simple[16].method,
	&simple[17].method,
};

#define METHOD_COUNT (sizeof(grpc_service_methods) / sizeof(*grpc_service_methods))
#define SIMPLE_COUNT (sizeof(simple) / sizeof(*simple))

_Static_assert(METHOD_COUNT == SIMPLE_COUNT + 7, "every method is in the table");
const size_t grpc_service_method_count = METHOD_COUNT;
