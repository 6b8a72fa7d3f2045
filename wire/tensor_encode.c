#include "wire/tensor_json.h"

#include <stdlib.h>

#define REALS_AT_ONCE ((size_t)4096)

static int64_t
load_signed(const uint8_t *at, size_t size)
{
	int64_t value = 0;
	unsigned unused = 64 - 8 * (unsigned)size;

	memcpy(&value, at, size);
	return (int64_t)((uint64_t)value << unused) >> unused; /* sign-extends */
}

static uint64_t
load_unsigned(const uint8_t *at, size_t size)
{
	uint64_t value = 0;

	memcpy(&value, at, size);
	return value;
}

static void
write_integers(struct buf *json, const struct tensor *tensor)
{
	size_t size = datatype_size(tensor->datatype);
	bool is_signed = tensor->datatype >= DATATYPE_INT8 && tensor->datatype <= DATATYPE_INT64;

	for (size_t i = 0; i < tensor->data.length; i += size) {
		if (i > 0) {
			buf_byte(json, ',');
		}
		if (tensor->datatype == DATATYPE_BOOL) {
			buf_text(json, tensor->data.at[i] != 0 ? "true" : "false");
		} else if (is_signed) {
			buf_signed(json, load_signed(tensor->data.at + i, size));
		} else {
			buf_unsigned(json, load_unsigned(tensor->data.at + i, size));
		}
	}
}

static double
load_real(const uint8_t *at, size_t size)
{
	float single;
	double number;

	if (size == sizeof(single)) {
		memcpy(&single, at, sizeof(single));
		return (double)single;
	}
	memcpy(&number, at, sizeof(number));
	return number;
}

/* yyjson prints the shortest digits that read back as the same double, always with a fraction or an exponent. */
static bool
write_some_reals(struct buf *json, const uint8_t *at, size_t count, size_t size)
{
	yyjson_mut_doc *document = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *array = yyjson_mut_arr(document);
	bool good = array != NULL;
	char *text = NULL;
	size_t length = 0;

	yyjson_mut_doc_set_root(document, array);
	for (size_t i = 0; i < count && good; i++) {
		good = yyjson_mut_arr_add_real(document, array, load_real(at + i * size, size));
	}
	if (good) {
		text = yyjson_mut_write_opts(document, YYJSON_WRITE_ALLOW_INF_AND_NAN, NULL, &length, NULL);
	}
	yyjson_mut_doc_free(document);
	if (text != NULL && length >= 2) {
		buf_append(json, bytes_make(text + 1, length - 2)); /* without the brackets */
	}
	good = text != NULL && length >= 2;
	free(text);
	return good;
}

/* Writes REALS_AT_ONCE at a time: a document takes several times the memory of its text. */
static void
write_reals(struct buf *json, const struct tensor *tensor)
{
	size_t size = datatype_size(tensor->datatype);
	size_t count = tensor->data.length / size;

	for (size_t done = 0; done < count && buf_ok(json);) {
		size_t some = count - done < REALS_AT_ONCE ? count - done : REALS_AT_ONCE;

		if (done > 0) {
			buf_byte(json, ',');
		}
		if (!write_some_reals(json, tensor->data.at + done * size, some, size)) {
			json->failed = true;
		}
		done += some;
	}
}

/* True for valid UTF-8 (RFC 3629): a JSON string cannot hold other bytes. */
static bool
utf8_valid(struct bytes text)
{
	size_t i = 0;

	while (i < text.length) {
		uint8_t lead = text.at[i];
		size_t more = lead < 0x80		    ? 0
			      : lead >= 0xc2 && lead < 0xe0 ? 1
			      : lead >= 0xe0 && lead < 0xf0 ? 2
			      : lead >= 0xf0 && lead < 0xf5 ? 3
							    : SIZE_MAX;

		if (more > text.length - i - 1) {
			return false;
		}
		for (size_t k = 1; k <= more; k++) {
			if ((text.at[i + k] & 0xc0) != 0x80) {
				return false;
			}
		}
		if ((lead == 0xe0 && text.at[i + 1] < 0xa0) || (lead == 0xed && text.at[i + 1] > 0x9f) ||
		    (lead == 0xf0 && text.at[i + 1] < 0x90) || (lead == 0xf4 && text.at[i + 1] > 0x8f)) {
			return false;
		}
		i += more + 1;
	}
	return true;
}

static enum status
write_strings(struct buf *json, const struct tensor *tensor, struct error *error)
{
	struct bytes rest = tensor->data;

	while (rest.length > 0) {
		struct bytes element = tensor_next_string(&rest);

		if (!utf8_valid(element)) {
			return error_set(
				error, STATUS_INVALID_ARGUMENT,
				"output '%.*s' holds bytes that are not UTF-8 and cannot be sent as JSON. Please "
				"use the binary data format for output",
				BYTES_ARGS(tensor->name));
		}
		buf_json_string(json, element);
		if (rest.length > 0) {
			buf_byte(json, ',');
		}
	}
	return STATUS_OK;
}

static enum status
write_data(struct buf *json, const struct tensor *tensor, struct error *error)
{
	enum status status = STATUS_OK;

	buf_text(json, ",\"data\":[");
	switch (tensor->datatype) {
	case DATATYPE_FP16:
	case DATATYPE_BF16:
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "sending %s data via JSON is not supported. Please use the binary data format for "
				 "output",
				 datatype_name(tensor->datatype));
	case DATATYPE_BYTES:
		status = write_strings(json, tensor, error);
		break;
	case DATATYPE_FP32:
	case DATATYPE_FP64:
		write_reals(json, tensor);
		break;
	default:
		write_integers(json, tensor);
		break;
	}
	buf_byte(json, ']');
	return status;
}

static void
write_parameters(struct buf *json, const struct tensor *tensor, bool binary)
{
	bool has_type = tensor->content_type.length > 0;

	if (!binary && !has_type) {
		return;
	}
	buf_text(json, ",\"parameters\":{");
	if (binary) {
		buf_text(json, "\"binary_data_size\":");
		buf_unsigned(json, tensor->data.length);
	}
	if (has_type) {
		buf_text(json, binary ? ",\"content_type\":" : "\"content_type\":");
		buf_json_string(json, tensor->content_type);
	}
	buf_byte(json, '}');
}

enum status
tensor_encode(struct buf *json, const struct tensor *tensor, bool binary, struct error *error)
{
	enum status status = STATUS_OK;

	buf_text(json, "{\"name\":");
	buf_json_string(json, tensor->name);
	buf_text(json, ",\"datatype\":\"");
	buf_text(json, datatype_name(tensor->datatype));
	buf_text(json, "\",\"shape\":[");
	for (size_t i = 0; i < tensor->rank; i++) {
		if (i > 0) {
			buf_byte(json, ',');
		}
		buf_signed(json, tensor->shape[i]);
	}
	buf_byte(json, ']');
	write_parameters(json, tensor, binary);
	if (!binary) {
		status = write_data(json, tensor, error);
	}
	buf_byte(json, '}');
	return status;
}
