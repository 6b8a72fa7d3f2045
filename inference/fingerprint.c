#include "inference/fingerprint.h"

#include "base/memory.h"
#include "inference/cache_policy.h"
#include "inference/model.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_SIZE ((size_t)1 << 20)
#define FOLDER_DEPTH_MAX 16

static void
add_number(struct digest *digest, uint64_t number)
{
	digest_add(digest, bytes_make(&number, sizeof(number)));
}

/* Everything is framed by its length, so that no two sequences of fields read alike. */
static void
add_text(struct digest *digest, struct bytes text)
{
	add_number(digest, text.length);
	digest_add(digest, text);
}

static enum status
add_file(struct digest *digest, const char *path, struct error *error)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hold up the server */
	struct stat information;
	uint8_t *block = memory_array(1, READ_SIZE);
	uint64_t total = 0;
	ssize_t got = -1;

	if (fd >= 0 && fstat(fd, &information) == 0 && S_ISREG(information.st_mode)) {
		while ((got = read(fd, block, READ_SIZE)) > 0) {
			digest_add(digest, bytes_make(block, (size_t)got));
			total += (uint64_t)got;
		}
	}
	if (got < 0) {
		(void)error_set(error, STATUS_UNAVAILABLE, "cannot read '%s': %s", path, strerror(errno));
	}
	add_number(digest, total);
	if (fd >= 0) {
		(void)close(fd);
	}
	free(block);
	return got < 0 ? error->status : STATUS_OK;
}

static int
skip_dots(const struct dirent *item)
{
	return strcmp(item->d_name, ".") != 0 && strcmp(item->d_name, "..") != 0;
}

static enum status
add_folder(struct digest *digest, const char *path, int depth, struct error *error)
{
	struct dirent **items = NULL;
	int count = scandir(path, &items, skip_dots, alphasort);
	enum status status = STATUS_OK;

	if (count < 0 || depth > FOLDER_DEPTH_MAX) {
		return count < 0 ? error_set(error, STATUS_UNAVAILABLE, "cannot read folder '%s': %s", path,
					     strerror(errno))
				 : error_set(error, STATUS_INVALID_ARGUMENT, "folders too deep at '%s'", path);
	}
	for (int i = 0; i < count; i++) {
		char *inner = memory_format("%s/%s", path, items[i]->d_name);
		struct stat information;

		if (status == STATUS_OK) {
			add_text(digest, bytes_text(items[i]->d_name));
			if (stat(inner, &information) == 0 && S_ISDIR(information.st_mode)) {
				status = add_folder(digest, inner, depth + 1, error);
			} else {
				status = add_file(digest, inner, error);
			}
		}
		free(inner);
		free(items[i]);
	}
	free(items);
	add_number(digest, (uint64_t)count);
	return status;
}

static void
add_dims(struct digest *digest, const struct model_dims *dims)
{
	add_number(digest, dims->rank);
	digest_add(digest, bytes_make(dims->dims, dims->rank * sizeof(*dims->dims)));
}

static void
add_tensors(struct digest *digest, const struct model_tensor *tensors, size_t count)
{
	add_number(digest, count);
	for (size_t i = 0; i < count; i++) {
		add_text(digest, tensors[i].name);
		add_number(digest, tensors[i].datatype);
		add_dims(digest, &tensors[i].dims);
		add_number(digest, tensors[i].has_reshape);
		add_dims(digest, &tensors[i].reshape);
	}
}

static int
by_name(const void *left, const void *right)
{
	const struct model_parameter *const *a = left;
	const struct model_parameter *const *b = right;

	return bytes_compare((*a)->name, (*b)->name);
}

/* A map has no order of its own. */
static void
add_parameters(struct digest *digest, const struct model_config *config)
{
	const struct model_parameter **sorted = memory_array(config->parameter_count, sizeof(*sorted));
	size_t count = 0;

	for (size_t i = 0; i < config->parameter_count; i++) {
		if (!cache_policy_is_parameter(config->parameters[i].name)) {
			sorted[count++] = &config->parameters[i];
		}
	}
	qsort(sorted, count, sizeof(*sorted), by_name);
	add_number(digest, count);
	for (size_t i = 0; i < count; i++) {
		add_text(digest, sorted[i]->name);
		add_text(digest, sorted[i]->value);
	}
	free(sorted);
}

/* How many instances run, how they queue and what is cached do not change an answer, so they are left out. */
static void
add_config(struct digest *digest, const struct model_config *config)
{
	add_text(digest, config->backend);
	add_text(digest, config->default_model_filename);
	add_number(digest, (uint64_t)config->max_batch_size);
	add_tensors(digest, config->inputs, config->input_count);
	add_tensors(digest, config->outputs, config->output_count);
	add_parameters(digest, config);
	add_number(digest, config->has_graph_level);
	add_number(digest, (uint64_t)config->graph_level);
}

static void
add_mappings(struct digest *digest, const struct model_mapping *mappings, size_t count)
{
	add_number(digest, count);
	for (size_t i = 0; i < count; i++) {
		add_text(digest, mappings[i].tensor);
		add_text(digest, mappings[i].ensemble_tensor);
	}
}

static void
add_steps(struct digest *digest, const struct model_config *config, const struct ensemble *ensemble)
{
	add_number(digest, config->step_count);
	for (size_t i = 0; i < config->step_count; i++) {
		const struct model *model = ensemble->steps[i].model;

		add_text(digest, bytes_make(model->fingerprint.bytes, model->fingerprint.length));
		add_mappings(digest, config->steps[i].inputs, config->steps[i].input_count);
		add_mappings(digest, config->steps[i].outputs, config->steps[i].output_count);
	}
}

/* Not secret: whoever can read the model's files may know it. The secret is in the cache key. */
static struct digest *
start(struct digest_secret *secret, struct error *error)
{
	struct digest *digest = digest_new(DIGEST_XXH3);

	if (digest == NULL) {
		(void)error_set(error, STATUS_UNAVAILABLE, "no memory to read the model's files");
		return NULL;
	}
	digest_secret_init(secret, bytes_text("hippocamp model fingerprint 1"));
	digest_start(digest, secret);
	return digest;
}

enum status
fingerprint_files(const char *path, struct digest_value *value, struct error *error)
{
	struct digest_secret secret;
	struct digest *digest = start(&secret, error);
	enum status status;

	if (digest == NULL) {
		return error->status;
	}
	status = add_folder(digest, path, 0, error);
	digest_end(digest, value);
	digest_free(digest);
	return status;
}

enum status
fingerprint_model(const struct fingerprint_parts *parts, struct digest_value *value, struct error *error)
{
	struct digest_secret secret;
	struct digest *digest = start(&secret, error);

	if (digest == NULL) {
		return error->status;
	}
	add_text(digest, bytes_text(parts->backend_version));
	add_text(digest, bytes_make(parts->files.bytes, parts->files.length));
	add_config(digest, parts->config);
	if (parts->ensemble != NULL) {
		add_steps(digest, parts->config, parts->ensemble);
	}
	digest_end(digest, value);
	digest_free(digest);
	return STATUS_OK;
}
