/*
 * The interface of backends, which run models: the table that each implements (copy backends/echo to start one).
 *
 * A backend sees tensors in the model's own shapes: reshape has been applied, and where the model batches
 * (backend_run.batch > 0) the first dimension of each tensor is the number of rows, perhaps of several requests.
 * Outputs then have the same first dimension, and each of their rows depends on its own row of the inputs alone. Inputs
 * are valid for their datatype and shape; walk BYTES with tensor_next_string.
 *
 * `open` and `close` are called on the thread that loads models; `run` on worker threads, several at once for one
 * model.
 */
#ifndef HIPPOCAMP_BACKENDS_BACKEND_H
#define HIPPOCAMP_BACKENDS_BACKEND_H

#include "base/model_config.h"
#include "base/parameter.h"
#include "base/status.h"
#include "base/tensor.h"

#include <sys/mman.h>

struct backend_model; /* each backend defines its own; `open` returns one even if it has nothing to keep */

/* The content of a file, in private memory that whoever read it owns. */
struct backend_file {
	uint8_t *at; /* NULL where it is empty */
	size_t length;
};

static inline void
backend_file_release(struct backend_file *file)
{
	if (file->at != NULL) {
		(void)munmap(file->at, file->length);
	}
	*file = (struct backend_file){0};
}

/*
 * A backend's access to its model's files. The model's fingerprint covers exactly the files that are read here, so a
 * backend may not open files itself. On the thread that loads models.
 */
struct backend_files {
	const char *path; /* the version folder, for messages and to see what it contains */

	/*
	 * Reads a whole regular file, in one go. `name` is relative to the version folder and may not lead out of it.
	 * Fails if the file does not exist (STATUS_NOT_FOUND) or changes meanwhile.
	 */
	enum status (*read)(struct backend_files *files, const char *name, struct backend_file *file,
			    struct error *error);
};

/* One tensor of the graph; a symbolic dimension is -1. */
struct backend_tensor {
	struct bytes name;
	enum datatype datatype;
	size_t rank;
	int64_t shape[TENSOR_RANK_MAX];
	bool optional;
	bool is_other; /* an output that is a sequence or a map, which cannot be served */
};

/* The inputs and outputs that the model file declares. Lives as long as the model. */
struct backend_signature {
	struct backend_tensor *inputs;
	size_t input_count;
	struct backend_tensor *outputs;
	size_t output_count;
};

struct backend_output {
	enum datatype datatype;
	size_t rank;
	int64_t shape[TENSOR_RANK_MAX];
	size_t length;		   /* bytes */
	struct bytes content_type; /* see struct tensor */
};

/*
 * One run. Inputs come in the order of the config, optional ones may be missing; there are config->output_count
 * outputs.
 */
struct backend_run {
	const struct model_config *config;
	const struct tensor *inputs;
	size_t input_count;
	int64_t batch; /* rows, for models that batch; else 0 */
	const struct parameter *parameters;
	size_t parameter_count;

	/*
	 * Allocates memory for all outputs, in the order of the config: data[i] gets outputs[i].length bytes, aligned
	 * to 16. Call it as soon as the sizes are known, so that a result is written once. A second call invalidates
	 * the memory of the first.
	 */
	enum status (*allocate)(struct backend_run *run, const struct backend_output *outputs, uint8_t **data,
				struct error *error);

	/* Set by the backend: when inputs were ready, and when the model was done (clock_now_ns). */
	uint64_t infer_start_ns;
	uint64_t infer_end_ns;
};

struct backend_ops {
	const char *name;

	/* A text that changes whenever answers may change; part of the cache keys. NULL if the backend cannot load. */
	const char *(*version)(struct error *error);

	/*
	 * Loads a model. `files` and `config` are used during the call only; `config` may lack what auto-completion
	 * adds later. NULL on failure.
	 */
	struct backend_model *(*open)(struct backend_files *files, const struct model_config *config,
				      struct error *error);
	void (*close)(struct backend_model *model);

	/* NULL function: the config alone says which inputs and outputs the model has. */
	const struct backend_signature *(*signature)(struct backend_model *model);

	/* NULL: the model runs elsewhere, not by a backend (inference/remote.h). */
	enum status (*run)(struct backend_model *model, struct backend_run *run, struct error *error);

	int default_instance_count;
	const char *default_model_filename; /* NULL: no file */
	const char *platform;		    /* the value of `platform` that means this backend; NULL: none */
};

#endif
