#include "measure/workspace.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/protobuf.h"
#include "wire/model_config.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONFIG_MAX ((size_t)16 << 20)
#define DESCRIPTORS 16 /* that nftw may use */

struct workspace {
	char *folder;
	char *repository;
};

const char *
workspace_folder(const struct workspace *workspace)
{
	return workspace->folder;
}

const char *
workspace_repository(const struct workspace *workspace)
{
	return workspace->repository;
}

static enum status
failed(const char *path, struct error *error)
{
	return error_set(error, STATUS_UNAVAILABLE, "%s: %s", path, strerror(errno));
}

/* --- Files --- */

static enum status
write_file(const char *path, struct bytes content, struct error *error)
{
	return file_write(path, content, true) ? STATUS_OK : failed(path, error);
}

static enum status
read_file(const char *path, struct buf *content, struct error *error)
{
	int fd = file_open_regular(path);
	ssize_t got = -1;

	while (fd >= 0 && buf_reserve(content, 65536) != NULL &&
	       (got = read(fd, content->at + content->length, 65536)) > 0) {
		content->length += (size_t)got;
	}
	if (fd >= 0) {
		(void)close(fd);
	}
	return fd >= 0 && got == 0 ? STATUS_OK : failed(path, error);
}

static enum status
make_folder(const char *path, struct error *error)
{
	return mkdir(path, 0700) == 0 ? STATUS_OK : failed(path, error);
}

/* Calls `visit` for each entry of a folder, hidden ones excepted. */
typedef enum status (*visit_fn)(void *context, const char *from, const char *name, struct error *error);

static enum status
each_entry(const char *from, visit_fn visit, void *context, struct error *error)
{
	DIR *folder = opendir(from);
	enum status status = STATUS_OK;
	struct dirent *entry;

	if (folder == NULL) {
		return failed(from, error);
	}
	while (status == STATUS_OK && (entry = readdir(folder)) != NULL) {
		if (entry->d_name[0] != '.') {
			status = visit(context, from, entry->d_name, error);
		}
	}
	(void)closedir(folder);
	return status;
}

/* --- The model --- */

struct overlay {
	const char *to;	    /* the folder of links */
	const char *except; /* the entry that gets none */
};

static enum status
link_entry(void *context, const char *from, const char *name, struct error *error)
{
	const struct overlay *overlay = context;
	char *old = memory_format("%s/%s", from, name);
	char *new = memory_format("%s/%s", overlay->to, name);
	enum status status = STATUS_OK;

	if (strcmp(name, overlay->except) != 0 && symlink(old, new) != 0) {
		status = failed(new, error);
	}
	free(old);
	free(new);
	return status;
}

/* The configuration with the response cache. */
static enum status
ask_for_cache(const char *path, struct buf *text, struct error *error)
{
	struct model_config config;
	bool states;
	bool asks;

	if (access(path, F_OK) == 0 && read_file(path, text, error) != STATUS_OK) {
		return error->status;
	}
	if (model_config_parse_text(buf_bytes(text), path, &config, error) != STATUS_OK) {
		return error->status;
	}
	states = config.states_response_cache;
	asks = config.response_cache;
	model_config_fini(&config);
	if (states && !asks) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "%s says response_cache { enable: false }: remove that for the comparison", path);
	}
	if (!states) {
		buf_text(text, "\nresponse_cache { enable: true }\n");
	}
	return STATUS_OK;
}

static enum status
add_model(const char *from, const char *to, struct error *error)
{
	const struct overlay overlay = {.to = to, .except = "config.pbtxt"};
	char *old = memory_format("%s/config.pbtxt", from);
	char *new = memory_format("%s/config.pbtxt", to);
	struct buf text;
	enum status status;

	buf_init(&text, CONFIG_MAX);
	status = make_folder(to, error);
	if (status == STATUS_OK) {
		status = each_entry(from, link_entry, (void *)&overlay, error);
	}
	if (status == STATUS_OK) {
		status = ask_for_cache(old, &text, error);
	}
	if (status == STATUS_OK) {
		status = write_file(new, buf_bytes(&text), error);
	}
	buf_fini(&text);
	free(old);
	free(new);
	return status;
}

/* --- The probe --- */

static void
put_message(struct buf *out, uint32_t number, struct buf *message)
{
	protobuf_put_bytes(out, number, buf_bytes(message));
	buf_fini(message);
}

/* A ValueInfoProto: a tensor with one dimension, of `size` elements, 0 for any number. Field numbers are onnx.proto's.
 */
static void
put_value(struct buf *graph, uint32_t number, const char *name, uint64_t datatype, uint64_t size)
{
	struct buf dimension;
	struct buf shape;
	struct buf tensor;
	struct buf type;
	struct buf value;

	buf_init(&dimension, CONFIG_MAX);
	buf_init(&shape, CONFIG_MAX);
	buf_init(&tensor, CONFIG_MAX);
	buf_init(&type, CONFIG_MAX);
	buf_init(&value, CONFIG_MAX);
	protobuf_put_number(&dimension, 1, size); /* dim_value */
	if (size == 0) {
		protobuf_put_text(&dimension, 2, bytes_text("n")); /* dim_param */
	}
	put_message(&shape, 1, &dimension);
	protobuf_put_number(&tensor, 1, datatype); /* elem_type */
	put_message(&tensor, 2, &shape);
	put_message(&type, 1, &tensor);
	protobuf_put_text(&value, 1, bytes_text(name));
	put_message(&value, 2, &type);
	put_message(graph, number, &value);
}

/* A ModelProto with one node: ConstantOfShape, which makes a tensor of zeros (onnx.ai, operator set 9). */
static void
write_probe(struct buf *model)
{
	enum { FLOAT = 1, INT64 = 7 };
	struct buf node;
	struct buf graph;
	struct buf opset;

	buf_init(&node, CONFIG_MAX);
	buf_init(&graph, CONFIG_MAX);
	buf_init(&opset, CONFIG_MAX);
	protobuf_put_text(&node, 1, bytes_text(PROBE_INPUT));
	protobuf_put_text(&node, 2, bytes_text("ZEROS"));
	protobuf_put_text(&node, 4, bytes_text("ConstantOfShape"));
	put_message(&graph, 1, &node);
	protobuf_put_text(&graph, 2, bytes_text("probe"));
	put_value(&graph, 11, PROBE_INPUT, INT64, 1);
	put_value(&graph, 12, "ZEROS", FLOAT, 0);
	protobuf_put_number(&opset, 2, 13);
	protobuf_put_number(model, 1, 8); /* ir_version */
	put_message(model, 7, &graph);
	put_message(model, 8, &opset);
}

static enum status
add_probe(const char *to, struct error *error)
{
	static const char text[] = "backend: \"onnxruntime\"\nresponse_cache { enable: true }\n";
	char *version = memory_format("%s/1", to);
	char *model = memory_format("%s/1/model.onnx", to);
	char *config = memory_format("%s/config.pbtxt", to);
	struct buf content;
	enum status status;

	buf_init(&content, CONFIG_MAX);
	write_probe(&content);
	status = make_folder(to, error);
	if (status == STATUS_OK) {
		status = make_folder(version, error);
	}
	if (status == STATUS_OK) {
		status = write_file(model, buf_bytes(&content), error);
	}
	if (status == STATUS_OK) {
		status = write_file(config, bytes_text(text), error);
	}
	buf_fini(&content);
	free(version);
	free(model);
	free(config);
	return status;
}

/* --- The folder --- */

static enum status
fill(struct workspace *workspace, const char *repository, const char *model, struct error *error)
{
	const struct overlay overlay = {.to = workspace->repository, .except = model};
	char *from = memory_format("%s/%s", repository, model);
	char *to = memory_format("%s/%s", workspace->repository, model);
	char *probe = memory_format("%s/" PROBE_MODEL, workspace->repository);
	enum status status = make_folder(workspace->repository, error);

	if (status == STATUS_OK && access(from, F_OK) != 0) {
		status = error_set(error, STATUS_NOT_FOUND, "--model-repository=%s has no model '%s'", repository,
				   model);
	}
	if (status == STATUS_OK) {
		status = each_entry(repository, link_entry, (void *)&overlay, error);
	}
	if (status == STATUS_OK) {
		status = add_model(from, to, error);
	}
	if (status == STATUS_OK) {
		status = add_probe(probe, error);
	}
	free(from);
	free(to);
	free(probe);
	return status;
}

/* Makes the folder. The names are set in any case; that of the folder is empty if there is none. */
static enum status
make_temporary(struct workspace *workspace, struct error *error)
{
	const char *place = getenv("TMPDIR");
	enum status status = STATUS_OK;

	workspace->folder = memory_format("%s/hippocamp.XXXXXX", place == NULL || *place == '\0' ? "/tmp" : place);
	if (mkdtemp(workspace->folder) == NULL) {
		status = failed(workspace->folder, error);
		workspace->folder[0] = '\0';
	}
	workspace->repository = memory_format("%s/models", workspace->folder);
	return status;
}

struct workspace *
workspace_new(const char *repository, const char *model, struct error *error)
{
	struct workspace *workspace = memory_new(sizeof(*workspace));
	char *real = realpath(repository, NULL);
	enum status status = make_temporary(workspace, error);

	if (status == STATUS_OK && real == NULL) {
		status = failed(repository, error);
	}
	if (status == STATUS_OK && (*model == '.' || strchr(model, '/') != NULL)) {
		status = error_set(error, STATUS_INVALID_ARGUMENT, "'%s' is no name of a model", model);
	}
	if (status == STATUS_OK) {
		status = fill(workspace, real, model, error);
	}
	free(real);
	if (status != STATUS_OK) {
		workspace_free(workspace);
		return NULL;
	}
	return workspace;
}

static int
remove_entry(const char *path, const struct stat *state, int type, struct FTW *place)
{
	(void)state;
	(void)type;
	(void)place;
	(void)remove(path); /* what stays is said by the next ls */
	return 0;
}

void
workspace_free(struct workspace *workspace)
{
	if (workspace == NULL) {
		return;
	}
	if (workspace->folder[0] != '\0') {
		(void)nftw(workspace->folder, remove_entry, DESCRIPTORS, FTW_DEPTH | FTW_PHYS);
	}
	free(workspace->folder);
	free(workspace->repository);
	free(workspace);
}

char *
workspace_write(const struct workspace *workspace, const char *name, const char *text, struct error *error)
{
	char *path = memory_format("%s/%s", workspace->folder, name);

	if (write_file(path, bytes_text(text), error) != STATUS_OK) {
		free(path);
		return NULL;
	}
	return path;
}
