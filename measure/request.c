#include "measure/request.h"

#include "base/memory.h"
#include "wire/http1.h"
#include "wire/infer_request.h"
#include "wire/upstream_body.h"

#include <inttypes.h>
#include <stdlib.h>

#define MESSAGE_MAX ((size_t)2 << 30)
#define PIECES_OF_TENSOR 2 /* for each inference: the varied bytes and the rest; and one for its framing */

static size_t
row_count(const struct request_form *form)
{
	return form->batch == 0 ? 1 : form->batch;
}

void
request_init(struct request *request, const struct request_form *form)
{
	size_t tensors = input_set_entry(form->inputs, 0)->count;
	size_t varied;

	(void)input_set_varied(form->inputs, &varied);
	for (uint64_t i = 1; i < input_set_distinct(form->inputs) && varied == 0; i++) { /* entries of files */
		size_t own = input_set_entry(form->inputs, i)->count;

		tensors = own > tensors ? own : tensors;
	}
	*request = (struct request){.form = form};
	request->pieces =
		memory_array(1 + tensors * (1 + PIECES_OF_TENSOR * row_count(form)), sizeof(*request->pieces));
	request->tensors = memory_array(tensors + 1, sizeof(*request->tensors));
	for (size_t i = 0; i < tensors; i++) {
		request->tensors[i].shape = memory_array(TENSOR_RANK_MAX + 1, sizeof(int64_t));
	}
	request->tensors[tensors].shape = NULL; /* the end of the list */
	request->lengths = memory_array(tensors + 1, sizeof(*request->lengths));
	request->varied = memory_room(varied * row_count(form) + 1);
	buf_init(&request->head_room, MESSAGE_MAX);
	buf_init(&request->message, MESSAGE_MAX);
	buf_init(&request->framing, MESSAGE_MAX);
	buf_init(&request->data, MESSAGE_MAX);
}

void
request_fini(struct request *request)
{
	for (size_t i = 0; request->tensors[i].shape != NULL; i++) {
		free((void *)request->tensors[i].shape);
	}
	free(request->tensors);
	free(request->pieces);
	free(request->lengths);
	free(request->varied);
	buf_fini(&request->head_room);
	buf_fini(&request->message);
	buf_fini(&request->framing);
	buf_fini(&request->data);
}

/* --- Tensors --- */

/* The tensors of the whole batch, with the length of their data alone. */
static enum status
describe(struct request *request, const uint64_t *numbers, struct error *error)
{
	const struct request_form *form = request->form;
	const struct input_entry *first = input_set_entry(form->inputs, numbers[0]);

	for (size_t i = 0; i < first->count; i++) {
		const struct tensor *from = &first->tensors[i];
		struct tensor *tensor = &request->tensors[i];
		int64_t *shape = (int64_t *)tensor->shape;
		size_t more = form->batch > 0;

		shape[0] = (int64_t)form->batch;
		memcpy(shape + more, from->shape, from->rank * sizeof(*shape));
		*tensor = *from;
		tensor->shape = shape;
		tensor->rank = from->rank + more;
		tensor->data.length = 0;
		for (size_t k = 0; k < row_count(form); k++) {
			const struct input_entry *entry = input_set_entry(form->inputs, numbers[k]);

			if (entry->count != first->count || !bytes_equal(entry->tensors[i].name, from->name) ||
			    entry->tensors[i].rank != from->rank ||
			    memcmp(entry->tensors[i].shape, from->shape, from->rank * sizeof(*shape)) != 0) {
				return error_set(error, STATUS_INVALID_ARGUMENT,
						 "different inputs, or inputs of different shapes, cannot be in one "
						 "batch: give -b 1");
			}
			tensor->data.length += entry->tensors[i].data.length;
		}
	}
	return STATUS_OK;
}

/* Appends views of the data of tensor `index`. */
static void
add_data(struct request *request, const uint64_t *numbers, size_t index)
{
	const struct request_form *form = request->form;
	size_t length;
	bool varies = input_set_varied(form->inputs, &length) == index && length > 0;

	for (size_t k = 0; k < row_count(form); k++) {
		struct bytes data = input_set_entry(form->inputs, numbers[k])->tensors[index].data;

		if (varies) {
			uint8_t *begin = request->varied + k * length;

			input_set_vary(form->inputs, numbers[k], begin);
			request->pieces[request->piece_count++] = bytes_make(begin, length);
			data = bytes_skip(data, length);
		}
		if (data.length > 0) {
			request->pieces[request->piece_count++] = data;
		}
	}
}

/* --- HTTP --- */

/* Joins each tensor's data, for its encoder. */
static void
join_data(struct request *request, const uint64_t *numbers, size_t count)
{
	size_t offset = 0;

	buf_clear(&request->data);
	for (size_t i = 0; i < count; i++) {
		request->piece_count = 0;
		add_data(request, numbers, i);
		for (size_t k = 0; k < request->piece_count; k++) {
			buf_append(&request->data, request->pieces[k]);
		}
	}
	for (size_t i = 0; i < count; i++) {
		request->tensors[i].data.at = request->data.at + offset;
		offset += request->tensors[i].data.length;
	}
}

static void
write_head(struct request *request, size_t length)
{
	const struct request_form *form = request->form;
	struct buf *head = &request->head_room;

	buf_clear(head);
	buf_text(head, "POST ");
	buf_append(head, form->path);
	buf_text(head, "/v2/models/");
	http1_percent_encode(head, form->model_name);
	if (form->model_version.length > 0) {
		buf_text(head, "/versions/");
		http1_percent_encode(head, form->model_version);
	}
	buf_text(head, "/infer HTTP/1.1\r\nHost: ");
	buf_append(head, form->host);
	buf_format(head, "\r\nContent-Type: application/%s\r\nContent-Length: %zu\r\n",
		   form->is_json ? "json" : "octet-stream", length);
	if (!form->is_json) {
		buf_format(head, "Inference-Header-Content-Length: %zu\r\n", request->message.length);
	}
	buf_append(head, form->fields);
	buf_text(head, "\r\n");
	request->head = buf_bytes(head);
}

static enum status
make_http(struct request *request, const uint64_t *numbers, size_t count, struct error *error)
{
	const struct upstream_request upstream = {
		.inputs = request->tensors, .input_count = count, .binary = !request->form->is_json};
	size_t length = 0;

	if (request->form->is_json) {
		join_data(request, numbers, count);
	}
	if (!request->is_made || request->form->is_json) {
		buf_clear(&request->message);
		if (upstream_request_encode(&upstream, &request->message, error) != STATUS_OK) {
			return error->status;
		}
	}
	request->piece_count = 0;
	request->pieces[request->piece_count++] = buf_bytes(&request->message);
	for (size_t i = 0; i < count && !request->form->is_json; i++) {
		add_data(request, numbers, i);
	}
	for (size_t i = 0; i < request->piece_count; i++) {
		length += request->pieces[i].length;
	}
	if (!request->is_made || request->form->is_json) {
		write_head(request, length);
	}
	return STATUS_OK;
}

/* --- gRPC --- */

static enum status
write_message(struct request *request, size_t count, struct error *error)
{
	const struct request_form *form = request->form;
	const struct infer_request message = {.model_name = form->model_name,
					      .model_version = form->model_version,
					      .inputs = request->tensors,
					      .input_count = count};
	size_t length = 0;

	buf_clear(&request->message);
	buf_clear(&request->framing);
	buf_append(&request->message, bytes_make((const uint8_t[INFER_REQUEST_PREFIX]){0}, INFER_REQUEST_PREFIX));
	infer_request_head(&message, &request->message);
	for (size_t i = 0; i < count; i++) {
		size_t before = request->framing.length;

		infer_request_data(request->tensors[i].data.length, &request->framing);
		request->lengths[i] = request->framing.length - before;
		length += request->tensors[i].data.length;
	}
	length += request->message.length - INFER_REQUEST_PREFIX + request->framing.length;
	if (length > INT32_MAX) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "a message of gRPC cannot have %zu bytes", length);
	}
	infer_request_prefix((uint32_t)length, request->message.at);
	return STATUS_OK;
}

static enum status
make_grpc(struct request *request, const uint64_t *numbers, size_t count, struct error *error)
{
	size_t offset = 0;

	if (!request->is_made && write_message(request, count, error) != STATUS_OK) {
		return error->status;
	}
	request->piece_count = 0;
	request->pieces[request->piece_count++] = buf_bytes(&request->message);
	for (size_t i = 0; i < count; i++) {
		request->pieces[request->piece_count++] = bytes_make(request->framing.at + offset, request->lengths[i]);
		offset += request->lengths[i];
		add_data(request, numbers, i);
	}
	return STATUS_OK;
}

enum status
request_make(struct request *request, const uint64_t *numbers, struct error *error)
{
	size_t count = input_set_entry(request->form->inputs, numbers[0])->count;
	enum status status = STATUS_OK;

	request->is_made = request->is_made && input_set_is_uniform(request->form->inputs);
	if (!request->is_made) {
		status = describe(request, numbers, error);
	}
	if (status == STATUS_OK) {
		status = request->form->protocol == MEASURE_HTTP ? make_http(request, numbers, count, error)
								 : make_grpc(request, numbers, count, error);
	}
	if (status == STATUS_OK && (!buf_ok(&request->message) || !buf_ok(&request->head_room) ||
				    !buf_ok(&request->framing) || !buf_ok(&request->data))) {
		status = error_set(error, STATUS_UNAVAILABLE, "no memory for a request");
	}
	request->is_made = status == STATUS_OK;
	return status;
}
