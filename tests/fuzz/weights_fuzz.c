/* Reads an ONNX model, as a load request may bring one, and takes its external data from a file of 64 bytes. */
#include "backends/onnxruntime/weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz_files {
	struct backend_files files; /* must be first: read_file() casts it */
	struct bytes model;
	bool given;
};

static enum status
read_file(struct backend_files *base, const char *name, struct backend_file *file, struct error *error)
{
	static const uint8_t content[64];
	struct fuzz_files *files = (struct fuzz_files *)base;
	struct bytes bytes = files->given ? bytes_make(content, sizeof(content)) : files->model;

	(void)name;
	files->given = true;
	*file = (struct backend_file){.length = bytes.length};
	if (bytes.length > 0) {
		file->at = mmap(NULL, bytes.length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (file->at == MAP_FAILED) {
			*file = (struct backend_file){0};
			return error_set(error, STATUS_UNAVAILABLE, "no memory");
		}
		memcpy(file->at, bytes.at, bytes.length);
	}
	return STATUS_OK;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_files files = {.files = {.path = "", .read = read_file}, .model = bytes_make(data, size)};
	struct error error;
	struct weights *weights = weights_read(&files.files, "model.onnx", &error);

	if (weights != NULL && weights_model(weights).length > size * (64 + 16)) {
		__builtin_trap(); /* an input byte adds at most one tensor: 64 bytes of data and a header of 16 */
	}
	weights_free(weights);
	return 0;
}
